"""Running sums of eight rows at a time, in the processor's vector registers.

A running sum is a chain: each addition waits for the one before it. Eight rows can instead be summed up in
three steps, each adding the register to itself shifted by 1, 2 and 4 places (Hillis and Steele, "Data
Parallel Algorithms", Communications of the ACM 29 (1986), 1170–1183), and only a carry goes from octet to
octet. numba does not find that by itself, so that the four pieces of `features.rolling` are spelled out for
it here. The order of the additions is fixed: every processor gives the same bits.

Arrays are float64, of one dimension, without gaps; no index is checked. `zeros` holds eight zeros: shifted in
from memory they cost a quarter of what constants do, for which LLVM takes an instruction that is slow on some
processors.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

_INDEX = ir.IntType(32)
_OCTET = ir.VectorType(ir.DoubleType(), 8)
_PLACES = ir.VectorType(_INDEX, 8)
_ANY = ir.Constant(_OCTET, ir.Undefined)
_ZERO = ir.Constant(_OCTET, [0.0] * 8)
_FIRST, _LAST = ir.Constant(_INDEX, 0), ir.Constant(_INDEX, 7)
# Place 8 and beyond is the second register of a shuffle, here the zeros.
_FROM_BEFORE = [ir.Constant(_PLACES, [max(i - s, -1) % 9 for i in range(8)]) for s in (1, 2, 4)]
_FROM_AFTER = [ir.Constant(_PLACES, [min(i + s, 8) for i in range(8)]) for s in (1, 2, 4)]

_ONE, _TWO = types.float64, types.UniTuple(types.float64, 2)


class _Rows:
    """Write the instructions for eight rows; arguments of the function are told by their names."""

    def __init__(self, names: str, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.context, self.builder, self.returns = context, builder, signature.return_type
        self.type = dict(zip(names.split(), signature.args, strict=True))
        self.value = dict(zip(names.split(), arguments, strict=True))

    def load(self, array: str, at: str = "") -> Any:
        octet = self.builder.load(self._pointer(array, at))
        octet.align = 8
        return octet

    def store(self, octet: Any, array: str, at: str) -> None:
        self.builder.store(octet, self._pointer(array, at)).align = 8

    def spread(self, number: str) -> Any:
        first = self.builder.insert_element(_ANY, self.value[number], _FIRST)
        return self.builder.shuffle_vector(first, _ANY, ir.Constant(_PLACES, [0] * 8))

    def running(self, octet: Any, shifts: list[Any], carry: str) -> Any:
        zeros = self.load("zeros")
        for places in shifts:
            octet = self.builder.fadd(octet, self.builder.shuffle_vector(octet, zeros, places))
        return self.builder.fadd(octet, self.spread(carry))

    def distance(self) -> Any:
        return self.builder.fsub(self.load("values", "at"), self.spread("pivot"))

    def joined(self, tails: str, sums: Any) -> Any:
        whole = self.builder.fadd(self.load(tails, "old"), sums)
        return self.builder.fmul(whole, self.spread("scale"))

    def carries(self, place: Any, *octets: Any) -> Any:
        numbers = [self.builder.extract_element(octet, place) for octet in octets]
        return (
            numbers[0] if len(numbers) == 1 else self.context.make_tuple(self.builder, self.returns, numbers)
        )

    def root(self, octet: Any) -> Any:
        """Take the square root, of 0 where rounding has gone below; NaN stays NaN."""
        held = self.builder.select(self.builder.fcmp_ordered("<", octet, _ZERO), _ZERO, octet)
        kind = ir.FunctionType(_OCTET, [_OCTET])
        return self.builder.call(get_or_insert_function(self.builder.module, kind, "llvm.sqrt.v8f64"), [held])

    def _pointer(self, array: str, at: str) -> Any:
        data = self.context.make_array(self.type[array])(self.context, self.builder, self.value[array]).data
        rows = self.builder.gep(data, [self.value[at]]) if at else data
        return self.builder.bitcast(rows, _OCTET.as_pointer())


def _written(names: str, write: Callable[[_Rows], Any]) -> Any:
    return lambda *code: write(_Rows(names, *code))


@intrinsic  # type: ignore[untyped-decorator]
def sum_to_end(
    typing: Any, values: Any, at: Any, pivot: Any, tails: Any, to: Any, carry: Any, zeros: Any
) -> Any:
    """Write each row's distance from `pivot`, summed with those after it; take and give the sum so far."""

    def write(rows: _Rows) -> Any:
        sums = rows.running(rows.distance(), _FROM_AFTER, "carry")
        rows.store(sums, "tails", "to")
        return rows.carries(_FIRST, sums)

    signature = _ONE(values, at, pivot, tails, to, carry, zeros)
    return signature, _written("values at pivot tails to carry zeros", write)


@intrinsic  # type: ignore[untyped-decorator]
def moments_to_end(
    typing: Any,
    values: Any,
    at: Any,
    pivot: Any,
    tails: Any,
    squares: Any,
    to: Any,
    carry: Any,
    carry_squares: Any,
    zeros: Any,
) -> Any:
    """Do as `sum_to_end`, and the same to the squares of the distances."""

    def write(rows: _Rows) -> Any:
        distance = rows.distance()
        first = rows.running(distance, _FROM_AFTER, "carry")
        second = rows.running(rows.builder.fmul(distance, distance), _FROM_AFTER, "carry_squares")
        rows.store(first, "tails", "to")
        rows.store(second, "squares", "to")
        return rows.carries(_FIRST, first, second)

    signature = _TWO(values, at, pivot, tails, squares, to, carry, carry_squares, zeros)
    return signature, _written("values at pivot tails squares to carry carry_squares zeros", write)


@intrinsic  # type: ignore[untyped-decorator]
def window_means(
    typing: Any,
    values: Any,
    at: Any,
    pivot: Any,
    tails: Any,
    old: Any,
    scale: Any,
    means: Any,
    to: Any,
    carry: Any,
    zeros: Any,
) -> Any:
    """Write eight windows' means: pivot + (tail of the block before + sum since the block began) × scale.

    `old` is where in `tails` the first of the windows begins; the sum so far is taken and given.
    """

    def write(rows: _Rows) -> Any:
        sums = rows.running(rows.distance(), _FROM_BEFORE, "carry")
        rows.store(rows.builder.fadd(rows.spread("pivot"), rows.joined("tails", sums)), "means", "to")
        return rows.carries(_LAST, sums)

    signature = _ONE(values, at, pivot, tails, old, scale, means, to, carry, zeros)
    return signature, _written("values at pivot tails old scale means to carry zeros", write)


@intrinsic  # type: ignore[untyped-decorator]
def window_moments(
    typing: Any,
    values: Any,
    at: Any,
    pivot: Any,
    tails: Any,
    squares: Any,
    old: Any,
    scale: Any,
    means: Any,
    deviations: Any,
    to: Any,
    carry: Any,
    carry_squares: Any,
    zeros: Any,
) -> Any:
    """Do as `window_means`, and write the population standard deviations, too."""

    def write(rows: _Rows) -> Any:
        build, distance = rows.builder, rows.distance()
        first = rows.running(distance, _FROM_BEFORE, "carry")
        second = rows.running(build.fmul(distance, distance), _FROM_BEFORE, "carry_squares")
        mean, square = rows.joined("tails", first), rows.joined("squares", second)
        rows.store(build.fadd(rows.spread("pivot"), mean), "means", "to")
        rows.store(rows.root(build.fsub(square, build.fmul(mean, mean))), "deviations", "to")
        return rows.carries(_LAST, first, second)

    signature = _TWO(
        values, at, pivot, tails, squares, old, scale, means, deviations, to, carry, carry_squares, zeros
    )
    names = "values at pivot tails squares old scale means deviations to carry carry_squares zeros"
    return signature, _written(names, write)

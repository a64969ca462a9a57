"""Asking for memory some time before it is read.

Each account reads its own place of the tapes, so that a processor cannot guess what comes next: where twenty
tickers do not fit in its caches, it waits for each row longer than it computes on it. A row that is asked for
one step ahead is there when its turn comes.
"""

from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic


def _nothing(array: Any, index: Any) -> None:
    """Do nothing: an interpreter has no say in it."""


@intrinsic  # type: ignore[untyped-decorator]  # numba is untyped
def _prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        held = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(held.data, [arguments[1]])
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        for_reading, keep, data = (ir.Constant(number, value) for value in (0, 3, 1))
        builder.call(function, [builder.bitcast(address, pointer), for_reading, keep, data])
        return context.get_dummy_value()

    return types.void(array, index), generate


prefetch = _nothing if config.DISABLE_JIT else _prefetch
"""Ask for the cache line in which an element of a flat array lies: `prefetch(array, index)`."""

"""Rolling statistics that depend on the rows of their own window and on nothing before, in one pass.

A sliding sum carries the rounding of all history along; summing each window anew takes `width` times the
work. Here the rows are cut into blocks of `width`, anchored at bar 0 of 1970, so that every window is the end
of one block and the beginning of the next. Sums to the end and from the beginning of each block are running
sums, two additions a row whatever the width, and a window joins one of each: only its own rows take part, and
a feature is the same to the last bit however long the history behind it is. That is what makes an hourly
update equal a full rebuild. The scheme is that of van Herk, "A fast algorithm for local minimum and maximum
filters on rectangular and octagonal kernels", Pattern Recognition Letters 13 (1992), 517–521, for sums.

A NaN in a window makes its statistics NaN, an infinity makes them infinite or NaN, and no other window's.
"""

import numpy as np
from numpy.typing import NDArray

from carryflow.core.compiled import compiled
from carryflow.features.octets import moments_to_end, sum_to_end, window_means, window_moments

Floats = NDArray[np.float64]

OCTET = 8


def rolling_mean(values: Floats, width: int, first_bar: int = 0) -> Floats:
    """Average each value with the width − 1 before it, (n,) to (n,); NaN until the window is full.

    `first_bar` is the number of the first row on a grid that longer and shorter histories share: bars since
    1970. With it a row's mean is bit for bit that of any other history that holds its window.

    >>> rolling_mean(np.array([1.0, 2.0, 6.0]), 2)
    array([nan, 1.5, 4. ])
    """
    means = np.empty(len(values))
    _fill(np.ascontiguousarray(values, dtype=np.float64), width, first_bar, means, np.empty(0))
    return means


def rolling_moments(values: Floats, width: int, first_bar: int = 0) -> tuple[Floats, Floats]:
    """Give mean and population standard deviation over each window, both (n,), NaN until the window is full.

    Sums are taken of the distances from one of the window's own values, so that no digits are lost to a level
    far from zero, and a window that stood still deviates by exactly 0. `first_bar` as in `rolling_mean`.

    >>> rolling_moments(np.array([1.0, 3.0, 3.0]), 2)
    (array([nan,  2.,  3.]), array([nan,  1.,  0.]))
    """
    means, deviations = np.empty(len(values)), np.empty(len(values))
    _fill(np.ascontiguousarray(values, dtype=np.float64), width, first_bar, means, deviations)
    return means, deviations


def lagged(values: Floats, bars: int) -> Floats:
    """Give the value of so many bars ago, (n,) to (n,); NaN where there is none.

    >>> lagged(np.array([1.0, 2.0, 3.0]), 2)
    array([nan, nan,  1.])
    """
    out = np.full(len(values), np.nan)
    out[bars:] = values[: max(len(values) - bars, 0)]
    return out


@compiled(allocates=True)
def _fill(values: Floats, width: int, first_bar: int, means: Floats, deviations: Floats) -> None:
    """Fill `means`, and `deviations` unless it is empty, block after block."""
    n = len(values)
    if n >= width:
        # In `tails`, OCTET − 1 + k is row k of the block before; its row `width` is the block's own first: 0.
        tails, squares = np.zeros(width + 2 * OCTET), np.zeros(width + 2 * OCTET)
        # Octets overhang a block by up to seven rows; at the array's ends they work on a copy.
        copy, zeros = np.zeros(width + 2 * OCTET), np.zeros(OCTET)
        mean, deviation = np.empty(width + OCTET), np.empty(width + OCTET)
        begin = -(first_bar % width)
        while begin < n:
            end = begin + width
            if begin >= 0 and end + OCTET <= n:
                _join_heads(values, begin, width, tails, squares, means, deviations, begin, zeros)
            elif begin >= 0:
                rows = min(width, n - begin)
                copy[:rows] = values[begin : begin + rows]
                _join_heads(copy, 0, width, tails, squares, mean, deviation[: len(deviations)], 0, zeros)
                means[begin : begin + rows] = mean[:rows]
                if len(deviations):
                    deviations[begin : begin + rows] = deviation[:rows]
            if end < n and begin >= OCTET:
                _sum_tails(values, begin, width, tails, squares, len(deviations) > 0, zeros)
            elif end < n:
                first = max(begin, 0)
                copy[OCTET + first - begin : OCTET + width + 1] = values[first : end + 1]
                _sum_tails(copy, OCTET, width, tails, squares, len(deviations) > 0, zeros)
            begin = end
    means[: width - 1] = np.nan
    deviations[: width - 1] = np.nan


@compiled
def _sum_tails(
    values: Floats,
    begin: int,
    width: int,
    tails: Floats,
    squares: Floats,
    deviations: bool,
    zeros: Floats,
) -> None:
    """Sum each row of a block with those after it, as distances from the first row of the next block.

    That row is in every window that begins in this block and ends in the next. It is taken along, for it adds
    0, and puts each octet where `_join_heads` reads it.
    """
    pivot = values[begin + width]
    carry, carry_squares = 0.0, 0.0
    for row in range(width + 1 - OCTET, 1 - OCTET, -OCTET):
        if deviations:
            carry, carry_squares = moments_to_end(
                values, begin + row, pivot, tails, squares, OCTET - 1 + row, carry, carry_squares, zeros
            )
        else:
            carry = sum_to_end(values, begin + row, pivot, tails, OCTET - 1 + row, carry, zeros)


@compiled
def _join_heads(
    values: Floats,
    begin: int,
    width: int,
    tails: Floats,
    squares: Floats,
    means: Floats,
    deviations: Floats,
    to: int,
    zeros: Floats,
) -> None:
    """Sum each row with those before it in its block, and join the tail of the block before."""
    pivot, scale = values[begin], 1.0 / width
    carry, carry_squares = 0.0, 0.0
    for row in range(0, width, OCTET):
        at, old = begin + row, OCTET + row
        if len(deviations):
            carry, carry_squares = window_moments(
                values,
                at,
                pivot,
                tails,
                squares,
                old,
                scale,
                means,
                deviations,
                to + row,
                carry,
                carry_squares,
                zeros,
            )
        else:
            carry = window_means(values, at, pivot, tails, old, scale, means, to + row, carry, zeros)

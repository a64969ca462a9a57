"""Ranges of time: which bars are not stored yet, cut into what one part of a fetch asks for."""

from collections.abc import Iterable

Block = tuple[int, int]
"""Time [start, end), milliseconds since 1970."""


def join(blocks: Iterable[Block]) -> list[Block]:
    """Return the same time as blocks that neither touch nor overlap, in order.

    >>> join([(5, 7), (0, 2), (2, 3), (6, 9), (4, 4)])
    [(0, 3), (5, 9)]
    """
    joined: list[Block] = []
    for start, end in sorted(block for block in blocks if block[0] < block[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def subtract(wanted: Block, had: Iterable[Block]) -> list[Block]:
    """Return what is left of `wanted` without the time in `had`, in order.

    >>> subtract((0, 10), [(2, 4), (8, 12)])
    [(0, 2), (4, 8)]
    """
    left: list[Block] = []
    at, end = wanted
    for start, stop in join(had):
        if start >= end:
            break
        if start > at:
            left.append((at, start))
        at = max(at, stop)
    return [*left, (at, end)] if at < end else left


def cut(block: Block, longest: int) -> list[Block]:
    """Return a block in pieces of at most `longest` milliseconds, in order.

    >>> cut((0, 7), 3)
    [(0, 3), (3, 6), (6, 7)]
    """
    return [(at, min(at + longest, block[1])) for at in range(block[0], block[1], longest)]

"""Which hours to ask for next, so that what is stored never has a hole, however often a fetch is killed."""

from carryflow.market.schema import BAR_MS

Block = tuple[int, int]
"""Hours [start, end), milliseconds since 1970."""


def plan_blocks(start_ms: int, end_ms: int, stored: Block | None, bars: int) -> list[Block]:
    """Return the blocks of at most `bars` hours to fetch, in the order to fetch them.

    `stored` names the opens of the first and the last stored bar. Older hours are fetched backwards from
    the first stored bar and newer ones forwards from the last (which is asked for again), so the stored
    hours stay one run.

    >>> hour = 3_600_000
    >>> plan_blocks(0, 5 * hour, None, bars=3) == [(0, 3 * hour), (3 * hour, 5 * hour)]
    True
    >>> plan_blocks(0, 9 * hour, (5 * hour, 7 * hour), bars=3) == [
    ...     (2 * hour, 5 * hour), (0, 2 * hour), (7 * hour, 9 * hour)]
    True
    """
    step = bars * BAR_MS
    if stored is None:
        return _forwards(start_ms, end_ms, step)
    first, last = stored
    backwards = [(max(start_ms, end - step), end) for end in range(first, start_ms, -step)]
    return backwards + _forwards(last, end_ms, step)


def _forwards(start_ms: int, end_ms: int, step: int) -> list[Block]:
    return [(at, min(at + step, end_ms)) for at in range(start_ms, end_ms, step)]

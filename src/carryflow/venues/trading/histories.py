"""Long histories of an account, page by page as each venue gives them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from carryflow.venues.trading.accounts.account import Pages

Row = TypeVar("Row")


async def whole_range(
    page: Callable[[int, int, int], Awaitable[Sequence[Row]]],
    pages: Pages,
    span_ms: tuple[int, int],
    *,
    at: Callable[[Row], int],
    name: Callable[[Row], str],
) -> list[Row]:
    """Return all rows of a range, each once.

    Args:
        page: asks for rows from an instant to another (UTC ms, both included), and for how many at most.
        pages: how the venue gives them.
        span_ms: first and last instant (UTC ms).
        at: when a row happened.
        name: what a row is called; a row that two pages hold counts once.
    """
    first, last = span_ms
    if pages.kept_ms is not None:
        first = max(first, last - pages.kept_ms)
    width = last - first if pages.window_ms is None else pages.window_ms
    found: dict[str, Row] = {}
    at_ms = first
    while at_ms <= last:
        end = min(at_ms + max(width, 1), last)
        await _window(page, pages, (at_ms, end), found, at, name)
        if end == last:
            break
        at_ms = end
    return [row for row in found.values() if first <= at(row) <= last]


async def _window(
    page: Callable[[int, int, int], Awaitable[Sequence[Row]]],
    pages: Pages,
    span_ms: tuple[int, int],
    found: dict[str, Row],
    at: Callable[[Row], int],
    name: Callable[[Row], str],
) -> None:
    """Put the rows of a range that one request may span into `found`, as many pages as it takes."""
    start, end = span_ms
    while True:
        rows = await page(start, end, pages.most)
        new = [row for row in rows if name(row) not in found]
        found.update((name(row), row) for row in new)
        if len(rows) < pages.most:
            return
        stamps = [at(row) for row in rows]
        if pages.newest_first:
            end = min(stamps) if new else min(stamps) - 1
        else:
            start = max(stamps) if new else max(stamps) + 1

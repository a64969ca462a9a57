import asyncio
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carryflow.venues.trading.accounts.account import Pages
from carryflow.venues.trading.histories import whole_range

DAY_MS = 86_400_000


class Row(NamedTuple):
    ts_ms: int
    name: str


def collect(rows: list[Row], pages: Pages, span_ms: tuple[int, int]) -> tuple[list[Row], int]:
    """What is got of a venue that holds these rows, and how many pages it takes."""
    asked = 0

    async def page(since: int, until: int, most: int) -> list[Row]:
        nonlocal asked
        asked += 1
        assert pages.window_ms is None or until - since <= pages.window_ms
        here = sorted(row for row in rows if since <= row.ts_ms <= until)
        return here[-most:] if pages.newest_first else here[:most]

    found = asyncio.run(
        whole_range(page, pages, span_ms, at=lambda row: row.ts_ms, name=lambda row: row.name)
    )
    return found, asked


@settings(max_examples=60, deadline=None)
@given(
    stamps=st.lists(st.integers(0, 300), max_size=40, unique=True),
    span=st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda ends: (min(ends), max(ends))),
    most=st.integers(2, 7),
    window=st.sampled_from([None, 10, 97]),
    newest_first=st.booleans(),
)
def test_every_row_of_a_range_comes_once(
    stamps: list[int], span: tuple[int, int], most: int, window: int | None, newest_first: bool
) -> None:
    rows = [Row(ts, f"{ts}") for ts in stamps]
    found, _ = collect(rows, Pages(most, window, newest_first=newest_first), span)
    assert sorted(found) == sorted(row for row in rows if span[0] <= row.ts_ms <= span[1])


@pytest.mark.parametrize("newest_first", [False, True])
def test_rows_of_one_instant_that_two_pages_share_come_once(newest_first: bool) -> None:
    rows = [Row(3, "z"), Row(5, "a"), Row(7, "b"), Row(7, "c"), Row(7, "d"), Row(9, "e"), Row(9, "f")]
    found, _ = collect(rows, Pages(4, newest_first=newest_first), (0, 10))
    assert sorted(found) == rows


def test_a_venue_that_forgets_is_not_asked_for_what_it_has_forgotten() -> None:
    pages = Pages(10, window_ms=7 * DAY_MS, kept_ms=21 * DAY_MS)
    rows = [Row(100 * DAY_MS, "late"), Row(1, "early")]
    found, asked = collect(rows, pages, (0, 101 * DAY_MS))
    assert (found, asked) == ([rows[0]], 3)

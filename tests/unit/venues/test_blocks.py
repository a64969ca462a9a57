from hypothesis import given
from hypothesis import strategies as st

from carryflow.market.schema import BAR_MS
from carryflow.venues.blocks import plan_blocks


@given(
    start=st.integers(0, 60),
    hours=st.integers(1, 90),
    first=st.integers(20, 60),
    kept=st.integers(1, 40),
    bars=st.integers(1, 17),
)
def test_a_fetch_killed_after_any_block_leaves_no_hole(
    start: int, hours: int, first: int, kept: int, bars: int
) -> None:
    end = start + hours
    have = set(range(first, first + kept))
    stored = (first * BAR_MS, (first + kept - 1) * BAR_MS)
    for a, b in plan_blocks(start * BAR_MS, end * BAR_MS, stored, bars):
        assert 0 < b - a <= bars * BAR_MS
        have |= set(range(a // BAR_MS, b // BAR_MS))
        assert have == set(range(min(have), max(have) + 1))
    assert have >= set(range(start, end))


@given(start=st.integers(0, 60), hours=st.integers(1, 90), bars=st.integers(1, 17))
def test_an_empty_store_is_filled_forwards_and_every_hour_asked_for_once(
    start: int, hours: int, bars: int
) -> None:
    blocks = plan_blocks(start * BAR_MS, (start + hours) * BAR_MS, None, bars)
    asked = [hour for a, b in blocks for hour in range(a // BAR_MS, b // BAR_MS)]
    assert asked == list(range(start, start + hours))


def test_a_store_that_reaches_the_end_needs_its_last_bar_only() -> None:
    assert plan_blocks(0, 10 * BAR_MS, (0, 9 * BAR_MS), 1000) == [(9 * BAR_MS, 10 * BAR_MS)]

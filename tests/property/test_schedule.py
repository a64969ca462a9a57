"""Whatever the intervals: none is misread, no settlement is lost or paid twice, and what is missing shows."""

from itertools import accumulate, groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carryflow.core.funding import settlement_cash_per_base
from carryflow.market.schedule import INTERVALS_H, read_schedule
from carryflow.market.timeframe import HOUR_MS, TIMEFRAMES, Timeframe, bar_ms

DAY_MS = 24 * HOUR_MS


@st.composite
def regimes(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Draw (interval in hours, settlements), as venues change them: never twice the same in a row."""
    drawn = draw(
        st.lists(st.tuples(st.sampled_from(INTERVALS_H), st.integers(5, 30)), min_size=1, max_size=5)
    )
    return [next(group) for _, group in groupby(drawn, key=lambda regime: regime[0])]


def instants(regimes: list[tuple[int, int]]) -> np.ndarray:
    steps = [hours for hours, settlements in regimes for _ in range(settlements)]
    return np.fromiter(accumulate(steps, initial=472_000), np.int64) * HOUR_MS


@pytest.mark.pitfall("P03")
@given(regimes=regimes(), per_hour=st.floats(-1e-4, 1e-4))
def test_the_carry_per_hour_stays_as_it_is_when_the_interval_changes(
    regimes: list[tuple[int, int]], per_hour: float
) -> None:
    settle_ms = instants(regimes)
    hours = np.diff(settle_ms, prepend=settle_ms[0] - 8 * HOUR_MS) / HOUR_MS
    schedule = read_schedule(settle_ms, per_hour * hours)
    assert not schedule.holes
    assert not schedule.displaced
    assert schedule.hours[1:].sum() * HOUR_MS == settle_ms[-1] - settle_ms[0]
    np.testing.assert_allclose(schedule.rate[1:] / schedule.hours[1:], per_hour, rtol=1e-14)
    counted = [(segment.interval_hours, segment.settlements) for segment in schedule.segments]
    first, *rest = regimes
    assert counted == [(first[0], first[1] + 1), *rest]


@pytest.mark.pitfall("P05")
@given(regimes=regimes(), draw=st.data())
def test_a_deleted_settlement_is_found_where_it_was(
    regimes: list[tuple[int, int]], draw: st.DataObject
) -> None:
    settle_ms = instants(regimes)
    which = draw.draw(st.integers(0, len(regimes) - 1))
    begin = sum(settlements for _, settlements in regimes[:which])
    lost = begin + draw.draw(
        st.integers(2, regimes[which][1] - 2)
    )  # two steps from where the interval changes
    schedule = read_schedule(np.delete(settle_ms, lost), np.zeros(len(settle_ms) - 1))
    assert [(hole.after_ms, hole.before_ms, hole.missing) for hole in schedule.holes] == [
        (settle_ms[lost - 1], settle_ms[lost + 1], 1)
    ]


@given(settlements=st.integers(8, 40), draw=st.data())
def test_a_settlement_that_came_early_or_late_is_displaced_and_nothing_is_missing(
    settlements: int, draw: st.DataObject
) -> None:
    settle_ms = instants([(8, settlements)])
    which = draw.draw(st.integers(3, settlements - 3))
    settle_ms[which] += draw.draw(st.sampled_from([h for h in range(-7, 8) if h])) * HOUR_MS
    schedule = read_schedule(settle_ms, np.zeros(settlements + 1))
    assert (schedule.holes, schedule.displaced) == ((), (settle_ms[which],))
    assert schedule.hours[1:].sum() == 8 * settlements


@pytest.mark.pitfall("P01")
@given(
    timeframe=st.sampled_from(TIMEFRAMES),
    late_ms=st.lists(st.integers(0, 59_999), min_size=9, max_size=9),
    kept=st.floats(0.05, 1.0),
    seed=st.integers(0, 2**16),
)
def test_bars_of_any_length_with_any_gaps_pay_the_same_funding(
    timeframe: Timeframe, late_ms: list[int], kept: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    settle_ms = np.arange(1, 10) * 8 * HOUR_MS - 60_000 + np.array(late_ms)
    rate, mark = rng.normal(0, 1e-3, 9), rng.uniform(1e4, 2e4, 9)
    close_ms = np.arange(0, 3 * DAY_MS + 1, bar_ms(timeframe))
    there = rng.random(len(close_ms)) < kept
    there[[0, -1]] = True
    cash = settlement_cash_per_base(close_ms[there], settle_ms, rate, mark)
    assert cash.sum() == pytest.approx(-(rate * mark).sum(), rel=1e-12)
    ones = settlement_cash_per_base(close_ms[there], settle_ms, np.full(9, -1.0), np.ones(9))
    due = np.searchsorted(settle_ms, close_ms[there], side="right")
    assert ones[1:].tolist() == np.diff(due).tolist(), "each settlement in (before, close], exactly once"

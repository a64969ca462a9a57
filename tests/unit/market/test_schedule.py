"""The interval is read off the settlements; what is missing or displaced is told, and never guessed away."""

from itertools import accumulate

import numpy as np
import pytest

from carryflow.core.errors import CoverageError, MarketDataError
from carryflow.market.schedule import Schedule, read_schedule

HOUR_MS = 3_600_000


def read(*steps: int, start: int = 0) -> Schedule:
    """Read settlements that came so many hours after one another, from an hour of 1970 on."""
    at = np.fromiter(accumulate(steps, initial=start), np.int64) * HOUR_MS
    return read_schedule(at, np.full(len(at), 1e-4), "SOL")


def times(n: int, step: int) -> list[int]:
    return [step] * n


def found(schedule: Schedule) -> list[tuple[float, int]]:
    return [(segment.interval_hours, segment.settlements) for segment in schedule.segments]


@pytest.mark.pitfall("P03")
def test_an_interval_that_shortens_and_comes_back_is_a_segment_each_time() -> None:
    schedule = read(*times(5, 8), *times(3, 4), *times(9, 2), *times(7, 1), *times(4, 8), start=8)
    assert found(schedule) == [(8, 6), (4, 3), (2, 9), (1, 7), (8, 4)]
    assert np.isnan(schedule.hours[0])
    assert schedule.hours[1:].tolist() == [8] * 5 + [4] * 3 + [2] * 9 + [1] * 7 + [8] * 4
    assert (schedule.holes, schedule.displaced) == ((), ())
    assert schedule.segments[1].start_ms == 48 * HOUR_MS
    assert schedule.segments[-1].end_ms == schedule.settle_ms[-1]
    schedule.require_whole()


@pytest.mark.parametrize(
    ("steps", "segments"),
    [
        ([8, 4, 4, 4], [(8, 2), (4, 3)]),  # the first interval of a listing
        ([8, 8, 8, 4, 2, 2, 2], [(8, 4), (4, 1), (2, 3)]),  # through four hours, once
        ([8, 8, 8, 4], [(8, 4), (4, 1)]),  # just changed
        ([4, 4, 4, 4, 8], [(4, 5), (8, 1)]),
        ([1, 1, 1, 1, 4, 8, 8], [(1, 5), (4, 1), (8, 2)]),
        ([8], [(8, 2)]),
        ([], []),
    ],
)
def test_a_single_settlement_of_a_published_length_is_believed_between_shorter_and_longer_ones(
    steps: list[int], segments: list[tuple[float, int]]
) -> None:
    schedule = read(*steps)
    assert found(schedule) == segments
    assert not schedule.holes
    assert schedule.hours[1:].tolist() == steps


@pytest.mark.pitfall("P05")
@pytest.mark.parametrize(
    ("steps", "missing"),
    [
        ([8] * 4 + [24] + [8] * 4, 2),
        ([8] * 4 + [16] + [8] * 4, 1),
        ([8] * 4 + [752] + [8] * 4, 93),
        ([8] * 4 + [10392] + [8] * 4, 1298),
        ([1] * 4 + [221] + [1] * 4, 220),
        ([1] * 4 + [2] + [1] * 4, 1),
        ([1] * 4 + [8] + [1] * 4, 7),
        ([4] * 4 + [8] + [4] * 4, 1),
        ([4] * 4 + [8] + [2] * 4, 1),  # longer than what was before it and what came after
        ([8] * 4 + [16] + [4] * 4, 1),
        ([8] * 4 + [12] + [4] * 4, 1),
        ([16, 8, 8, 8], 1),
        ([8, 8, 8, 16], 1),
        ([8, 24], 2),
    ],
)
def test_fewer_settlements_than_the_interval_has_are_a_hole(steps: list[int], missing: int) -> None:
    schedule = read(*steps)
    assert [hole.missing for hole in schedule.holes] == [missing]
    at = int(np.flatnonzero(np.isnan(schedule.hours))[-1])
    hole = schedule.holes[0]
    assert (hole.after_ms, hole.before_ms) == (schedule.settle_ms[at - 1], schedule.settle_ms[at])
    with pytest.raises(CoverageError, match=rf"SOL: {missing} settlement\(s\) are missing, between 1970"):
        schedule.require_whole("SOL")


@pytest.mark.pitfall("P05")
def test_two_long_steps_in_a_row_between_shorter_ones_are_two_holes_and_three_an_interval() -> None:
    assert [hole.missing for hole in read(*times(4, 1), 2, 2, *times(4, 1)).holes] == [1, 1]
    assert found(read(*times(4, 1), 2, 2, 2, *times(4, 1))) == [(1, 5), (2, 3), (1, 4)]


def test_a_single_long_step_at_the_edge_is_believed_on_the_utc_grid_of_its_length_alone() -> None:
    assert not read(8, *times(5, 4), start=16).holes
    assert [hole.missing for hole in read(8, *times(5, 4), start=20).holes] == [1]
    assert not read(*times(5, 2), 8, start=6).holes
    assert [hole.missing for hole in read(*times(5, 2), 8, start=4).holes] == [3]


@pytest.mark.parametrize(
    ("steps", "late"),
    [
        ([10, 6], [10]),
        ([11, 5], [11]),
        ([9, 7], [9]),
        ([3, 5], [3]),  # one too many
        ([12, 4], [12]),
        ([4, 12], [4]),
        ([1, 7], [1]),
        ([10, 6, 8, 10, 6], [10, 34]),
        ([5, 6, 5], [5, 11]),
    ],
)
def test_a_settlement_off_the_grid_whose_successor_is_on_it_was_displaced(
    steps: list[int], late: list[int]
) -> None:
    schedule = read(*times(6, 8), *steps, *times(6, 8))
    assert [at - 48 * HOUR_MS for at in schedule.displaced] == [hours * HOUR_MS for hours in late]
    assert not schedule.holes
    assert schedule.hours[7 : 7 + len(steps)].tolist() == steps, "a rate pays for the hours that passed"
    assert found(schedule) == [(8, 13 + len(steps))]


def test_a_displaced_settlement_does_not_hide_a_missing_one() -> None:
    schedule = read(*times(6, 8), 10, 14, *times(6, 8))
    assert schedule.displaced == (58 * HOUR_MS,)
    assert [(hole.after_ms // HOUR_MS, hole.missing) for hole in schedule.holes] == [(58, 1)]


def test_a_late_settlement_is_late_before_its_successor_is_known_and_after() -> None:
    for steps in ([10], [10, 6], [10, 6, 8, 8]):
        schedule = read(*times(6, 8), *steps)
        assert schedule.displaced == (58 * HOUR_MS,)
        assert not schedule.holes


def test_no_venue_is_special_whatever_the_hour_of_its_grid() -> None:
    at_zero, at_four = (read(*times(9, 8), start=start) for start in (0, 4))
    assert found(at_zero) == found(at_four) == [(8, 10)]
    moved = read(*times(5, 8), 4, *times(5, 8))
    assert found(moved) == [(8, 6), (4, 1), (8, 5)]


@pytest.mark.pitfall("P03")
@pytest.mark.parametrize("steps", [[6] * 5, [8, 8, 8, 6, 6, 6, 6, 8, 8], [3, 3, 3, 3], [16], [12, 24, 12]])
def test_an_interval_that_no_venue_publishes_is_an_error(steps: list[int]) -> None:
    with pytest.raises(CoverageError, match=r"SOL: \d settlement\(s\) from 1970-.* after the one before"):
        read(*steps)


@pytest.mark.pitfall("P05")
def test_a_settlement_without_a_rate_is_an_error_that_names_it() -> None:
    rate = np.array([1e-4, np.nan, 1e-4])
    with pytest.raises(CoverageError, match=r"BTC: 1 settlement\(s\) have no rate, at 1970-01-01T08:00Z"):
        read_schedule(np.array([0, 8, 16]) * HOUR_MS, rate, "BTC")
    with pytest.raises(MarketDataError, match="settlement instants must increase"):
        read_schedule(np.array([8, 8, 16]) * HOUR_MS, np.zeros(3))

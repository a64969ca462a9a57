"""When a perpetual settles: the interval as it changed in time, and the settlements that must be missing.

A venue publishes an interval of 8, 4, 2 or 1 hours, changes it when the premium runs away, and now and then
settles late. Nobody publishes the changes, so they are read off the settlements themselves, by one rule for
all venues:

1. A run of equal steps of a published length is an interval in force. Two steps are enough, three where the
   interval would be longer than the ones before and after it; single steps of a published length are, too,
   unless they are longer than both neighbours.
2. What lies between is held against the grid of the interval around it. Settlements off the grid whose
   successors are on it again were displaced. Fewer settlements than the grid has instants make a hole.
3. A length that no venue publishes and that repeats, or that has no interval around it, is an error.

At the first and the last step one neighbour is not there. A single step longer than the other one is then
believed if it lies on the UTC grid of its own length, as every interval of that length would; half the
settlements that could be missing there show, and the rest show as soon as there is one more settlement.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from carryflow.core.errors import CoverageError
from carryflow.core.funding import name_instants, require_increasing
from carryflow.market.timeframe import HOUR_MS

INTERVALS_H = (1, 2, 4, 8)
"""Hours between settlements that venues publish."""

MAX_INTERVAL_MS = max(INTERVALS_H) * HOUR_MS

_PUBLISHED_MS = frozenset(hours * HOUR_MS for hours in INTERVALS_H)
_REPEATS_OF_AN_INTERVAL = 3


@dataclass(frozen=True, slots=True)
class Segment:
    """Say that settlements in (start_ms, end_ms] came every `interval_hours`.

    `settlements` counts those that are there, displaced ones and those after a hole among them; the very
    first settlement of a schedule, whose own interval nobody saw, counts in the first segment.
    """

    start_ms: int
    end_ms: int
    interval_hours: float
    settlements: int


@dataclass(frozen=True, slots=True)
class Hole:
    """Say that between two settlements at least `missing` others must have been and are not there."""

    after_ms: int
    before_ms: int
    missing: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """Hold the settlements of one perpetual and what their times say.

    Attributes:
        settle_ms: instants of settlement (m,).
        rate: settled rate per interval, longs pay shorts where positive (m,).
        hours: hours that each rate paid for (m,): those since the settlement before; NaN at the first
            settlement, whose beginning nobody saw, and after a hole.
        segments: the interval as it changed in time.
        displaced: instants of settlements that came early or late against the grid.
        holes: where settlements must be missing.

    """

    settle_ms: NDArray[np.int64]
    rate: NDArray[np.float64]
    hours: NDArray[np.float64]
    segments: tuple[Segment, ...]
    displaced: tuple[int, ...]
    holes: tuple[Hole, ...]

    def require_whole(self, ticker: str = "") -> None:
        """Do nothing if no settlement is missing.

        Raises:
            CoverageError: one is; the settlements around it are named.
        """
        if self.holes:
            named = ", ".join(
                f"{name_instants(np.array([hole.after_ms]))} and {name_instants(np.array([hole.before_ms]))} "
                f"({hole.missing})"
                for hole in self.holes[:3]
            )
            missing = sum(hole.missing for hole in self.holes)
            raise CoverageError(
                f"{_prefix(ticker)}{missing} settlement(s) are missing, between {named}; funding that was "
                "paid cannot be taken for zero: fetch these hours again"
            )


@dataclass(frozen=True, slots=True)
class _Run:
    """Hold equal steps: settlements [first, first + count) each came `step` ms after the one before."""

    step: int
    first: int
    count: int

    @property
    def published(self) -> bool:
        return self.step in _PUBLISHED_MS


def read_schedule(settle_ms: NDArray[np.int64], rate: NDArray[np.float64], ticker: str = "") -> Schedule:
    """Read the interval of every settlement, and what is missing, off the instants alone.

    Args:
        settle_ms: instants of settlement, snapped to the minute and strictly increasing (m,).
        rate: settled rate per interval (m,).
        ticker: names the perpetual in an error.

    Raises:
        CoverageError: a rate is missing, or settlements repeat at a length that no venue publishes.
        MarketDataError: the instants do not increase.

    Eight-hourly, then four-hourly, then one is lost:

    >>> hours = np.array([0, 8, 16, 20, 24, 32, 36, 40])
    >>> schedule = read_schedule(hours * 3_600_000, np.full(8, 1e-4))
    >>> schedule.hours
    array([nan,  8.,  8.,  4.,  4., nan,  4.,  4.])
    >>> [(s.interval_hours, s.settlements) for s in schedule.segments], schedule.holes[0].missing
    ([(8.0, 3), (4.0, 5)], 1)

    """
    require_increasing("settlement", settle_ms)
    absent = ~np.isfinite(rate)
    if absent.any():
        raise CoverageError(
            f"{_prefix(ticker)}{int(absent.sum())} settlement(s) have no rate, at "
            f"{name_instants(settle_ms[absent])}; fetch these hours again"
        )
    reading = _Reading(settle_ms, ticker)
    hours = np.full(len(settle_ms), np.nan)
    hours[1:] = np.diff(settle_ms) / HOUR_MS
    hours[sorted(reading.missing)] = np.nan
    holes = tuple(
        Hole(int(settle_ms[i - 1]), int(settle_ms[i]), n) for i, n in sorted(reading.missing.items())
    )
    displaced = tuple(int(settle_ms[i]) for i in sorted(reading.displaced))
    return Schedule(settle_ms, rate, hours, tuple(reading.segments()), displaced, holes)


class _Reading:
    """Decide, settlement by settlement, which interval was in force, what was displaced and what is gone."""

    def __init__(self, settle_ms: NDArray[np.int64], ticker: str) -> None:
        self.settle_ms = settle_ms
        self.ticker = ticker
        self.interval = np.zeros(len(settle_ms), np.int64)  # in force when each settlement came; 0: unknown
        self.displaced: set[int] = set()
        self.missing: dict[int, int] = {}
        runs = _runs(settle_ms)
        solid = [i for i in range(len(runs)) if self._is_interval(runs, i)]
        published = {run.step for run in runs if run.published}
        if not solid and len(published) == 1:  # too few settlements to repeat, and nothing to mistake
            solid = [i for i, run in enumerate(runs) if run.published]
        self._refuse_unknown(runs, [runs[i].step for i in solid])
        for left, right in pairwise([-1, *solid, len(runs)]):
            if left >= 0:
                self._keep(runs[left])
            if right - left > 1:
                self._read_between(runs, left + 1, right)

    def segments(self) -> Iterator[Segment]:
        """Join settlements under the same interval into segments."""
        changes = np.flatnonzero(np.diff(self.interval[1:])) + 2
        edges = [1, *changes.tolist(), len(self.interval)]
        for first, end in pairwise(edges):
            if first < end:
                yield Segment(
                    start_ms=int(self.settle_ms[first - 1]),
                    end_ms=int(self.settle_ms[end - 1]),
                    interval_hours=float(self.interval[first] / HOUR_MS),
                    settlements=end - first + (first == 1),
                )

    def _keep(self, run: _Run) -> None:
        self.interval[run.first : run.first + run.count] = run.step

    def _is_interval(self, runs: list[_Run], i: int) -> bool:
        run = runs[i]
        needed = _REPEATS_OF_AN_INTERVAL if self._juts_out(runs, i) else _REPEATS_OF_AN_INTERVAL - 1
        return run.published and run.count >= needed

    def _juts_out(self, runs: list[_Run], i: int) -> bool:
        """Say whether a step is longer than its neighbours, so that something may be missing inside it."""
        near, run = _beside(runs, i), runs[i]
        if not near or run.step <= max(near):
            return False
        on_grid = int(self.settle_ms[run.first]) % run.step == 0
        return len(near) == 2 or (run.count == 1 and not on_grid)

    def _refuse_unknown(self, runs: list[_Run], intervals: list[int]) -> None:
        for run in runs:
            is_lost = any(run.step % interval == 0 for interval in intervals)
            repeats = run.count >= _REPEATS_OF_AN_INTERVAL and not is_lost
            if not run.published and (repeats or not intervals):
                since = name_instants(self.settle_ms[run.first : run.first + 1])
                raise CoverageError(
                    f"{_prefix(self.ticker)}{run.count} settlement(s) from {since} on come "
                    f"{run.step / HOUR_MS:g} hours after the one before; venues settle every {INTERVALS_H} "
                    "h, so settlements are missing or stamped wrongly: fetch the funding history again"
                )

    def _read_between(self, runs: list[_Run], first: int, end: int) -> None:
        """Read runs [first, end), which no interval in force explains."""
        around = [runs[k].step for k in (first - 1, end) if 0 <= k < len(runs)]
        between = range(first, end)
        if all(runs[i].published and not self._juts_out(runs, i) for i in between):
            for i in between:
                self._keep(runs[i])
            return
        start, stop = runs[first].first - 1, runs[end - 1].first + runs[end - 1].count - 1
        span = int(self.settle_ms[stop] - self.settle_ms[start])
        if around and len(set(around)) == 1 and span % around[0] == 0:
            self._read_on_grid(start, stop, around[0])
        else:
            for i in between:
                juts_out = self._juts_out(runs, i)
                longest = max(_beside(runs, i) if juts_out or not around else around)
                self._read_off_grid(runs[i], longest, juts_out, at_edge=len(around) < 2)

    def _read_on_grid(self, start: int, stop: int, interval: int) -> None:
        """Read settlements (start, stop] against a grid on which both edges lie."""
        self.interval[start + 1 : stop + 1] = interval
        since = self.settle_ms[start : stop + 1] - self.settle_ms[start]
        on_grid = (start + np.flatnonzero(since % interval == 0)).tolist()
        for a, b in pairwise(on_grid):
            self.displaced.update(range(a + 1, b))
            due = int(self.settle_ms[b] - self.settle_ms[a]) // interval
            if due > b - a:
                longest = a + 1 + int(np.argmax(np.diff(self.settle_ms[a : b + 1])))
                self.missing[longest] = due - (b - a)

    def _read_off_grid(self, run: _Run, interval: int, juts_out: bool, at_edge: bool) -> None:
        """Read steps at which the grid itself moved: longer ones lost a settlement, others came off the grid.

        At an edge, where the settlement that would be back on the grid is yet to come, one that is late by
        less than an interval is taken for late.
        """
        rows = range(run.first, run.first + run.count)
        fewest = (run.step // interval if at_edge else -(-run.step // interval)) - 1
        if run.published and not juts_out:
            self._keep(run)
            return
        self.interval[run.first : run.first + run.count] = interval
        if fewest > 0:
            self.missing |= dict.fromkeys(rows, fewest)
        else:
            self.displaced.update(rows)


def _runs(settle_ms: NDArray[np.int64]) -> list[_Run]:
    steps = np.diff(settle_ms)
    if not len(steps):
        return []
    starts = np.flatnonzero(np.concatenate([[True], np.diff(steps) != 0]))
    counts = np.diff([*starts.tolist(), len(steps)])
    return [_Run(int(steps[s]), int(s) + 1, int(c)) for s, c in zip(starts, counts, strict=True)]


def _beside(runs: list[_Run], i: int) -> list[int]:
    """Return the steps before and after a run, one only at an edge."""
    return [runs[k].step for k in (i - 1, i + 1) if 0 <= k < len(runs)]


def _prefix(ticker: str) -> str:
    return f"{ticker}: " if ticker else ""

"""What is not there: bars against their grid, settlements against their schedule, marks against the bars."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.leg import LEGS, Leg
from carryflow.market.data import DataSettings, to_ms
from carryflow.market.gaps import KnownGap
from carryflow.market.ledger import Absence, name_minute
from carryflow.market.schedule import MAX_INTERVAL_MS, Schedule, Segment
from carryflow.market.timeframe import HOUR_MS, bar_ms

HALTED = "the venue halted spot; the perpetual traded on"
"""What a fetch records that asked the venue for these hours."""

UNRECORDED = "spot has no bars and the perpetual traded on: halted, or not recorded"
UNPUBLISHED = "the venue published no mark"
BEFORE = "not listed yet, or not fetched"
AFTER = "not traded yet, or not fetched"

AROUND = "set data.start or data.end around it"

_AGAIN = "fetch these hours again"
_PAID = "funding that was paid cannot be taken for zero"
_NAMES = {"spot": "spot's", "perp": "the perpetual's"}

Stamps = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BarGrid:
    """Hold the opens (ms) of the bars that each leg has, against those that it should have."""

    settings: DataSettings
    opens: dict[Leg, Stamps]
    gaps: Sequence[KnownGap]

    @property
    def bar(self) -> int:
        """Length of a bar (ms)."""
        return bar_ms(self.settings.timeframe)

    def shared(self) -> tuple[int, int]:
        """Return the open of the first and the close of the last bar that both legs reach, equal if none."""
        spot, perp = self.opens["spot"], self.opens["perp"]
        if not (len(spot) and len(perp)):
            return 0, 0
        first = int(max(spot[0], perp[0]))
        return first, max(first, int(min(spot[-1], perp[-1])) + self.bar)

    def edges(self) -> Iterator[Absence]:
        """Name a leg that is empty, and one that begins or ends alone."""
        empty: list[Leg] = [leg for leg in LEGS if not len(self.opens[leg])]
        if empty:
            there = next((opens for opens in self.opens.values() if len(opens)), None)
            start, end = (0, 0) if there is None else (int(there[0]), int(there[-1]) + self.bar)
            for leg in empty:
                words, remedy = f"the {leg} leg holds no rows", "widen data.start, data.end, or fetch the leg"
                yield Absence("bar", leg, start, end, (end - start) // self.bar, words, remedy)
            return
        first, end = self.shared()
        for side, at in (("begins", 0), ("ends", -1)):
            a, b = int(self.opens["spot"][at]), int(self.opens["perp"][at])
            if abs(a - b) > self.settings.max_halt_hours * HOUR_MS or end == first:
                alone: Leg = "perp" if (a > b) == (side == "begins") else "spot"
                none = "no hour is in both" if end == first else f"{alone} is alone"
                words = f"spot {side} at {name_minute(a)} and perp at {name_minute(b)}: {none}"
                other: Leg = "spot" if alone == "perp" else "perp"
                remedy = "choose hours that both have with data.start and data.end"
                yield Absence("bar", other, min(a, b), max(a, b), abs(a - b) // self.bar, words, remedy)

    def beyond(self, *, refused: bool) -> Iterator[Absence]:
        """Name the hours that the settings ask for before the first and after the last shared bar.

        Where they are `refused`, those without a recorded gap of either leg are holes.
        """
        (first, end), bar = self.shared(), self.bar
        wanted = [None if at is None else to_ms(at) for at in (self.settings.start, self.settings.end)]
        before = None if wanted[0] is None else -(-wanted[0] // bar) * bar
        after = None if wanted[1] is None else wanted[1] // bar * bar
        for edge, start, stop, unknown in (("start", before, first, BEFORE), ("end", end, after, AFTER)):
            for a, b, recorded in self._told(start, stop):
                reason, remedy = recorded or unknown, ""
                if refused and not recorded:
                    reason = f"bars that data.{edge} asks for are not there"
                    reach = name_minute(first if edge == "start" else end)
                    remedy = f"fetch these hours, or set data.{edge} to {reach}"
                yield Absence("bar", "perp", a, b, max(1, (b - a) // bar), reason, remedy)

    def _told(self, start: int | None, stop: int | None) -> Iterator[tuple[int, int, str]]:
        """Cut [start, stop) into ranges (from, to, reason), the reason empty where no gap is known."""
        if start is None or stop is None:
            return
        at = start
        for gap in sorted(self.gaps, key=lambda gap: (gap.start_ms, -gap.end_ms)):
            a, b = max(at, gap.start_ms), min(stop, gap.end_ms)
            if a < b:
                if at < a:
                    yield at, a, ""
                yield a, b, gap.reason
                at = b
        if at < stop:
            yield at, stop, ""

    def halted(self) -> Stamps:
        """Return the opens of the shared bars in which only the perpetual traded."""
        return np.setdiff1d(self._own("perp"), self.opens["spot"], assume_unique=True)

    def absent_bars(self, leg: Leg) -> Iterator[Absence]:
        """Name the shared bars that a leg lacks, in runs of one reason; without a reason they are holes."""
        first, end = self.shared()
        gone = np.setdiff1d(
            np.arange(first, end, self.bar, dtype=np.int64), self._own(leg), assume_unique=True
        )
        halted = set(self.halted().tolist()) if leg == "spot" else set()
        for run in np.split(gone, np.flatnonzero(np.diff(gone) != self.bar) + 1):
            for reason, group in groupby(run.tolist(), key=lambda at: self._reason(leg, at, halted)):
                yield self._absence(leg, list(group), reason, hours=len(run) * self.bar / HOUR_MS)

    def _absence(self, leg: Leg, opens: list[int], reason: str, hours: float) -> Absence:
        remedy, most = "", self.settings.max_halt_hours
        if not reason:
            reason, remedy = f"{_NAMES[leg]} bars are missing", _AGAIN
        elif hours > most:
            way = _AGAIN if reason == UNRECORDED else f"{AROUND} ({reason})"
            reason = f"{leg} has no bars for {hours:g} hours"
            remedy = f"{way}, or raise data.max_halt_hours (now {most}) if the venue was halted"
        return Absence("bar", leg, opens[0], opens[-1] + self.bar, len(opens), reason, remedy)

    def _reason(self, leg: Leg, at: int, halted: set[int]) -> str:
        recorded = (g.reason for g in self.gaps if g.leg == leg and g.start_ms <= at < g.end_ms)
        return next(recorded, UNRECORDED if at in halted else "")

    def _own(self, leg: Leg) -> Stamps:
        first, end = self.shared()
        opens = self.opens[leg]
        return opens[(opens >= first) & (opens < end)]


def absent_settlements(
    schedule: Schedule, first: int, end: int, gaps: Sequence[KnownGap] = ()
) -> Iterator[Absence]:
    """Name the settlements that must have been in [first, end) and are not in its schedule.

    An edge and the settlement next to it are no further apart than the interval in force there. A settlement
    at the first instant itself would pay nobody: no position is older. `gaps` are the ticker's recorded ones:
    what would have settled inside one of the perpetual's cannot be fetched.
    """
    stamps = schedule.settle_ms
    if not len(stamps):
        count = max(1, (end - first) // MAX_INTERVAL_MS)
        remedy = f"{_PAID}: {_AGAIN}"
        yield Absence("settlement", "perp", first, end, count, "there is no settlement at all", remedy)
        return
    holes = [(hole.after_ms, hole.before_ms, hole.missing, "") for hole in schedule.holes]
    earliest, latest = (_interval_ms(schedule.segments[at : at + 1 or None]) for at in (0, -1))
    since, until = int(stamps[0]) - earliest, int(stamps[-1]) + latest
    if first < since:
        way = f", or set data.start to {name_minute(since)} if nothing settled before"
        holes.append((first, int(stamps[0]), (int(stamps[0]) - first - 1) // earliest, way))
    if until < end:
        way = f", or set data.end to {name_minute(until)} if the interval has changed"
        holes.append((int(stamps[-1]), end, (end - int(stamps[-1]) - 1) // latest, way))
    for a, b, missing, way in sorted(holes):
        recorded = any(gap.leg == "perp" and gap.start_ms < b and a < gap.end_ms for gap in gaps)
        remedy = f"{_PAID}: {AROUND if recorded else _AGAIN + way}"
        yield Absence("settlement", "perp", a, b, missing, "a settlement is missing", remedy)


def _interval_ms(segment: Sequence[Segment]) -> int:
    """Return the interval (ms) of the one segment at an edge; the longest where one settlement tells none."""
    hours = segment[0].interval_hours if segment else 0
    return int(hours * HOUR_MS) or MAX_INTERVAL_MS


def absent_marks(rows: pl.DataFrame, settings: DataSettings, length_ms: int) -> Iterator[Absence]:
    """Name the rows without a mark: gaps before the first and after the last that was published, else holes.

    Where `settings.mark` is required, all of them are holes. A row is valid for `length_ms` from its stamp.
    """
    published = pl.col("mark_close").is_not_null()
    begun = published.cum_max() & published.reverse().cum_max().reverse()
    refused = pl.lit(settings.mark == "required") | begun
    marked = rows.select("timestamp", absent=no_mark(), refused=refused).with_columns(
        run=(pl.struct("absent", "refused").rle_id()), at=pl.col("timestamp").dt.epoch("ms")
    )
    remedy = _AGAIN
    if settings.mark == "required":
        remedy += ", or take the perpetual's own price (data.mark=perp)"
    runs = marked.filter("absent").group_by("run", maintain_order=True)
    for start, end, count, hole in (
        runs.agg(
            pl.col("at").first().alias("start"),
            pl.col("at").last().alias("end"),
            pl.len(),
            pl.col("refused").first().alias("hole"),
        )
        .select("start", "end", "len", "hole")
        .iter_rows()
    ):
        close = end + length_ms
        if hole:
            yield Absence("mark", "perp", start, close, count, "the mark price is missing", remedy)
        else:
            yield Absence("mark", "perp", start, close, count, UNPUBLISHED)


def no_mark() -> pl.Expr:
    """Return the condition of a row whose mark is absent at its open or its close."""
    return pl.any_horizontal(pl.col("mark_open", "mark_close").is_null())

"""What the bars of a ticker hold, written down: counts, intervals, and each row that is absent, with why."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from carryflow.core.atomic import write_atomically
from carryflow.core.leg import Leg
from carryflow.market.schedule import Segment
from carryflow.market.timeframe import Timeframe

_RANGES_NAMED = 5


@dataclass(frozen=True, slots=True)
class Absence:
    """Name rows that are not there, and why.

    Attributes:
        kind: what is absent.
        leg: the leg whose rows these are.
        start_ms: open of the first absent bar, or the last instant at which a settlement is known before.
        end_ms: close of the last absent bar, or the next instant at which a settlement is known.
        count: bars absent, or the fewest settlements that must have been in between.
        reason: for a gap, why nothing is there; for a hole, what is wrong.
        remedy: the way out of a hole; empty for a gap.

    """

    kind: Literal["bar", "mark", "settlement"]
    leg: Leg
    start_ms: int
    end_ms: int
    count: int
    reason: str
    remedy: str = ""

    @property
    def words(self) -> str:
        """Say where, and how many: "at" absent bars, "between" the settlements that are there."""
        if self.kind == "settlement":
            return f"between {name_minute(self.start_ms)} and {name_minute(self.end_ms)} ({self.count})"
        if not self.count:
            return "at any time"
        if self.count == 1:
            return f"at {name_minute(self.start_ms)}"
        return f"from {name_minute(self.start_ms)} to {name_minute(self.end_ms)} ({self.count})"


@dataclass(frozen=True, slots=True)
class CoverageLedger:
    """Account for every expected bar, mark and settlement of one ticker.

    Attributes:
        ticker: the coin.
        timeframe: length of its bars.
        start_ms: open of the first bar that both legs have.
        end_ms: close of the last bar that both legs have.
        bars: bars from one to the other, there or not.
        halted_ms: opens of the bars that the perpetual has and spot has not.
        settlements: funding payments that are there.
        unpublished_marks: bars without a mark price.
        segments: the funding interval as it changed in time.
        displaced_ms: settlements that came early or late against the grid.
        gaps: what is absent for a reason that is known.
        holes: what is absent and may not be.

    """

    ticker: str
    timeframe: Timeframe
    start_ms: int
    end_ms: int
    bars: int
    halted_ms: tuple[int, ...]
    settlements: int
    unpublished_marks: int
    segments: tuple[Segment, ...]
    displaced_ms: tuple[int, ...]
    gaps: tuple[Absence, ...]
    holes: tuple[Absence, ...]

    @property
    def words(self) -> str:
        """Say the same in one line."""
        unit = "hours" if self.timeframe == "1h" else "bars"
        bars = unit if self.timeframe == "1h" else f"{unit} of {self.timeframe}"
        line = (
            f"{self.ticker}: {self.bars} {bars}, {self.settlements} settlements, no spot in "
            f"{len(self.halted_ms)} {unit}, no mark published in {self.unpublished_marks}"
        )
        if self.untraded:
            line += f", no perpetual in {sum(gap.count for gap in self.untraded)} (recorded gaps)"
        if len(self.segments) > 1:
            line += ", funding every " + ", ".join(f"{s.interval_hours:g} h" for s in self.segments)
        return line + (f", {len(self.holes)} holes" if self.holes else "")

    @property
    def untraded(self) -> tuple[Absence, ...]:
        """Give the recorded gaps of the perpetual between the first and the last shared bar."""
        inside = (g for g in self.gaps if self.start_ms <= g.start_ms and g.end_ms <= self.end_ms)
        return tuple(gap for gap in inside if (gap.kind, gap.leg) == ("bar", "perp"))

    @property
    def refusal(self) -> str:
        """Say what may not be absent, with the rows named; empty where nothing is."""
        told = []
        for (reason, remedy), group in groupby(self.holes, key=lambda hole: (hole.reason, hole.remedy)):
            holes = list(group)
            named = ", ".join(hole.words for hole in holes[:_RANGES_NAMED])
            more = f" and {len(holes) - _RANGES_NAMED} more times" if len(holes) > _RANGES_NAMED else ""
            told.append(f"{reason} {named}{more}; {remedy}")
        return f"{self.ticker}: " + ". ".join(told) if told else ""

    def to_json(self) -> dict[str, Any]:
        """Give everything by name, as JSON can hold it."""
        return asdict(self) | {"refusal": self.refusal}


def write_ledger(path: Path, ledgers: Sequence[CoverageLedger]) -> None:
    """Write the ledgers of several tickers as one JSON file, atomically."""
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps([ledger.to_json() for ledger in ledgers], indent=1) + "\n")


def name_minute(instant_ms: int) -> str:
    """Name an instant for a message.

    >>> name_minute(1_735_689_600_000)
    '2025-01-01 00:00'
    """
    return f"{datetime.fromtimestamp(instant_ms / 1000, UTC):%Y-%m-%d %H:%M}"

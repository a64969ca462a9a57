"""What the store lacks of one ticker: bars, marks between published ones, and settlements."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from carryflow.core.errors import CoverageError
from carryflow.core.leg import LEGS, Leg
from carryflow.market.gaps import KnownGap, read_gaps
from carryflow.market.leg_files import leg_path, pending_parts, settlements_path
from carryflow.market.parquet import read_table
from carryflow.market.schedule import MAX_INTERVAL_MS, read_schedule
from carryflow.market.settlements import read_settlements
from carryflow.market.store import is_stored, stored_runs
from carryflow.market.timeframe import HOUR_MS, Timeframe, bar_ms, holds_settlements
from carryflow.venues.blocks import Block, join, subtract

NOT_LISTED = "the venue had not listed it yet"

NO_BARS = "the venue was asked twice and has no bars"


@dataclass(frozen=True)
class StoredTicker:
    """Look at what is on disk of one ticker when a fetch begins.

    Gaps longer than `max_halt_hours` are asked for again, since coverage refuses them.
    """

    data_dir: Path
    ticker: str
    timeframe: Timeframe
    max_halt_hours: int

    @cached_property
    def bars(self) -> dict[Leg, list[Block]]:
        """Return the time that stored bars cover, by leg."""
        step = bar_ms(self.timeframe)
        runs = {leg: stored_runs(self.data_dir, leg, self.ticker, self.timeframe) for leg in LEGS}
        return {leg: [(first, last + step) for first, last in found] for leg, found in runs.items()}

    @cached_property
    def gaps(self) -> list[KnownGap]:
        """Return what the venue is known not to have of this ticker."""
        return [gap for gap in read_gaps(self.data_dir) if gap.ticker == self.ticker]

    def bearable(self, gap: Block) -> bool:
        """Say whether a gap is so short that coverage lets it pass."""
        return gap[1] - gap[0] <= self.max_halt_hours * HOUR_MS

    def first_bar(self, wanted_ms: int) -> int | None:
        """Return the first bar from `wanted_ms` on that both legs have; None where that must be asked."""
        listed = [
            g.end_ms for g in self.gaps if g.reason == NOT_LISTED and g.start_ms <= wanted_ms < g.end_ms
        ]
        first = max([wanted_ms, *listed])
        here = all(any(a <= first < b for a, b in self.bars[leg]) for leg in LEGS)
        return first if here else None

    def missing(self, leg: Leg, wanted: Block) -> list[Block]:
        """Return the time whose bars must be asked for, in order."""
        left = subtract(wanted, [*self.bars[leg], *self._known_gaps(leg)])
        return left if leg == "spot" else join([*left, *self._unmarked(wanted)])

    def unsettled(self, wanted: Block, new_bars: list[Block]) -> list[Block]:
        """Return the time whose settlements must be asked for.

        That is the time of new bars, of holes in the schedule, of an interval or more before its first
        settlement, and all after the last one. Where no schedule can be read off what is stored: all.
        """
        settled = self._settled(wanted)
        if not len(settled):
            return [wanted]
        stamps = settled["timestamp"].dt.epoch("ms").to_numpy()
        try:
            schedule = read_schedule(stamps, settled["funding_rate"].to_numpy(), self.ticker)
        except CoverageError:
            return [wanted]
        first, last = int(stamps[0]), int(stamps[-1])
        segments = schedule.segments
        interval = segments[0].interval_hours * HOUR_MS if segments else MAX_INTERVAL_MS
        head = [(wanted[0], first)] if first - wanted[0] > interval else []
        between = [(hole.after_ms + 1, hole.before_ms) for hole in schedule.holes]
        return join([*head, *new_bars, *between, (last + 1, wanted[1])])

    def barless(self, wanted: Block) -> list[Block]:
        """Return the time in known gaps of the perpetual: what settled there is in no bar, so not stored."""
        return [(max(a, wanted[0]), min(b, wanted[1])) for a, b in self._known_gaps("perp")]

    def _known_gaps(self, leg: Leg) -> list[Block]:
        """Return the time that is not asked for again: before the listing, and in gaps that are bearable."""
        spans = [((g.start_ms, g.end_ms), g.reason) for g in self.gaps if g.leg == leg]
        return [span for span, reason in spans if reason == NOT_LISTED or self.bearable(span)]

    def _settled(self, wanted: Block) -> pl.DataFrame:
        """Return the settlements that are stored in a range, with their rates."""
        if not holds_settlements(self.timeframe) and settlements_path(self.data_dir, self.ticker).is_file():
            return read_settlements(self.data_dir, self.ticker, *wanted, timeframe=self.timeframe)
        return self._perp_columns(wanted).filter(pl.col("funding_rate").is_not_null())

    def _unmarked(self, wanted: Block) -> list[Block]:
        """Return the stored bars without a mark that lie between bars with one."""
        table = self._perp_columns(wanted)
        marked = pl.col("mark_close").is_not_null()
        between = marked.cum_max() & marked.reverse().cum_max().reverse()
        opens = table.filter(between & ~marked)["timestamp"].dt.epoch("ms").to_list()
        return [(at, at + bar_ms(self.timeframe)) for at in opens]

    def _perp_columns(self, wanted: Block) -> pl.DataFrame:
        """Return stamps, marks and rates of the stored perpetual without reading its other columns."""
        return self._perp.filter(
            pl.col("timestamp").dt.epoch("ms").is_between(wanted[0], wanted[1], closed="left")
        )

    @cached_property
    def _perp(self) -> pl.DataFrame:
        columns = ["timestamp", "mark_close", "funding_rate"]
        if not is_stored(self.data_dir, "perp", self.ticker):
            return pl.DataFrame(
                schema={
                    "timestamp": pl.Datetime("ms", "UTC"),
                    "mark_close": pl.Float64,
                    "funding_rate": pl.Float64,
                }
            )
        path, parts = (
            leg_path(self.data_dir, "perp", self.ticker),
            pending_parts(self.data_dir, "perp", self.ticker),
        )
        tables = [read_table(p, columns=columns) for p in ([path, *parts] if path.is_file() else parts)]
        return pl.concat(tables).unique("timestamp", keep="last", maintain_order=True).sort("timestamp")

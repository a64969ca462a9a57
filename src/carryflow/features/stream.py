"""The features of the newest bar, one bar at a time, by the functions that make them in a batch."""

from datetime import datetime

import numpy as np
import polars as pl

from carryflow.core.errors import CoverageError
from carryflow.core.leg import Leg
from carryflow.features.alignment import (
    AlignedHours,
    align_legs,
    carry_over_halts,
    feature_bar_ms,
    pair_bars,
    settlements_in,
)
from carryflow.features.frame import DEFAULT_FEATURES, WARM_UP_HOURS, assemble
from carryflow.features.sentiment import with_sentiment
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.market.closed_bars import Row
from carryflow.market.data import DataSettings
from carryflow.market.schedule import MAX_INTERVAL_MS, read_schedule
from carryflow.market.schema import leg_columns, name_rows, validate_leg
from carryflow.market.timeframe import HOUR_MS

SCHEDULE_DAYS = 60
"""Days of settlements kept: an interval is read off several of them, and those at the edge of what is known
would be read with less certainty than a longer history allows."""


class FeatureStream:
    """Turn bars of one ticker, as they close, into rows of the unified frame.

    It holds the warm-up and the newest bar and computes the newest row by `frame.assemble`, so that a row
    equals that of a batch over any history to the last bit. Begin with `prime`, or push the warm-up, too.

    A value of sentiment must be in the series before the first bar that opens at its stamp or later is
    pushed; a batch made once a late one has come tells another number there.

    `store.publication.push_rows` takes the rows as they are, the newest bar of one ticker or `pl.concat` of
    several bars and tickers, once a frame of the same features is published that reaches up to the first.
    """

    def __init__(
        self,
        ticker: str,
        data: DataSettings,
        features: FeatureSettings = DEFAULT_FEATURES,
        sentiment: pl.DataFrame | None = None,
    ) -> None:
        """Begin with no bars.

        Args:
            ticker: name of the coin.
            data: how long a bar is, what may be missing.
            features: which features.
            sentiment: `timestamp, value`, or None; `sentiment` may be set anew as the series grows.

        Raises:
            SettingsError: the bars are longer than an hour, or sentiment is chosen and no series is given.

        """
        self.ticker = ticker
        self.data = data
        self.spec = FeatureSpec.of(features, sentiment=sentiment is not None, timeframe=data.timeframe)
        self.sentiment = sentiment
        self._bar_ms = feature_bar_ms(data.timeframe)
        self._keep = WARM_UP_HOURS * HOUR_MS // self._bar_ms + 1
        self._bars = pl.DataFrame()
        self._settled: list[tuple[int, float]] = []
        self._halted = 0

    def prime(self, spot: pl.DataFrame, perp: pl.DataFrame) -> datetime:
        """Take in the history so far at once, in place of what was pushed before.

        History ends, as in a batch, with the last bar that both legs have.

        Args:
            spot: spot leg, as `market.store.read_leg` gives it.
            perp: perpetual leg.

        Returns:
            The open of the bar to be pushed next.

        Raises:
            CoverageError: bars, marks or settlements are missing; the rows are named.

        """
        hours = align_legs(spot, perp, self.ticker, self.data)
        settle_ms, rates = settlements_in(hours.table, hours.first_bar, self._bar_ms)
        self._bars = hours.table.tail(self._keep)
        self._settled = list(zip(settle_ms.tolist(), rates.tolist(), strict=True))
        self._halted = 0
        due: datetime = hours.table["KnownAt"][-1]
        return due

    def push(self, spot_row: Row | None, perp_row: Row) -> pl.DataFrame | None:
        """Take in the bar that has closed; give its row of the frame, or None while the warm-up fills.

        A bar that is refused leaves the stream as it was.

        Args:
            spot_row: bar of the spot leg; None where spot was halted.
            perp_row: bar of the perpetual with the same open.

        Raises:
            CoverageError: the bar does not follow the last one, spot has none to begin with or none for more
                than `data.max_halt_hours`, a settlement is missing, or a mark that is required.
            MarketDataError: a bar contradicts itself, or a feature is not a number.

        """
        spot, perp = self._leg("spot", spot_row), self._leg("perp", perp_row)
        bar = pair_bars(spot, perp, self.ticker, self._bar_ms)
        halted = self._halted + 1 if spot_row is None else 0
        self._require_next(bar, halted)
        self._require_mark(perp)
        grown = bar if self._bars.is_empty() else pl.concat([self._bars, bar])
        bars = carry_over_halts(grown).tail(self._keep)
        first_bar = int(bars["Date"].dt.epoch("ms")[0]) // self._bar_ms
        settle_ms, rates = settlements_in(bar, first_bar + len(bars) - 1, self._bar_ms)
        oldest_ms = first_bar * self._bar_ms - SCHEDULE_DAYS * 24 * HOUR_MS
        settled = [known for known in self._settled if known[0] >= oldest_ms]
        settled += zip(settle_ms.tolist(), rates.tolist(), strict=True)
        row = self._row(bars, first_bar, settled) if len(bars) == self._keep else None
        self._bars, self._settled, self._halted = bars, settled, halted
        return row

    def _row(self, bars: pl.DataFrame, first_bar: int, settled: list[tuple[int, float]]) -> pl.DataFrame:
        now_ms = (first_bar + len(bars)) * self._bar_ms
        if not settled or now_ms - settled[-1][0] > MAX_INTERVAL_MS:
            raise CoverageError(
                f"{self.ticker}: a settlement is missing in the {MAX_INTERVAL_MS // HOUR_MS} hours up to "
                f"{bars['KnownAt'][-1]:%Y-%m-%d %H:%M}; funding that was paid cannot be taken for zero: "
                "fetch these hours again"
            )
        stamps, rates = zip(*settled, strict=True)
        schedule = read_schedule(np.array(stamps, np.int64), np.array(rates, np.float64), self.ticker)
        hours = AlignedHours(self.ticker, bars, self._bar_ms, first_bar, schedule)
        return assemble(hours if self.sentiment is None else with_sentiment(hours, self.sentiment), self.spec)

    def _leg(self, leg: Leg, row: Row | None) -> pl.DataFrame:
        columns = leg_columns(leg)
        if row is None:
            return pl.DataFrame(schema=columns)
        table = pl.DataFrame([row], schema_overrides=columns)
        return validate_leg(table, leg, self.ticker, self.data.timeframe)

    def _require_next(self, bar: pl.DataFrame, halted: int) -> None:
        stamp = bar["Date"][0]
        if len(bar) != 1:
            raise CoverageError(
                f"{self.ticker}: spot's bar is of {stamp:%Y-%m-%d %H:%M} and the perpetual's of "
                f"{bar['Date'][1]:%Y-%m-%d %H:%M}; push the bars of one open together"
            )
        if self._bars.is_empty():
            if halted:
                raise CoverageError(
                    f"{self.ticker}: spot was halted at {stamp:%Y-%m-%d %H:%M} and no earlier price is "
                    "known; begin with a bar that both legs have"
                )
        elif stamp != self._bars["KnownAt"][-1]:
            raise CoverageError(
                f"{self.ticker}: the bar of {stamp:%Y-%m-%d %H:%M} came when that of "
                f"{self._bars['KnownAt'][-1]:%Y-%m-%d %H:%M} was due; push every bar once and in order"
            )
        if halted * self._bar_ms > self.data.max_halt_hours * HOUR_MS:
            raise CoverageError(
                f"{self.ticker}: spot has had no bars for {halted * self._bar_ms / HOUR_MS:g} hours at "
                f"{stamp:%Y-%m-%d %H:%M}; fetch them again, or raise data.max_halt_hours (now "
                f"{self.data.max_halt_hours}) if the venue was halted"
            )

    def _require_mark(self, perp: pl.DataFrame) -> None:
        marks = pl.any_horizontal(pl.col("mark_open", "mark_close").is_null())
        if self.data.mark == "required" and perp.select(marks).item():
            raise CoverageError(
                f"{self.ticker}: the mark price is missing at {name_rows(perp['timestamp'])}; fetch it "
                "again, or take the perpetual's own price (data.mark=perp)"
            )

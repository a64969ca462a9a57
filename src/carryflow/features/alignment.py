"""Two legs on one grid of bars: prices at each close, settlements at each open, halts marked.

This is what every feature is computed from, in a batch over years or one bar at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.errors import CoverageError, SettingsError
from carryflow.core.funding import HOURS_PER_YEAR
from carryflow.features.rolling import rolling_mean, rolling_moments
from carryflow.market.absences import AROUND
from carryflow.market.coverage import CoverageLedger, check_coverage
from carryflow.market.data import DataSettings
from carryflow.market.gaps import KnownGap
from carryflow.market.schedule import Schedule, read_schedule
from carryflow.market.timeframe import HOUR_MS, Timeframe, bar_ms


@dataclass(frozen=True, slots=True)
class Settlements:
    """Hold the settlements on a grid of n bars.

    Attributes:
        rate: rate settled at the bar's open (longs pay shorts where positive); NaN where nothing settled.
        hours: hours that the rate paid for; NaN where nothing settled, and at the first settlement, whose
            beginning nobody saw.

    """

    rate: NDArray[np.float64]
    hours: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AlignedHours:
    """Hold the bars of one ticker, both legs aligned, none left out, as a feature sees them.

    A feature is a function of these bars that gives one float64 per bar; widths are told in hours and turned
    into bars here, so that one definition serves bars of any length up to an hour.

    Attributes:
        ticker: name of the coin.
        table: one row per bar, with the columns that `align_legs` names.
        bar_ms: length of a bar (milliseconds).
        first_bar: bars from 1970 to the first row; anchors the rolling kernels, so that a window's value does
            not depend on where the history begins.
        schedule: settlements, of which the table may show the newest only; None: those in the table.

    """

    ticker: str
    table: pl.DataFrame
    bar_ms: int = HOUR_MS
    first_bar: int = 0
    schedule: Schedule | None = None

    def __len__(self) -> int:
        """Count the bars."""
        return len(self.table)

    def __getitem__(self, column: str) -> NDArray[np.float64]:
        """Give a column as float64 (n,), NaN where it is null."""
        return self.table[column].cast(pl.Float64).to_numpy(writable=True)

    def bars(self, width_hours: int) -> int:
        """Count the bars in so many hours.

        >>> AlignedHours("BTC", pl.DataFrame(), bar_ms=60_000).bars(24)
        1440
        """
        return width_hours * HOUR_MS // self.bar_ms

    @property
    def bars_per_year(self) -> float:
        """Count the bars in a year of 365 days."""
        return HOURS_PER_YEAR * (HOUR_MS / self.bar_ms)

    def mean(self, values: NDArray[np.float64], width_hours: int) -> NDArray[np.float64]:
        """Average (n,) over the hours up to each bar, its own included; NaN until the window is full."""
        return rolling_mean(values, self.bars(width_hours), self.first_bar)

    def moments(
        self, values: NDArray[np.float64], width_hours: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give mean and population standard deviation, both (n,), over the same window as `mean`."""
        return rolling_moments(values, self.bars(width_hours), self.first_bar)

    @cached_property
    def settled(self) -> Settlements:
        """Place what settled on the bars, with the hours that each settlement paid for.

        Raises:
            CoverageError: a settlement is missing, or comes at an interval that no venue publishes.

        """
        schedule = self.schedule
        if schedule is None:
            schedule = read_schedule(*settlements_in(self.table, self.first_bar, self.bar_ms), self.ticker)
        schedule.require_whole(self.ticker)
        row = schedule.settle_ms // self.bar_ms - self.first_bar
        here = (row >= 0) & (row < len(self))
        rate, hours = np.full((2, len(self)), np.nan)
        rate[row[here]], hours[row[here]] = schedule.rate[here], schedule.hours[here]
        return Settlements(rate, hours)


def align_legs(
    spot: pl.DataFrame,
    perp: pl.DataFrame,
    ticker: str,
    data: DataSettings,
    *,
    gaps: Sequence[KnownGap] = (),
) -> AlignedHours:
    """Join the two legs of a ticker on the bars that both cover, one row per bar and none left out.

    Where spot was halted and the perpetual traded on, the row carries the last spot price, trades nothing
    there (`Tradable` false) and keeps the last basis and book at which both legs could be traded: a basis
    against a price that nobody could trade at is no basis. Where the venue published no mark, the
    perpetual's own price stands in, as `data.mark` allows. A bar that the perpetual lacks is refused even
    where `gaps` (recorded by a fetch) say why: no feature is made up.

    Returns:
        Ticker, Date (bar's open), KnownAt (its close), SpotPrice, PerpPrice, MarkPrice (at KnownAt),
        SettleMark (mark at Date), FundingRate (settled at Date, null where nothing did), Basis (PerpPrice −
        SpotPrice, quote), basis_bp (of spot price, halts carried), Spread (recorded quoted spread, mean of
        the legs, basis points; null where no book was recorded), Depth (recorded quote value within 10 bp,
        thinnest of the four sides), Imbalance (of the perpetual's recorded value within 10 bp, (bid − ask) /
        (bid + ask)), SpotSpread, PerpSpread, SpotDepth and PerpDepth (the same of one leg), Tradable;
        spot_quote_volume and perp_quote_volume (close × volume; 0 in a halt); and every column of the legs as
        it was, such as `perp_high` or `spot_volume`, null for spot in a halt.

    Raises:
        CoverageError: bars, marks or settlements are missing beyond what the settings tolerate.
        SettingsError: the bars are longer than an hour.

    """
    length_ms = feature_bar_ms(data.timeframe)
    coverage = check_coverage(spot, perp, ticker, data, gaps=gaps)
    _require_traded(coverage)
    within = pl.col("Date").dt.epoch("ms").is_between(coverage.start_ms, coverage.end_ms - length_ms)
    table = carry_over_halts(pair_bars(spot, perp, ticker, length_ms)).filter(within)
    if table["SpotPrice"].null_count():
        raise CoverageError(
            f"{ticker}: spot was halted at {table['Date'][0]:%Y-%m-%d %H:%M} and no earlier price is "
            "known; set data.start to a later hour"
        )
    return AlignedHours(ticker, table, length_ms, coverage.start_ms // length_ms)


def _require_traded(coverage: CoverageLedger) -> None:
    remedy = f"features need every bar of the perpetual: {AROUND}"
    holes = tuple(
        replace(gap, reason=f"the perpetual has no bars ({gap.reason})", remedy=remedy)
        for gap in coverage.untraded
    )
    if holes:
        raise CoverageError(replace(coverage, holes=holes).refusal)


def feature_bar_ms(timeframe: Timeframe) -> int:
    """Give the length of a bar that features can be computed from (milliseconds).

    Raises:
        SettingsError: it is longer than an hour.

    """
    length_ms = bar_ms(timeframe)
    if length_ms > HOUR_MS:
        raise SettingsError(
            f"features need bars of an hour or less, for a day's window must hold many; data.timeframe is "
            f"{timeframe}: set data.timeframe=1h and fetch those bars"
        )
    return length_ms


def settlements_in(
    table: pl.DataFrame, first_bar: int, length_ms: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Give instants (milliseconds) and rates of the settlements in a table of bars, each (m,)."""
    rate = table["FundingRate"].to_numpy()
    row = np.flatnonzero(~np.isnan(rate))
    return (row + first_bar) * length_ms, rate[row]


def pair_bars(spot: pl.DataFrame, perp: pl.DataFrame, ticker: str, length_ms: int) -> pl.DataFrame:
    """Put the bars of both legs side by side, with null spot prices where spot has no bar."""
    joined = perp.join(spot, on="timestamp", how="full", suffix="_spot", coalesce=True).sort("timestamp")
    close_spot, bid_depth, ask_depth = pl.col("close_spot"), pl.col("bid_depth"), pl.col("ask_depth")
    return joined.select(
        Ticker=pl.lit(ticker),
        Date="timestamp",
        KnownAt=pl.col("timestamp") + pl.duration(milliseconds=length_ms),
        SpotPrice="close_spot",
        PerpPrice="close",
        MarkPrice=pl.coalesce("mark_close", "close"),
        SettleMark=pl.coalesce("mark_open", "open"),
        FundingRate="funding_rate",
        Basis=pl.col("close") - close_spot,
        basis_bp=(pl.col("close") - close_spot) / close_spot * 1e4,
        Spread=(_spread_bp("") + _spread_bp("_spot")) / 2,
        Depth=_thinnest("bid_depth", "ask_depth", "bid_depth_spot", "ask_depth_spot"),
        Imbalance=(bid_depth - ask_depth) / (bid_depth + ask_depth),
        SpotSpread=_spread_bp("_spot"),
        PerpSpread=_spread_bp(""),
        SpotDepth=_thinnest("bid_depth_spot", "ask_depth_spot"),
        PerpDepth=_thinnest("bid_depth", "ask_depth"),
        Tradable=close_spot.is_not_null(),
        spot_quote_volume=(close_spot * pl.col("volume_spot")).fill_null(0.0),
        perp_quote_volume=pl.col("close") * pl.col("volume"),
        **{f"perp_{name}": name for name in perp.columns if name != "timestamp"},
        **{f"spot_{name}": f"{name}_spot" for name in spot.columns if name != "timestamp"},
    )


def carry_over_halts(paired: pl.DataFrame) -> pl.DataFrame:
    """Carry spot price, tradable basis and both legs' book over the bars in which spot has none."""
    # A book that nobody recorded before the halt is NaN here, so that no older one is carried instead.
    book = pl.when("Tradable").then(pl.col("Spread", "Depth").fill_null(float("nan")))
    carried = paired.with_columns(
        pl.col("SpotPrice", "basis_bp").forward_fill(), book.forward_fill().fill_nan(None)
    )
    return carried.with_columns(Basis=pl.col("PerpPrice") - pl.col("SpotPrice"))


def _spread_bp(leg: str) -> pl.Expr:
    bid, ask = pl.col(f"bid{leg}"), pl.col(f"ask{leg}")
    return (ask - bid) / ((ask + bid) / 2) * 1e4


def _thinnest(*sides: str) -> pl.Expr:
    recorded = pl.all_horizontal(pl.col(sides).is_not_null())
    return pl.when(recorded).then(pl.min_horizontal(sides))

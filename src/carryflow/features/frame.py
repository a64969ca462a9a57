"""The unified frame: one row per ticker and bar, with what the market said and what a policy may make of it.

A row's features are known at `KnownAt`, the close of its bar. They use bars closed by then and settlements
stamped at or before `Date`, the bar's open: one settled at the very instant of the decision is not yet known.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from carryflow.core.errors import CoverageError, MarketDataError
from carryflow.features.alignment import AlignedHours, align_legs
from carryflow.features.catalogue import CATALOGUE, compute_features
from carryflow.features.sentiment import with_sentiment
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.market.data import DataSettings
from carryflow.market.gaps import KnownGap
from carryflow.market.schema import name_rows

DAY_HOURS = 24
WEEK_HOURS = 168
WARM_UP_HOURS = WEEK_HOURS + 8
"""Hours at the head that only feed the windows of later ones: a week, and the longest interval before it, so
that every settlement inside a window knows the one before."""

DEFAULT_FEATURES = FeatureSettings()

MARKET_COLUMNS: tuple[str, ...] = (
    "Ticker",
    "Date",
    "KnownAt",
    "FundingKnownAt",
    "SentimentKnownAt",
    "SpotPrice",
    "PerpPrice",
    "MarkPrice",
    "SettleMark",
    "FundingRate",
    "Basis",
    "Carry",
    "Vol",
    "Spread",
    "Depth",
    "Imbalance",
    "Liquidity",
    "Sentiment",
    "Tradable",
    "SpotSpread",
    "PerpSpread",
    "SpotDepth",
    "PerpDepth",
    "SpotTurnover",
    "PerpTurnover",
)
"""What stands before the features, in order; the two columns of sentiment only where a series is given."""

_FOR_PEOPLE = {"Carry": "carry_24h_apr", "Vol": "vol_24h_apr", "Liquidity": "liquidity"}
"""Market columns that are there whatever a policy sees, and the features that they are."""


def build_frame(
    spot: pl.DataFrame,
    perp: pl.DataFrame,
    ticker: str,
    data: DataSettings,
    sentiment: pl.DataFrame | None = None,
    features: FeatureSettings = DEFAULT_FEATURES,
    *,
    gaps: Sequence[KnownGap] = (),
) -> pl.DataFrame:
    """Build the unified frame of one ticker from its two validated legs.

    A row depends on the `WARM_UP_HOURS` before it and on none other, to the last bit: extending the history
    at either end leaves the rows in between as they were.

    Args:
        spot: spot leg, as `market.store.read_leg` gives it.
        perp: perpetual leg.
        ticker: name of the coin.
        data: what may be missing, and how long a bar is.
        sentiment: `timestamp, value`, or None.
        features: which features.
        gaps: ranges in which the venue was asked and has no bars, as a fetch recorded them.

    Returns:
        What `assemble` gives: market columns and raw features, from the first bar after the warm-up on.

    Raises:
        CoverageError: bars, marks, settlements, sentiment or chosen books are missing; the rows are named.
        MarketDataError: there are fewer rows than the warm-up, or a price or volume makes a feature infinite.
        SettingsError: the bars are longer than an hour, or sentiment is chosen and no series is given.

    """
    spec = FeatureSpec.of(features, sentiment=sentiment is not None, timeframe=data.timeframe)
    hours = align_legs(spot, perp, ticker, data, gaps=gaps)
    warm_up = hours.bars(WARM_UP_HOURS)
    if len(hours) <= warm_up:
        raise MarketDataError(
            f"{ticker}: {len(hours)} bars are no more than the warm-up of {warm_up}; fetch more"
        )
    return assemble(hours if sentiment is None else with_sentiment(hours, sentiment), spec)


def assemble(hours: AlignedHours, spec: FeatureSpec) -> pl.DataFrame:
    """Put market columns and raw features side by side, one row per bar after the warm-up.

    Returns:
        MARKET_COLUMNS: prices at KnownAt (the bar's close), the rate and mark of a settlement at Date,
        FundingKnownAt (when the newest settlement behind the row was known: a bar after its stamp), Carry
        (trailing day of settled funding, a year), Vol (realised volatility of the last day, a year),
        SpotTurnover and PerpTurnover (mean quote value traded an hour over the last day); then the spec's
        published features, float32, in order.

    Raises:
        CoverageError: a chosen feature needs a book that nobody recorded.
        MarketDataError: another feature is not a number.

    """
    warm_up = hours.bars(WARM_UP_HOURS)
    names = tuple(dict.fromkeys((*spec.published, *_FOR_PEOPLE.values())))
    values = {name: column[warm_up:] for name, column in compute_features(hours, names).items()}
    market = hours.table.with_columns(
        FundingKnownAt=_funding_known_at(hours),
        SpotTurnover=_hourly_turnover(hours, "spot_quote_volume"),
        PerpTurnover=_hourly_turnover(hours, "perp_quote_volume"),
    ).slice(warm_up)
    frame = market.with_columns(
        pl.Series(column, values[name]) for column, name in _FOR_PEOPLE.items()
    ).select(
        *(column for column in MARKET_COLUMNS if column in market.columns or column in _FOR_PEOPLE),
        *(pl.Series(name, values[name].astype(np.float32)) for name in spec.published),
    )
    _require_numbers(frame, spec.published, hours.ticker)
    return frame


def _funding_known_at(hours: AlignedHours) -> pl.Series:
    """Give the close of the bar at whose open the newest settlement was stamped."""
    settled = pl.when(pl.col("FundingRate").is_not_null()).then("KnownAt").forward_fill()
    return hours.table.select(settled).to_series()


def _hourly_turnover(hours: AlignedHours, column: str) -> pl.Series:
    """Average the value traded an hour over the last day (quote)."""
    return pl.Series(hours.mean(hours[column], DAY_HOURS) * hours.bars(1))


def _require_numbers(frame: pl.DataFrame, names: tuple[str, ...], ticker: str) -> None:
    for name in names:
        is_number = np.isfinite(frame[name].to_numpy())
        if is_number.all():
            continue
        bad = frame["Date"].filter(pl.Series(~is_number))
        if CATALOGUE[name].recorded:
            raise CoverageError(
                f"{ticker}: {name} needs a recorded order book, and nobody recorded one at {name_rows(bad)}; "
                f"leave {name} out of features.names or set data.start to where the recording begins"
            )
        raise MarketDataError(
            f"{ticker}: {name} is not a number at {name_rows(bad)}: a price that stood still or hours "
            "without any volume; fetch these hours again or set data.start after them"
        )

"""The unified frame: one row per ticker and hour, with what the market said and what a policy may make of it.

A row's features are known at `KnownAt`, the close of its bar. They use bars closed by then and settlements
stamped at or before `Date`, the bar's open: one settled at the very instant of the decision is not yet known.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.errors import MarketDataError
from carryflow.core.funding import HOURS_PER_YEAR
from carryflow.features.alignment import align_legs
from carryflow.features.anomaly import anomaly_score
from carryflow.features.carry import (
    find_settlements,
    fraction_to_settlement,
    last_funding_apr,
    trailing_carry_apr,
)
from carryflow.features.liquidity import bar_liquidity
from carryflow.features.rolling import lagged, rolling_mean
from carryflow.features.sentiment import sentiment_at
from carryflow.features.spec import MODEL_FEATURES, SENTIMENT_FEATURE
from carryflow.market.data import DataSettings
from carryflow.market.schema import name_rows

DAY, WEEK = 24, 168
WARM_UP_BARS = WEEK + 8
"""Bars at the head that only feed the windows of later ones: a week, and the longest interval before it, so
that every settlement inside a window knows the one before."""

_SCRATCH = ("basis_bp", "perp_high", "perp_low", "perp_quote_volume")


def build_frame(
    spot: pl.DataFrame,
    perp: pl.DataFrame,
    ticker: str,
    data: DataSettings,
    sentiment: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Build the unified frame of one ticker from its two validated legs.

    A row depends on the `WARM_UP_BARS` rows before it and on none other, to the last bit: extending the
    history at either end leaves the rows in between as they were.

    Args:
        spot: spot leg, as `market.store.read_leg` gives it.
        perp: perpetual leg.
        ticker: name of the coin.
        data: what may be missing.
        sentiment: `timestamp, value`, or None.

    Returns:
        Ticker, Date, KnownAt, SpotPrice, PerpPrice, MarkPrice, SettleMark, FundingRate, Basis, Carry
        (trailing day of settled funding, a year), Vol (realised volatility of the last day, a year), Spread,
        Depth, Liquidity, Sentiment (where given), Tradable; then the model features of `features.spec`,
        float32.

    Raises:
        CoverageError: bars, marks, settlements or sentiment are missing; the rows are named.
        MarketDataError: there are fewer rows than the warm-up, or a price or volume makes a feature infinite.

    """
    hours = align_legs(spot, perp, ticker, data)
    if len(hours) <= WARM_UP_BARS:
        raise MarketDataError(
            f"{ticker}: {len(hours)} hours are no more than the warm-up of {WARM_UP_BARS}; fetch more"
        )
    features = model_features(hours, ticker)
    market = hours.drop(_SCRATCH).with_columns(
        Carry=pl.Series(features["carry_24h_apr"]),
        Vol=pl.Series(features["vol_24h_apr"]),
        Liquidity=pl.Series(features["liquidity"]),
    )
    if sentiment is not None:
        mood = sentiment_at(hours["Date"], sentiment, ticker)
        market = market.with_columns(Sentiment=mood)
        features[SENTIMENT_FEATURE] = mood.to_numpy()
    frame = market.with_columns(
        pl.Series(name, values.astype(np.float32)) for name, values in features.items()
    ).slice(WARM_UP_BARS)
    return _require_finite(frame, tuple(features), ticker)


def model_features(hours: pl.DataFrame, ticker: str) -> dict[str, NDArray[np.float64]]:
    """Compute every model feature from aligned hours, each (n,), in the order of the spec.

    NaN while its window is filling.

    - spot_return: logarithmic return of spot over the bar.
    - basis_bp, premium_8h_bp: (perp − spot) / spot now and as a mean of 8 bars (basis points).
    - funding_last_apr, carry_{24,72,168}h_apr: settled funding, a year; positive pays shorts.
    - hours_to_settlement: hours to the next settlement as a fraction of the interval, in (0, 1].
    - vol_24h_apr: root mean square of hourly returns over a day, a year; vol_ratio: a day's over a week's.
    - volume_shock: ln(1 + quote volume of the perpetual / its mean over a week).
    - momentum_168h: logarithmic return of spot over a week.
    - liquidity, anomaly_score: as in the modules of their names.
    """
    spot, basis_bp, high, low, volume = (
        hours[name].to_numpy()
        for name in ("SpotPrice", "basis_bp", "perp_high", "perp_low", "perp_quote_volume")
    )
    log_spot = np.log(spot)
    spot_return = log_spot - lagged(log_spot, 1)
    settled = find_settlements(hours["Date"], hours["FundingRate"], ticker)
    vol_day, vol_week = (
        np.sqrt(rolling_mean(spot_return**2, width) * HOURS_PER_YEAR) for width in (DAY, WEEK)
    )
    with np.errstate(divide="ignore", invalid="ignore"):  # a dead market is refused by name in build_frame
        vol_ratio = vol_day / vol_week
        volume_share = volume / rolling_mean(volume, WEEK)
    basis_change_bp = basis_bp - lagged(basis_bp, 1)
    features = (
        spot_return,
        basis_bp,
        rolling_mean(basis_bp, 8),
        last_funding_apr(settled),
        trailing_carry_apr(settled, DAY),
        trailing_carry_apr(settled, 3 * DAY),
        trailing_carry_apr(settled, WEEK),
        fraction_to_settlement(settled),
        vol_day,
        vol_ratio,
        np.log1p(volume_share),
        log_spot - lagged(log_spot, WEEK),
        bar_liquidity(high, low, volume),
        anomaly_score(spot_return, basis_change_bp, volume),
    )
    return dict(zip(MODEL_FEATURES, features, strict=True))


def _require_finite(frame: pl.DataFrame, features: tuple[str, ...], ticker: str) -> pl.DataFrame:
    for name in features:
        bad = frame.filter(~pl.col(name).is_finite())["Date"]
        if len(bad):
            raise MarketDataError(
                f"{ticker}: {name} is not a number at {name_rows(bad)}: a price that stood still or hours "
                "without any volume; fetch these hours again or set data.start after them"
            )
    return frame

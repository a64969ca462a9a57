"""The order book where somebody recorded it, and what a trade would move the price by where nobody did."""

import numpy as np
from numpy.typing import NDArray

from carryflow.features.alignment import AlignedHours
from carryflow.features.volatility import realised_volatility_apr

REFERENCE_NOTIONAL_QUOTE = 100_000.0
"""Size of the trade whose impact is estimated (quote)."""

_DAY_HOURS = 24


def quoted_spread_bp(hours: AlignedHours) -> NDArray[np.float64]:
    """Give the recorded quoted spread, mean of both legs, (n,), in basis points of the mid.

    (ask − bid) / mid at the bar's close, the last one before it in a halt; NaN in bars that nobody watched.

    >>> import polars as pl
    >>> quoted_spread_bp(AlignedHours("BTC", pl.DataFrame({"Spread": [1.5, None]})))
    array([1.5, nan])
    """
    return hours["Spread"]


def depth_10bp(hours: AlignedHours) -> NDArray[np.float64]:
    """Give log10 of the recorded quote value within 10 bp of the mid, thinnest of the four sides, (n,).

    The last one before it in a halt; NaN in bars that nobody watched.

    >>> import polars as pl
    >>> depth_10bp(AlignedHours("BTC", pl.DataFrame({"Depth": [1e6, None]})))
    array([ 6., nan])
    """
    depth: NDArray[np.float64] = np.log10(hours["Depth"])
    return depth


def imbalance_10bp(hours: AlignedHours) -> NDArray[np.float64]:
    """Give (bid − ask) / (bid + ask) of the perpetual's recorded value within 10 bp of the mid, (n,).

    In [−1, 1]; positive: more rests to buy than to sell. NaN in bars that nobody watched. Source: Cao, Hansch
    and Wang, "The Information Content of an Open Limit-Order Book", Journal of Futures Markets 29 (2009),
    16–41.

    >>> import polars as pl
    >>> imbalance_10bp(AlignedHours("BTC", pl.DataFrame({"Imbalance": [0.5, None]})))
    array([0.5, nan])
    """
    return hours["Imbalance"]


def impact_bp(
    hours: AlignedHours,
    notional_quote: float = REFERENCE_NOTIONAL_QUOTE,
    width_hours: int = _DAY_HOURS,
) -> NDArray[np.float64]:
    """Estimate what a trade of the reference notional moves the price by, (n,), in basis points.

    σ √(Q / V) with the volatility σ of spot over a day and the perpetual's value V traded in the last day:
    the square-root law, with its constant of order one taken to be 1. Source: Tóth, Lempérière, Deremble, de
    Lataillade, Kockelkoren and Bouchaud, "Anomalous Price Impact and the Critical Nature of Liquidity in
    Financial Markets", Physical Review X 1 (2011), 021006, equation 1.

    A volatility of 5 % a day and a hundredth of a day's volume, over a window of one hour for brevity:

    >>> import polars as pl
    >>> bars = {"SpotPrice": [1.0, np.exp(0.05 / 24**0.5)], "perp_quote_volume": [1e7, 1e7 / 24]}
    >>> impact_bp(AlignedHours("BTC", pl.DataFrame(bars)), 1e5, width_hours=1).round(6)
    array([nan, 50.])
    """
    sigma_day = realised_volatility_apr(hours, width_hours) / np.sqrt(365)
    day_value = hours.mean(hours["perp_quote_volume"], width_hours) * hours.bars(_DAY_HOURS)
    with np.errstate(divide="ignore", invalid="ignore"):  # hours without any volume are refused by name
        impact: NDArray[np.float64] = 1e4 * sigma_day * np.sqrt(notional_quote / day_value)
    return impact

"""Realised volatility, a year: from closes of spot, and from the ranges of the perpetual's bars."""

import numpy as np
from numpy.typing import NDArray

from carryflow.features.alignment import AlignedHours
from carryflow.features.shocks import spot_return


def realised_volatility_apr(hours: AlignedHours, width_hours: int) -> NDArray[np.float64]:
    """Give the root mean square return of spot, close to close, (n,), times the root of the bars in a year.

    The mean is taken to be 0, whose estimate would only add noise. Source: Andersen, Bollerslev, Diebold and
    Labys, "Modeling and Forecasting Realized Volatility", Econometrica 71 (2003), 579–625.

    >>> import polars as pl
    >>> prices = np.exp(np.cumsum([0.0, 0.03, -0.04]))
    >>> (realised_volatility_apr(AlignedHours("BTC", pl.DataFrame({"SpotPrice": prices})), 2) ** 2).round(6)
    array([  nan,   nan, 10.95])
    """
    mean_square = hours.mean(spot_return(hours) ** 2, width_hours)
    volatility: NDArray[np.float64] = np.sqrt(mean_square * hours.bars_per_year)
    return volatility


def volatility_ratio(hours: AlignedHours, short_hours: int, long_hours: int) -> NDArray[np.float64]:
    """Divide the volatility of the last hours by that of many more, (n,); above 1: the market wakes up.

    >>> import polars as pl
    >>> prices = np.exp(np.cumsum([0.0, 0.03, 0.04]))
    >>> volatility_ratio(AlignedHours("BTC", pl.DataFrame({"SpotPrice": prices})), 1, 2).round(6)
    array([     nan,      nan, 1.131371])
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # a dead market is refused by name
        ratio: NDArray[np.float64] = realised_volatility_apr(hours, short_hours) / realised_volatility_apr(
            hours, long_hours
        )
    return ratio


def parkinson_volatility_apr(hours: AlignedHours, width_hours: int) -> NDArray[np.float64]:
    """Estimate volatility from the perpetual's highs and lows, (n,), a year.

    √(mean ln²(H/L) / (4 ln 2) × bars a year). Five times as efficient as closes while prices move without
    drift and jumps. Source: Parkinson, "The Extreme Value Method for Estimating the Variance of the Rate of
    Return", Journal of Business 53 (1980), 61–65.

    >>> import polars as pl
    >>> bar = pl.DataFrame({"perp_high": [np.exp(0.02)], "perp_low": [1.0]})
    >>> (parkinson_volatility_apr(AlignedHours("BTC", bar), 1) ** 2 / 8760 * 4 * np.log(2)).round(8)
    array([0.0004])
    """
    square = np.log(hours["perp_high"] / hours["perp_low"]) ** 2
    variance = hours.mean(square, width_hours) / (4 * np.log(2))
    volatility: NDArray[np.float64] = np.sqrt(variance * hours.bars_per_year)
    return volatility


def garman_klass_volatility_apr(hours: AlignedHours, width_hours: int) -> NDArray[np.float64]:
    """Estimate volatility from the perpetual's opens, highs, lows and closes, (n,), a year.

    √(mean(½ ln²(H/L) − (2 ln 2 − 1) ln²(C/O)) × bars a year). Source: Garman and Klass, "On the Estimation of
    Security Price Volatilities from Historical Data", Journal of Business 53 (1980), 67–78.

    >>> import polars as pl
    >>> bar = {"perp_open": [1.0], "perp_high": [np.exp(0.02)], "perp_low": [1.0], "PerpPrice": [1.0]}
    >>> (garman_klass_volatility_apr(AlignedHours("BTC", pl.DataFrame(bar)), 1) ** 2 / 8760).round(8)
    array([0.0002])
    """
    high_low = np.log(hours["perp_high"] / hours["perp_low"])
    close_open = np.log(hours["PerpPrice"] / hours["perp_open"])
    variance = hours.mean(0.5 * high_low**2 - (2 * np.log(2) - 1) * close_open**2, width_hours)
    volatility: NDArray[np.float64] = np.sqrt(variance * hours.bars_per_year)
    return volatility

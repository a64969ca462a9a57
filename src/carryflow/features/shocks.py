"""Returns and shocks: how far the last bar went, and how unlike the week before it was."""

import numpy as np
from numpy.typing import NDArray

from carryflow.features.alignment import AlignedHours
from carryflow.features.rolling import lagged

WEEK_HOURS = 168

SMALLEST_RETURN = 1e-6
SMALLEST_BASIS_BP = 1e-2
"""Smallest standard deviations told apart: after a week that stood still a shock would have no bound."""


def spot_return(hours: AlignedHours) -> NDArray[np.float64]:
    """Give the logarithmic return of spot over the bar, (n,); positive: the price rose; 0 in a halt.

    >>> import polars as pl
    >>> spot_return(AlignedHours("BTC", pl.DataFrame({"SpotPrice": [100.0, 110.0]}))).round(6)
    array([    nan, 0.09531])
    """
    log_price = np.log(hours["SpotPrice"])
    change: NDArray[np.float64] = log_price - lagged(log_price, 1)
    return change


def momentum(hours: AlignedHours, width_hours: int) -> NDArray[np.float64]:
    """Give the logarithmic return of spot over so many hours, (n,); positive: the price rose.

    Source: Moskowitz, Ooi and Pedersen, "Time Series Momentum", Journal of Financial Economics 104 (2012).

    >>> import polars as pl
    >>> momentum(AlignedHours("BTC", pl.DataFrame({"SpotPrice": [100.0, 90.0, 121.0]})), 2).round(6)
    array([    nan,     nan, 0.19062])
    """
    log_price = np.log(hours["SpotPrice"])
    change: NDArray[np.float64] = log_price - lagged(log_price, hours.bars(width_hours))
    return change


def return_shock(hours: AlignedHours, width_hours: int = WEEK_HOURS) -> NDArray[np.float64]:
    """Give the return's distance from the hours before it, in their standard deviations, (n,).

    (r − mean) / deviation, the bar itself not among them; positive: an unusual rise.

    >>> import polars as pl
    >>> prices = np.exp(np.cumsum([0.0, 0.01, 0.03, 0.05]))
    >>> return_shock(AlignedHours("BTC", pl.DataFrame({"SpotPrice": prices})), 2).round(6)
    array([nan, nan, nan,  3.])
    """
    return surprise(hours, spot_return(hours), width_hours, SMALLEST_RETURN)


def basis_z(hours: AlignedHours, width_hours: int = WEEK_HOURS) -> NDArray[np.float64]:
    """Give the basis's distance from the hours before it, in their standard deviations, (n,).

    Positive: the perpetual is dear against spot by the week's own measure.

    >>> import polars as pl
    >>> basis_z(AlignedHours("BTC", pl.DataFrame({"basis_bp": [1.0, 3.0, 0.0]})), 2)
    array([nan, nan, -2.])
    """
    return surprise(hours, hours["basis_bp"], width_hours, SMALLEST_BASIS_BP)


def volume_shock(hours: AlignedHours, width_hours: int = WEEK_HOURS) -> NDArray[np.float64]:
    """Compare the value traded in the bar with its mean up to now: ln(1 + volume / mean), (n,), ≥ 0.

    ln 2 in a usual bar; of the perpetual, which trades on when spot is halted.

    >>> import polars as pl
    >>> volume_shock(AlignedHours("BTC", pl.DataFrame({"perp_quote_volume": [1e6, 3e6]})), 2).round(6)
    array([     nan, 0.916291])
    """
    volume = hours["perp_quote_volume"]
    with np.errstate(divide="ignore", invalid="ignore"):  # hours without any volume are refused by name
        shock: NDArray[np.float64] = np.log1p(volume / hours.mean(volume, width_hours))
    return shock


def surprise(
    hours: AlignedHours, values: NDArray[np.float64], width_hours: int, floor: float
) -> NDArray[np.float64]:
    """Give each value's distance from those of the hours before it, in their standard deviations, (n,).

    The value itself is not among them. `floor` is the smallest deviation told apart, in the value's unit.

    >>> import polars as pl
    >>> surprise(AlignedHours("BTC", pl.DataFrame()), np.array([1.0, 3.0, 5.0]), 2, floor=0.1)
    array([nan, nan,  3.])
    """
    mean, deviation = hours.moments(values, width_hours)
    distance: NDArray[np.float64] = (values - lagged(mean, 1)) / np.maximum(lagged(deviation, 1), floor)
    return distance

"""Liquidity from bars alone, because recorded books exist only for the hours somebody watched.

A policy must meet the same estimator in every hour it learns from, is judged on and trades in; the books that
were recorded stand beside it in the unified frame (Spread, Depth) for people and for costs.
"""

import numpy as np
from numpy.typing import NDArray

from carryflow.features.alignment import AlignedHours
from carryflow.features.rolling import lagged

SPREAD_FLOOR = 1e-6
"""Smallest mean spread told apart (a hundredth of a basis point): under it lies the tick of the price."""


def corwin_schultz_spread(high: NDArray[np.float64], low: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate the bid–ask spread over each bar and the one before, (n,), as a fraction of price.

    A high is traded at the ask and a low at the bid, and variance grows with time where the spread does not:
    with β = Σ ln²(H/L) of two bars and γ = ln²(H/L) of both as one,
    α = (√(2β) − √β) / (3 − 2√2) − √(γ / (3 − 2√2)) and S = 2(e^α − 1)/(1 + e^α), negative estimates held at
    0. Corwin and Schultz, "A Simple Way to Estimate Bid-Ask Spreads from Daily High and Low Prices", Journal
    of Finance 67 (2012), 719–760, equations 14 and 18.

    Two bars that span the same range tell of a spread of that range and of no volatility:

    >>> corwin_schultz_spread(np.array([101.0, 101.0]), np.array([100.0, 100.0])).round(6)
    array([    nan, 0.00995])
    """
    grain = 3 - 2 * np.sqrt(2)
    one_bar = np.log(high / low) ** 2
    beta = one_bar + lagged(one_bar, 1)
    both_high, both_low = np.maximum(high, lagged(high, 1)), np.minimum(low, lagged(low, 1))
    gamma = np.log(both_high / both_low) ** 2
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / grain - np.sqrt(gamma / grain)
    spread: NDArray[np.float64] = np.maximum(2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha)), 0)
    return spread


def bar_liquidity(hours: AlignedHours, width_hours: int = 24) -> NDArray[np.float64]:
    """Say how much trades per spread paid: log10(mean quote volume an hour / mean spread), (n,).

    Of the perpetual; means run over the hours up to each bar, NaN until they are full. A market in which
    nothing traded has no liquidity to speak of and gives −∞, which the frame refuses by naming the rows.

    Two bars of equal range are a spread of that range, here 0.995 %, paid on a million:

    >>> import polars as pl
    >>> bars = {"perp_high": [101.0] * 2, "perp_low": [100.0] * 2, "perp_quote_volume": [1e6] * 2}
    >>> bar_liquidity(AlignedHours("BTC", pl.DataFrame(bars)), width_hours=1).round(4)  # log10(1e6 / 0.00995)
    array([   nan, 8.0022])
    """
    spread = corwin_schultz_spread(hours["perp_high"], hours["perp_low"])
    mean_spread = np.maximum(hours.mean(spread, width_hours), SPREAD_FLOOR)
    hourly_value = hours.mean(hours["perp_quote_volume"], width_hours) * hours.bars(1)
    with np.errstate(divide="ignore"):
        liquidity: NDArray[np.float64] = np.log10(hourly_value / mean_spread)
    return liquidity

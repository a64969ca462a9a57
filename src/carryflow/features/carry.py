"""Funding carry: what holding the hedge has been paid lately, a year, whatever the interval it was paid in.

A settlement pays for the hours since the one before it, and so does it here: rates are added up and divided
by the hours that they paid for. A venue that goes from 8 h to 2 h intervals at the same hourly rate leaves
every carry unchanged.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from carryflow.core.compiled import compiled
from carryflow.core.funding import HOURS_PER_YEAR
from carryflow.features.alignment import AlignedHours
from carryflow.market.premium import CAP, CLAMP, INTEREST_PER_INTERVAL, INTERVAL_HOURS
from carryflow.market.timeframe import HOUR_MS

Value = TypeVar("Value")


def trailing_carry_apr(hours: AlignedHours, width_hours: int) -> NDArray[np.float64]:
    """Give the mean funding of the hours up to each bar, (n,), a year; NaN until the window is full.

    Σ rate / Σ hours paid for × 8760, over the settlements stamped in the window. Positive: shorts are paid.
    Source: Binance, "Introduction to Binance Futures Funding Rates" (a settlement pays for the interval
    before it).

    >>> import polars as pl
    >>> hours = AlignedHours("BTC", pl.DataFrame({"FundingRate": [9e-4, None, 1e-4, None, 2e-4]}))
    >>> trailing_carry_apr(hours, 3).round(6)  # 3 bp for 4 hours; what the first paid for is not known
    array([  nan,   nan, 0.438, 0.438, 0.657])
    """
    known = ~np.isnan(hours.settled.hours)
    paid = hours.mean(np.where(known, hours.settled.rate, 0.0), width_hours)
    paid_for = hours.mean(np.where(known, hours.settled.hours, 0.0), width_hours)
    with np.errstate(invalid="ignore"):  # no settlement yet: not a number
        carry: NDArray[np.float64] = paid / paid_for * HOURS_PER_YEAR
    return carry


def last_funding_apr(hours: AlignedHours) -> NDArray[np.float64]:
    """Give the newest settled rate over the hours it paid for, (n,), a year; NaN before the second one.

    A settlement stamped at the bar's open is the newest that counts: one at its close is not yet known.
    Positive: shorts are paid.

    >>> import polars as pl
    >>> hours = AlignedHours("BTC", pl.DataFrame({"FundingRate": [1e-4, None, 2e-4, None]}))
    >>> last_funding_apr(hours).round(4)
    array([  nan,   nan, 0.876, 0.876])
    """
    return _carried(hours.settled.rate / hours.settled.hours) * HOURS_PER_YEAR


def predicted_funding_apr(hours: AlignedHours) -> NDArray[np.float64]:
    """Predict the rate of the settlement to come from the premium since the last one, (n,), a year.

    F = [P̄ + clamp(I − P̄, −5 bp, 5 bp)] / (8 / N), held within ±2 %, over N hours: P̄ averages the premium of
    each bar (perp − spot) / spot since the last settlement, later bars weighing more, I = 1 bp, and N is the
    newest interval. In the last bar before a settlement this is the forecast of that very one. NaN before the
    second settlement. Positive: shorts will be paid.

    Source: Binance, "Introduction to Binance Futures Funding Rates", as in `market.premium`. The venue
    samples its premium index every few seconds, this once a bar, and so it exists in every hour. The formula
    is today's: at Solana's two-hour settlements of November 2022 rates were not yet divided by 8 / N.

    Weights of 1 and 2 give 12 bp and, 5 bp nearer to the interest, 7 bp for eight hours:

    >>> import polars as pl
    >>> rates, basis = [1e-4, None, 1e-4, None], [0.0, 0.0, 6.0, 15.0]
    >>> hours = AlignedHours("BTC", pl.DataFrame({"FundingRate": rates, "basis_bp": basis}))
    >>> (predicted_funding_apr(hours) / 8760 * 8 * 1e4).round(6)
    array([nan, nan,  1.,  7.])
    """
    average = _average_since(~np.isnan(hours.settled.rate), hours["basis_bp"] / 1e4)
    interval = _carried(hours.settled.hours)
    rate = (average + np.clip(INTEREST_PER_INTERVAL - average, -CLAMP, CLAMP)) * (interval / INTERVAL_HOURS)
    forecast: NDArray[np.float64] = np.clip(rate, -CAP, CAP) / interval * HOURS_PER_YEAR
    return forecast


def fraction_to_settlement(hours: AlignedHours) -> NDArray[np.float64]:
    """Give the hours from the bar's close to the next settlement that a position opened there joins, (n,).

    In (0, 1], as a fraction of the newest interval: a position opened at the very instant of a settlement
    waits a whole interval. NaN before the second settlement.

    >>> import polars as pl
    >>> hours = AlignedHours("BTC", pl.DataFrame({"FundingRate": [1e-4, None, 1e-4, None, None]}))
    >>> fraction_to_settlement(hours)
    array([nan, nan, 0.5, 1. , 0.5])
    """
    interval = _carried(hours.settled.hours)
    elapsed = bars_since_settlement(hours) * (hours.bar_ms / HOUR_MS)
    fraction: NDArray[np.float64] = 1 - np.mod(elapsed, interval) / interval
    return fraction


def bars_since_settlement(hours: AlignedHours) -> NDArray[np.float64]:
    """Count the bars from the newest settlement to each bar's close, (n,); NaN before the first.

    >>> import polars as pl
    >>> bars_since_settlement(AlignedHours("BTC", pl.DataFrame({"FundingRate": [None, 1e-4, None]})))
    array([nan,  1.,  2.])
    """
    rows = np.arange(len(hours), dtype=np.float64)
    since: NDArray[np.float64] = rows + 1 - _carried(np.where(np.isnan(hours.settled.rate), np.nan, rows))
    return since


def position_carry_apr(position: Value, carry_apr: Value, spot_share: Value) -> Value:
    """Give what the hedged trade earns on its capital, a year, at the carry of late.

    position × carry × spot share: `position` is the fraction of capital in the trade (positive: long spot,
    short perpetual), `spot_share` the share of it that buys spot, and so the perpetual's notional; the rest
    is margin. Positive: the position is paid. Takes numbers, arrays or columns alike.

    >>> position_carry_apr(0.5, 0.12, 0.75)
    0.045
    """
    return position * carry_apr * spot_share  # type: ignore[operator, no-any-return]


def _carried(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Carry each value forward over the NaN that follow it."""
    source = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))))
    carried: NDArray[np.float64] = values[source]
    return carried


@compiled(allocates=True)
def _average_since(settles: NDArray[np.bool_], premium: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average the premium since the newest settlement, the k-th bar after it weighing k."""
    out = np.full(len(premium), np.nan)
    total, weights, weight = 0.0, 0.0, 0.0
    begun = False
    for row in range(len(premium)):
        if settles[row]:
            total, weights, weight = 0.0, 0.0, 0.0
            begun = True
        weight += 1.0
        weights += weight
        total += weight * premium[row]
        if begun:
            out[row] = total / weights
    return out

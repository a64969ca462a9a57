"""Funding carry: what holding the hedge has been paid lately, a year, whatever the interval it was paid in.

A settlement pays for the hours since the one before it, and so does it here: rates are added up and divided
by the hours that they paid for. A venue that goes from 8 h to 2 h intervals at the same hourly rate leaves
every carry unchanged.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.compiled import compiled
from carryflow.core.errors import CoverageError
from carryflow.core.funding import HOURS_PER_YEAR
from carryflow.market.schema import name_rows

INTERVALS_H = (1, 2, 4, 8)
"""Hours between settlements that venues publish."""


@dataclass(frozen=True, slots=True)
class Settlements:
    """Hold the settlements on an hourly grid of n bars.

    Attributes:
        rate: rate settled at the bar's open (longs pay shorts where positive); NaN where nothing settled.
        hours: hours that the rate paid for; NaN where nothing settled, and at the first settlement, whose
            beginning nobody saw.

    """

    rate: NDArray[np.float64]
    hours: NDArray[np.float64]


def find_settlements(date: pl.Series, funding_rate: pl.Series, ticker: str) -> Settlements:
    """Find what settled and the hours each settlement paid for.

    Raises:
        CoverageError: the time between two settlements is no published interval.

    """
    rate = funding_rate.to_numpy().astype(np.float64)
    hours = np.full(len(rate), np.nan)
    at = np.flatnonzero(~np.isnan(rate))
    hours[at[1:]] = np.diff(at)
    unknown = ~np.isnan(hours) & ~np.isin(hours, INTERVALS_H)
    if unknown.any():
        raise CoverageError(
            f"{ticker}: {sorted({int(h) for h in hours[unknown]})} hours since the settlement before, at "
            f"{name_rows(date.filter(pl.Series(unknown)))}; venues settle every {INTERVALS_H} h, so one is "
            "missing: fetch the funding history again"
        )
    return Settlements(rate, hours)


def trailing_carry_apr(settled: Settlements, width: int) -> NDArray[np.float64]:
    """Give the mean funding of the last `width` bars, annualised, (n,); NaN until the window is full.

    Σ rate / Σ hours paid for × 8760, over the settlements stamped in the window. Positive: shorts are paid.

    >>> settled = Settlements(np.array([1e-4, np.nan, 2e-4]), np.array([2.0, np.nan, 2.0]))
    >>> trailing_carry_apr(settled, 3).round(6)  # 3 bp for 4 hours
    array([  nan,   nan, 0.657])
    """
    carry: NDArray[np.float64] = _paid_per_hour(settled.rate, settled.hours, width) * HOURS_PER_YEAR
    return carry


def last_funding_apr(settled: Settlements) -> NDArray[np.float64]:
    """Give the newest settled rate, annualised over the hours it paid for, (n,); NaN before the second one.

    >>> last_funding_apr(Settlements(np.array([1e-4, np.nan, 2e-4]), np.array([8.0, np.nan, 2.0]))).round(4)
    array([0.1095, 0.1095, 0.876 ])
    """
    return _carried(settled.rate / settled.hours) * HOURS_PER_YEAR


def fraction_to_settlement(settled: Settlements) -> NDArray[np.float64]:
    """Give the hours from the bar's close to the next settlement that a position opened there joins, (n,).

    In (0, 1], as a fraction of the newest interval: a position opened at the very instant of a settlement
    waits a whole interval. NaN before the second settlement.

    >>> fraction_to_settlement(Settlements(np.array([1e-4, np.nan, np.nan]), np.array([2.0, np.nan, np.nan])))
    array([0.5, 1. , 0.5])
    """
    rows = np.arange(len(settled.rate), dtype=np.float64)
    known = ~np.isnan(settled.hours)
    elapsed = rows + 1 - _carried(np.where(known, rows, np.nan))
    interval = _carried(settled.hours)
    fraction: NDArray[np.float64] = 1 - np.mod(elapsed, interval) / interval
    return fraction


def _carried(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Carry each value forward over the NaN that follow it."""
    source = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))))
    carried: NDArray[np.float64] = values[source]
    return carried


@compiled
def _paid_per_hour(rate: NDArray[np.float64], hours: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    out = np.full(len(rate), np.nan)
    for last in range(width - 1, len(rate)):
        paid, paid_for = 0.0, 0.0
        for row in range(last - width + 1, last + 1):
            if hours[row] > 0:
                paid += rate[row]
                paid_for += hours[row]
        if paid_for > 0:
            out[last] = paid / paid_for
    return out

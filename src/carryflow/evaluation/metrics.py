"""What a ledger was worth: return on capital, drawdown, Sharpe ratios with their error, turnover, split."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from carryflow.core.errors import InvariantBroken

Series = NDArray[np.float64]

HOURS_PER_YEAR = 8_760.0
DAY_HOURS = 24
WEEK_HOURS = 168
MONTH_HOURS = 720


@dataclass(frozen=True, slots=True)
class Split:
    """Tell where a profit came from, in quote currency; costs are negative numbers.

    Attributes:
        funding: settlements received (positive) and paid (negative).
        basis: price PnL of both legs against reference prices.
        fees: taker fees.
        slippage: the distance from the reference price to the fill.
        borrow: interest on a borrowed spot leg.
        liquidation: what a liquidation took.
        residual: what the identity leaves over; zero but for rounding.
    """

    funding: float
    basis: float
    fees: float
    slippage: float
    borrow: float
    liquidation: float
    residual: float

    @property
    def total(self) -> float:
        """Sum the parts: the change of equity, in quote currency."""
        return math.fsum(getattr(self, part) for part in PARTS)


PARTS: tuple[str, ...] = tuple(field.name for field in fields(Split))
"""The parts of a profit, in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class Sharpe:
    """Hold an annualised Sharpe ratio and how sure it is.

    Attributes:
        ratio: mean over standard deviation of period returns, annualised; no risk-free rate is taken off.
        error: its standard error, annualised, were the period returns independent.
        periods: whole periods that it rests on.
    """

    ratio: float
    error: float
    periods: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """Hold what one ledger was worth.

    Attributes:
        hours: length of the ledger.
        capital_quote: equity at its start.
        pnl_quote: equity at its end less at its start.
        return_total: PnL over capital.
        return_apr: the same, a year: `return_total · 8760 / hours`, not compounded.
        max_drawdown: deepest fall from a peak of equity, as a fraction of that peak.
        sharpe_daily: from 24-hour returns; None where undefined (see `sharpe_ratio`). Funding is smooth and
            autocorrelated, so a daily Sharpe flatters a carry trade: read the weekly beside it.
        sharpe_weekly: from 168-hour returns.
        sharpe_monthly: from 720-hour returns.
        turnover_per_year: notional traded, both legs, in multiples of capital a year.
        time_in_market: share of account-hours with a position.
        liquidations: how many accounts were liquidated.
        split: where the PnL came from.
    """

    hours: int
    capital_quote: float
    pnl_quote: float
    return_total: float
    return_apr: float
    max_drawdown: float
    sharpe_daily: Sharpe | None
    sharpe_weekly: Sharpe | None
    sharpe_monthly: Sharpe | None
    turnover_per_year: float
    time_in_market: float
    liquidations: int
    split: Split


@dataclass(frozen=True, slots=True)
class PolicyScore:
    """Hold what one policy's trading was worth.

    Attributes:
        portfolio: all tickers as one account, each with an equal share of the capital.
        tickers: each ticker's own account.
    """

    portfolio: Metrics
    tickers: Mapping[str, Metrics]


def drawdown(equity: Series) -> Series:
    """Give the fall from the running peak at each hour, as a fraction of that peak, ≥ 0; shape as `equity`.

    >>> drawdown(np.array([100.0, 120.0, 90.0, 120.0])).tolist()
    [0.0, 0.0, 0.25, 0.0]
    """
    peak = np.maximum.accumulate(equity)
    fall: Series = (peak - equity) / peak
    return fall


def period_returns(equity: Series, hours: int) -> Series:
    """Give the simple returns of whole periods, back to back from the first hour on; a cut one is left out.

    Args:
        equity: hourly equity, (n,), the first value before the first hour has passed.
        hours: length of a period.

    >>> period_returns(np.array([100.0, 105.0, 150.0, 100.0, 75.0, 500.0]), hours=2).tolist()
    [0.5, -0.5]
    """
    sampled = equity[::hours]
    returns: Series = sampled[1:] / sampled[:-1] - 1.0
    return returns


def sharpe_ratio(returns: Series, hours: int) -> Sharpe | None:
    """Give the annualised Sharpe ratio of period returns with its standard error.

    The error is Lo's, for independent returns: √((1 + SR²/2) / T) a period, then annualised as the ratio is
    (A. W. Lo, "The Statistics of Sharpe Ratios", Financial Analysts Journal 58(4), 2002).

    Args:
        returns: returns of the periods, (T,).
        hours: length of a period.

    Returns:
        None where there is no ratio: fewer than two periods, or returns that do not vary (a flat account).

    Mean 0.02 over deviation 0.01·√2 is √2 a week; a year has 52.14 weeks:

    >>> weekly = sharpe_ratio(np.array([0.01, 0.03]), hours=168)
    >>> f"{weekly.ratio:.3f} ± {weekly.error:.3f} from {weekly.periods}"
    '10.212 ± 7.221 from 2'
    >>> sharpe_ratio(np.zeros(9), hours=24) is None
    True
    """
    if returns.size < 2:
        return None
    deviation = float(returns.std(ddof=1))
    # Returns that differ only by rounding do not vary: their ratio would be noise of any size.
    if deviation <= 1e-12 * max(1.0, float(np.abs(returns).max())):
        return None
    per_period = float(returns.mean()) / deviation
    error = math.sqrt((1.0 + per_period**2 / 2.0) / returns.size)
    scale = math.sqrt(HOURS_PER_YEAR / hours)
    return Sharpe(ratio=per_period * scale, error=error * scale, periods=int(returns.size))


def measure(
    equity: Series, split: Split, *, traded_quote: float, time_in_market: float, liquidations: int
) -> Metrics:
    """Measure one account, or the pool of several.

    Args:
        equity: hourly equity in quote currency, (n,), n ≥ 2; the first value is the capital.
        split: where the change of equity came from.
        traded_quote: notional traded, both legs, all hours.
        time_in_market: share of account-hours with a position.
        liquidations: accounts liquidated.

    Raises:
        InvariantBroken: there are fewer than two values, one is not finite, or the capital is not positive.

    >>> parts = Split(30.0, basis=-5.0, fees=-15.0, slippage=0.0, borrow=0.0, liquidation=0.0, residual=0.0)
    >>> year = np.linspace(1000.0, 1010.0, 8761)
    >>> m = measure(year, parts, traded_quote=2000.0, time_in_market=1.0, liquidations=0)
    >>> (m.pnl_quote, m.return_apr, m.turnover_per_year, m.split.total)
    (10.0, 0.01, 2.0, 10.0)
    """
    if equity.size < 2 or not np.isfinite(equity).all() or equity[0] <= 0.0:
        raise InvariantBroken(
            f"equity needs two or more finite values and positive capital; got {equity.size} values, "
            f"{int((~np.isfinite(equity)).sum())} of them not finite: check the ledger it came from"
        )
    hours, capital = equity.size - 1, float(equity[0])
    per_year = HOURS_PER_YEAR / hours
    pnl = float(equity[-1]) - capital
    daily, weekly, monthly = (
        sharpe_ratio(period_returns(equity, span), span) for span in (DAY_HOURS, WEEK_HOURS, MONTH_HOURS)
    )
    return Metrics(
        hours=hours,
        capital_quote=capital,
        pnl_quote=pnl,
        return_total=pnl / capital,
        return_apr=pnl / capital * per_year,
        max_drawdown=float(drawdown(equity).max()),
        sharpe_daily=daily,
        sharpe_weekly=weekly,
        sharpe_monthly=monthly,
        turnover_per_year=traded_quote / capital * per_year,
        time_in_market=time_in_market,
        liquidations=liquidations,
        split=split,
    )

"""The reward of one step, in basis points of the capital: what was earned, less costs and prices of risk.

    reward = portfolio change − transaction costs − (volatility + drawdown + turnover penalties)

The first two alone are the change of equity, funding included: the part that is not shaped.
"""

from math import sqrt

from carryflow.core.compiled import compiled

REWARD_TERMS: tuple[str, ...] = (
    "portfolio_change_bp",
    "transaction_costs_bp",
    "volatility_penalty_bp",
    "drawdown_penalty_bp",
    "turnover_penalty_bp",
)
"""The terms by name, in the order in which a step tells them; all but the first are taken off."""

N_TERMS = len(REWARD_TERMS)


@compiled
def profit_bp(delta_equity_quote: float, bp_per_quote: float) -> float:
    """Return a change of equity in basis points; `bp_per_quote` is 10 000 over the capital at the start.

    >>> profit_bp(12.5, 1e4 / 100_000.0)
    1.25
    """
    return delta_equity_quote * bp_per_quote


@compiled
def portfolio_change_bp(
    funding: float, basis: float, borrow: float, liquidation: float, bp_per_quote: float
) -> float:
    """Return what the position made while it was held, in basis points of capital; the parts in quote.

    >>> portfolio_change_bp(30.0, -12.0, -3.0, 0.0, 0.1)
    1.5
    """
    return profit_bp(funding + basis + borrow + liquidation, bp_per_quote)


@compiled
def transaction_costs_bp(fees: float, slippage: float, bp_per_quote: float) -> float:
    """Return what trading cost, in basis points of capital; both parts in quote, costs negative.

    It is never negative, but where a venue pays makers.

    >>> transaction_costs_bp(-20.0, -5.0, 0.1)
    2.5
    """
    return -profit_bp(fees + slippage, bp_per_quote)


@compiled
def updated_variance(variance_bp2: float, profit: float, alpha: float) -> float:
    """Fold one step's profit (bp) into the exponential mean of its square (bp²); α is 2 / (span + 1).

    >>> updated_variance(0.0, 3.0, 0.5)
    4.5
    """
    return (1.0 - alpha) * variance_bp2 + alpha * profit * profit


@compiled
def drawdown(equity_quote: float, peak_quote: float) -> float:
    """Return how far equity lies below its peak (fraction of the peak, ≥ 0).

    >>> drawdown(90.0, 120.0)
    0.25
    """
    return 1.0 - equity_quote / peak_quote


@compiled
def volatility_penalty_bp(variance_bp2: float, lambda_vol: float) -> float:
    """Return the price of the rolling volatility of profit.

    >>> volatility_penalty_bp(16.0, 0.1)
    0.4
    """
    return lambda_vol * sqrt(variance_bp2)


@compiled
def drawdown_penalty_bp(below_peak: float, lambda_dd: float) -> float:
    """Return the price of standing `below_peak` (fraction) under the peak.

    >>> drawdown_penalty_bp(0.25, 0.01)
    25.0
    """
    return lambda_dd * 1e4 * below_peak


@compiled
def turnover_penalty_bp(turnover_quote: float, bp_per_quote: float, lambda_to: float) -> float:
    """Return the price of trading, over what trading cost; the notional of both legs counts (quote).

    >>> turnover_penalty_bp(2_000.0, 0.1, 0.01)
    2.0
    """
    return lambda_to * profit_bp(turnover_quote, bp_per_quote)

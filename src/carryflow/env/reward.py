"""The reward of one step: profit on capital in basis points, less named prices of risk."""

from carryflow.core.compiled import compiled


@compiled
def profit_bp(delta_equity_quote: float, capital_quote: float) -> float:
    """Return the change of equity in basis points of the capital at the start.

    >>> profit_bp(12.5, 100_000.0)
    1.25
    """
    return 1e4 * delta_equity_quote / capital_quote


@compiled
def updated_variance(variance_bp2: float, profit: float, span_bars: float) -> float:
    """Fold one step's profit (bp) into the exponential mean of its square (bp²), α = 2 / (span + 1).

    >>> updated_variance(0.0, 3.0, 3.0)
    4.5
    """
    alpha = 2.0 / (span_bars + 1.0)
    return (1.0 - alpha) * variance_bp2 + alpha * profit * profit


@compiled
def drawdown(equity_quote: float, peak_quote: float) -> float:
    """Return how far equity lies below its peak (fraction of the peak, ≥ 0).

    >>> drawdown(90.0, 120.0)
    0.25
    """
    return 1.0 - equity_quote / peak_quote


@compiled
def risk_adjusted_reward(
    profit: float,
    volatility_bp: float,
    drawdown_bp: float,
    turnover_bp: float,
    lambda_vol: float,
    lambda_dd: float,
    lambda_to: float,
) -> float:
    """Return profit less the prices of volatility, drawdown and turnover (all in bp of capital).

    >>> risk_adjusted_reward(5.0, 10.0, 20.0, 100.0, 0.1, 0.05, 0.01)
    2.0
    """
    return profit - (lambda_vol * volatility_bp + lambda_dd * drawdown_bp + lambda_to * turnover_bp)

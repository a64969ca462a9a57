"""The verdict on a policy under stress, from the trace of what happened to it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.account import PARTS


@dataclass(frozen=True, slots=True)
class Verdict:
    """Say how one policy came out of one scenario. Hours and losses count from the shock; money is quote.

    Fractions are of equity at the shock.

    Attributes:
        scenario: what happened.
        ticker: the coin.
        policy: to whom.
        liquidated: whether the venue took its perpetual.
        liquidated_at_ms: end of the hour in which it did (UTC, milliseconds); None if it did not.
        deleveraged: whether the venue took a part of its short without a liquidation.
        margin_ratio_at_shock: margin of its perpetual over the notional; None without a position.
        worst_drawdown: deepest fall below the highest equity so far (fraction).
        worst_drawdown_usd: the same with equity counted in dollars (fraction).
        largest_unhedged_base: most coins that stood without their hedge at the end of an hour, or when the
            perpetual was liquidated (base, signed).
        largest_unhedged: what they were worth then (fraction).
        hours_to_flat: from the shock to the decision, or the liquidation, that left no position, or less than
            the venue's smallest order; 0 for one who had none; None if never.
        hours_to_return: from the shock to the decision that took a position again after that; None if never.
        dearest_exit: what closing the position would have cost in the worst hour (fraction).
        parts: what was gained by part, costs negative (quote).
        hours_lived: how long all of this went on.
        equity_at_shock: what the account was worth (quote).
        final_equity: what it is worth at the end (quote).
        final_equity_usd: the same, counted in dollars (USD).

    """

    scenario: str
    ticker: str
    policy: str
    liquidated: bool
    liquidated_at_ms: int | None
    deleveraged: bool
    margin_ratio_at_shock: float | None
    worst_drawdown: float
    worst_drawdown_usd: float
    largest_unhedged_base: float
    largest_unhedged: float
    hours_to_flat: float | None
    hours_to_return: float | None
    dearest_exit: float
    parts: Mapping[str, float]
    hours_lived: float
    equity_at_shock: float
    final_equity: float
    final_equity_usd: float

    @property
    def gained(self) -> float:
        """Give the change of equity since the shock (quote)."""
        return self.final_equity - self.equity_at_shock


def judge(trace: pl.DataFrame, scenario: str, ticker: str, policy: str) -> Verdict:
    """Say how a policy came out of a scenario, from its trace since the shock (`play`)."""
    lived = trace.slice(1)
    equity, dollars = trace["equity"].to_numpy(), trace["equity_usd"].to_numpy()
    at_shock = float(equity[0])
    taken = lived.filter("liquidated")
    unhedged = trace["unhedged_quote"].to_numpy()
    worst = int(np.abs(unhedged).argmax())
    flat, back = _comings_and_goings(trace)
    return Verdict(
        scenario=scenario,
        ticker=ticker,
        policy=policy,
        liquidated=not taken.is_empty(),
        liquidated_at_ms=None if taken.is_empty() else int(taken["timestamp"].dt.epoch("ms")[0]),
        deleveraged=bool(lived["deleveraged"].any()),
        margin_ratio_at_shock=trace["margin_ratio"][0],
        worst_drawdown=_fall(equity) / at_shock,
        worst_drawdown_usd=_fall(dollars) / at_shock,
        largest_unhedged_base=float(trace["unhedged"][worst]),
        largest_unhedged=float(abs(unhedged[worst]) / at_shock),
        hours_to_flat=flat,
        hours_to_return=back,
        dearest_exit=float(trace["exit_cost"].to_numpy().max()) / at_shock,
        parts={part: float(lived[part].sum()) for part in PARTS},
        hours_lived=float(trace["hour"][-1]),
        equity_at_shock=at_shock,
        final_equity=float(equity[-1]),
        final_equity_usd=float(dollars[-1]),
    )


def _fall(equity: NDArray[np.float64]) -> float:
    """Give the deepest fall below the highest so far."""
    return float((np.maximum.accumulate(equity) - equity).max())


def _comings_and_goings(trace: pl.DataFrame) -> tuple[float | None, float | None]:
    """Give the hours from the shock to having no position, and to having one again.

    A row shows what the decision an hour before it left; a liquidation came within that hour.
    """
    hour, liquidated, held = (trace[name].to_numpy() for name in ("hour", "liquidated", "held"))
    gone = np.flatnonzero(~held[1:])
    if not len(gone):
        return None, None
    row = int(gone[0]) + 1
    flat = hour[row] if liquidated[row] and held[row - 1] else hour[row - 1]
    again = np.flatnonzero(held[row:])
    return float(flat), float(hour[row + int(again[0]) - 1]) if len(again) else None

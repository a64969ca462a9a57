"""The backtest: a policy trades hours that it has not seen, through the same simulator that trained it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.account import PARTS as BOOKED
from carryflow.env.settings import EnvSettings
from carryflow.env.simulator import HedgedSimulator
from carryflow.env.tape import MarketTape, same_decisions
from carryflow.evaluation.baselines import Policy


def backtest(
    tapes: Sequence[MarketTape],
    policy: Policy,
    env: EnvSettings,
    start_ms: int,
    end_ms: int,
    *,
    experts: Sequence[str] = (),
) -> pl.DataFrame:
    """Let a policy trade every ticker from the first to the last decision in [start_ms, end_ms).

    Each ticker is an account of `env.capital_quote` that begins flat and plays the whole range as one
    episode. Whatever the policy wants, the last decision closes the position, so that a result never hides
    the cost of getting out. An account that is liquidated rests from then on.

    Args:
        tapes: one a ticker, with the same decisions in the range.
        policy: decides for all tickers at once, from what each can observe at that hour.
        env: capital, costs, margin and trading rule.
        start_ms: first decision time (UTC, milliseconds).
        end_ms: end of the range, itself left out.
        experts: names of the policy's experts, in the order of its gate's weights; none for a policy without.

    Returns:
        The ledger, one row per ticker and hour, sorted by both: `timestamp` ends the hour; `action` was
        decided at its beginning; `position` is the fraction of capital in the hedged trade at its end;
        `equity` and the parts of its change (`metrics.PARTS`) are quote currency, as is `traded`, the
        notional of both legs; `liquidated` says whether the account is; `gate_<expert>` are the weights of
        the decision. A ticker's first row is its opening: its action and weights are null.

    Raises:
        MarketDataError: the range holds fewer than two decisions, or the tickers' decisions differ.
    """
    cut = [tape.slice(start_ms, end_ms) for tape in tapes]
    decision_ms = same_decisions(cut)
    simulator = HedgedSimulator(cut, len(cut), env)
    simulator.reset(np.arange(len(cut)), np.arange(len(cut)), [tape.first for tape in cut])

    hours, accounts = len(decision_ms), len(cut)
    actions = np.full((hours, accounts), np.nan)
    gates = np.full((hours, accounts, len(experts)), np.nan)
    equity, position = np.full((hours, accounts), simulator.equity), np.zeros((hours, accounts))
    parts, residual = np.zeros((hours, accounts, len(BOOKED))), np.zeros((hours, accounts))
    turnover, liquidated = np.zeros((hours, accounts)), np.zeros((hours, accounts), dtype=np.bool_)
    observations = simulator.observe()
    for hour in range(1, hours):
        choice = policy(simulator.observe(observations))
        actions[hour] = choice.action if hour < hours - 1 else 0.0
        if experts:
            gates[hour] = choice.gate
        result = simulator.step(actions[hour])
        parts[hour], liquidated[hour] = result.parts_quote, result.terminated
        residual[hour] = result.profit_quote - result.parts_quote.sum(axis=1)
        equity[hour], position[hour] = simulator.equity, simulator.fraction
        turnover[hour] = simulator.turnover_quote
    simulator.check_books()

    columns = {
        "action": actions,
        "position": position,
        "equity": equity,
        "traded": np.diff(turnover, axis=0, prepend=0.0),
        **{name: parts[:, :, part] for part, name in enumerate(BOOKED)},
        "residual": residual,
        "liquidated": liquidated,
        **{f"gate_{expert}": gates[:, :, column] for column, expert in enumerate(experts)},
    }
    return lay_ledger([tape.ticker for tape in cut], decision_ms, columns)


def lay_ledger(
    tickers: Sequence[str], decision_ms: NDArray[np.int64], columns: Mapping[str, NDArray[Any]]
) -> pl.DataFrame:
    """Lay (hours, tickers) arrays out as rows, one per ticker and hour; an opening's NaN becomes null."""
    hours = pl.Series(decision_ms).cast(pl.Datetime("ms", "UTC"))
    accounts = [
        pl.DataFrame({"timestamp": hours} | {name: values[:, account] for name, values in columns.items()})
        .with_columns(pl.lit(ticker).alias("ticker"))
        .select("ticker", "timestamp", *columns)
        for account, ticker in enumerate(tickers)
    ]
    ledger = pl.concat(accounts).sort("ticker", "timestamp")
    return ledger.with_columns(pl.col("^(action|gate_.*)$").fill_nan(None))

"""A policy under stress: who plays, with which account, and what happened to it hour by hour."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.account import PARTS, Column
from carryflow.core.errors import SettingsError
from carryflow.core.hedge import should_resize
from carryflow.env.layout import Seat, Status
from carryflow.env.settings import EnvSettings
from carryflow.env.simulator import HedgedSimulator
from carryflow.env.tape import MarketTape
from carryflow.evaluation import baselines
from carryflow.evaluation.baselines import Policy, ThresholdCarry, stay_flat, stay_hedged
from carryflow.evaluation.evidence import EvaluationSettings
from carryflow.features.scaling import Scaler
from carryflow.features.spec import FeatureSpec
from carryflow.market.timeframe import HOUR_MS

if TYPE_CHECKING:
    from carryflow.agents.bundle import Bundle

Floats = NDArray[np.float64]

HEDGED_1X = f"{baselines.ALWAYS_HEDGED}_1x"
HEDGED_5X = f"{baselines.ALWAYS_HEDGED}_5x"

REFERENCES = (HEDGED_1X, HEDGED_5X, baselines.THRESHOLD_CARRY, baselines.FLAT)
"""Policies whose outcome a practitioner can foretell, in the order in which they play."""

_SPOT_SHARES = {HEDGED_1X: 1 / 2, HEDGED_5X: 5 / 6}
"""Part of equity in the spot wallet: margin is as large as the notional, or a fifth of it."""


@dataclass(frozen=True, slots=True)
class Player:
    """Hold one policy that is put under stress.

    Attributes:
        name: what a person calls it.
        policy: decides on observations.
        spec: the features that it sees.
        scaler: what they are scaled with; a bundle brings its own.
        env: its account: capital, wallets, costs, margin, trading rule.

    Raises:
        SettingsError: the account wants more of a policy than a fraction.

    """

    name: str
    policy: Policy
    spec: FeatureSpec
    scaler: Scaler
    env: EnvSettings

    def __post_init__(self) -> None:
        if self.env.action != "fraction":
            raise SettingsError(
                f"env.action is {self.env.action}, and a policy under stress says a fraction and no more; "
                "leave env.action at fraction"
            )


def reference_players(
    spec: FeatureSpec, scaler: Scaler, env: EnvSettings, evaluation: EvaluationSettings
) -> Iterator[Player]:
    """Give the reference policies, each with an account of the same capital and costs."""
    threshold = ThresholdCarry(spec, scaler, evaluation.carry_enter_apr, evaluation.carry_exit_apr)
    policies: dict[str, Policy] = {
        HEDGED_1X: stay_hedged,
        HEDGED_5X: stay_hedged,
        baselines.THRESHOLD_CARRY: threshold,
        baselines.FLAT: stay_flat,
    }
    for name, policy in policies.items():
        share = _SPOT_SHARES.get(name, env.spot_share)
        yield Player(name, policy, spec, scaler, env.model_copy(update={"spot_share": share}))


def bundle_player(name: str, bundle: "Bundle", env: EnvSettings) -> Player:
    """Give a bundle's policy, with the scaler that it was trained with."""
    return Player(name, bundle.decide, bundle.spec, Scaler.from_json(bundle.scaler), env)


def play(tape: MarketTape, player: Player, shock_ms: int, quote_usd: Floats) -> pl.DataFrame:
    """Let a policy live through a shock, from a fresh account that stands at its target when it comes.

    The hours before only say what the target is (`settled_position`): what an account would have lost in
    them is no work of the shock.

    Args:
        tape: the market under stress.
        player: who trades.
        shock_ms: instant that hours are counted from, a decision of the tape (UTC, milliseconds).
        quote_usd: what a unit of the quote coin is worth at each row of the tape (USD) (n,).

    Returns:
        The trace, one row a decision from the shock on, as the account stands there before it acts: hour
        (since the shock), timestamp, action (decided there), position (fraction), spot_qty, perp_qty and
        unhedged (base), unhedged_quote, held (whether more than the venue's smallest order), margin_ratio
        (null without a perpetual), equity, equity_usd, exit_cost (of closing the position there, quote),
        liquidated (the venue has taken the perpetual), deleveraged (it took a part in the hour before), and
        what each part gained in the hour before (`core.account.PARTS`, quote).

    """
    shock = int(np.searchsorted(tape.decision_ms, shock_ms))
    rows = len(tape) - shock
    simulator = HedgedSimulator([tape], 1, player.env)
    simulator.reset(0, 0, shock, settled_position(tape, player, shock))
    ledgers, parts = np.zeros((rows, len(Column))), np.zeros((rows, len(PARTS)))
    position, unhedged, margin, equity, actions = np.full((5, rows), np.nan)
    liquidated, deleveraged = np.zeros((2, rows), dtype=np.bool_)
    smallest = _smallest_orders(tape, player.env)[shock:]
    observation = simulator.observe()
    for row in range(rows):
        before = ledgers[row - 1]
        if row > 0:
            actions[row - 1] = player.policy(simulator.observe(observation)).action[0]
            parts[row] = simulator.step(actions[row - 1 : row]).parts_quote[0]
            taken = Status.STRANDED <= simulator.books[0, Seat.STATUS] <= Status.TERMINATED
            liquidated[row] = taken or liquidated[row - 1]  # the tape may end with its coins unsold
        ledgers[row], equity[row], position[row] = (
            simulator.ledger[0],
            simulator.equity[0],
            simulator.fraction[0],
        )
        unhedged[row], margin[row] = simulator.delta_base[0], simulator.margin_ratio[0]
        if liquidated[row] and not liquidated[row - 1]:
            unhedged[row] = before[Column.SPOT_QTY]  # alone until they were sold, within the hour or later
        if tape.deleveraged is not None and tape.deleveraged[shock + row] > 0.0:
            alone = abs(unhedged[row]) * tape.spot[shock + row] > smallest[row]
            deleveraged[row] = before[Column.PERP_QTY] < 0.0 and alone
    simulator.check_books()
    spot_qty, perp_qty = ledgers[:, Column.SPOT_QTY], ledgers[:, Column.PERP_QTY]
    spot, decision_ms = tape.spot[shock:], tape.decision_ms[shock:]
    columns: dict[str, Any] = {
        "hour": (decision_ms - shock_ms) / HOUR_MS,
        "timestamp": pl.Series(decision_ms).cast(pl.Datetime("ms", "UTC")),
        "action": pl.Series(actions).fill_nan(None),
        "position": position,
        "spot_qty": spot_qty,
        "perp_qty": perp_qty,
        "unhedged": unhedged,
        "unhedged_quote": unhedged * spot,
        "held": np.maximum(np.abs(spot_qty), np.abs(perp_qty)) * spot > smallest,
        "margin_ratio": pl.Series(np.where(np.isfinite(margin), margin, np.nan)).fill_nan(None),
        "equity": equity,
        "equity_usd": equity * quote_usd[shock:],
        "exit_cost": _exit_costs(tape, player.env, shock, ledgers),
        "liquidated": liquidated,
        "deleveraged": deleveraged,
        **{name: parts[:, place] for place, name in enumerate(PARTS)},
    }
    return pl.DataFrame(columns)


def settled_position(tape: MarketTape, player: Player, until: int) -> float:
    """Ask a policy hour by hour, up to a row of its tape, which position it would come to there.

    Each hour it is shown a fresh account at the position that it had decided on the hour before, so that no
    price and no cost moves it (fraction of capital).
    """
    scout = HedgedSimulator([tape], 1, player.env)
    position = 0.0
    for row in range(tape.first, until):
        scout.reset(0, 0, row, position)
        wanted = float(np.clip(player.policy(scout.observe()).action[0], -1.0, 1.0))
        if should_resize(wanted, position, player.env.hysteresis):
            position = wanted
    return position


def _smallest_orders(tape: MarketTape, env: EnvSettings) -> Floats:
    """Give the value that no order of coins falls below at each row (quote) (n,)."""
    least = tape.lots.min_notional_quote
    return np.maximum(tape.lots.spot_base * tape.spot, env.min_notional_quote if least is None else least)


def _exit_costs(tape: MarketTape, env: EnvSettings, first: int, ledgers: Floats) -> Floats:
    """Give what it would cost to close each account at its row, `first` and on (quote, ≥ 0) (n,)."""
    costs = np.zeros(len(ledgers))
    rows = np.flatnonzero((ledgers[:-1, Column.SPOT_QTY] != 0.0) & tape.tradable[first:-1])
    if len(rows):
        leavers = HedgedSimulator([tape], len(rows), env)
        leavers.reset(np.arange(len(rows)), 0, first + rows)
        leavers.ledger[:] = ledgers[rows]
        leavers.step(np.zeros(len(rows)))
        spent = [Column.FEES, Column.SLIPPAGE]
        costs[rows] = (ledgers[rows][:, spent] - leavers.ledger[:, spent]).sum(axis=1)
    return costs

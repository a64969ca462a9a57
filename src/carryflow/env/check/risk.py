"""Whether an environment's pair is hedged, and whether its margin can be lost."""

from dataclasses import replace

import numpy as np

from carryflow.core.costs import Bracket, MarginSettings
from carryflow.core.errors import InvariantBroken
from carryflow.core.instrument import ContractType
from carryflow.env.check.markets import QUIET_PRICE, RESTING_MINUTES
from carryflow.env.check.play import Moment, begin, gained, positions, step, unhedged_base
from carryflow.env.check.trial import FREE, ROWS, TOLERANCE, Trial
from carryflow.env.tape import MarketTape, PairLots

LOTS = PairLots(spot_base=0.001, perp=0.01, min_notional_quote=0.0)
"""Order sizes of the market that tries the hedge, base coins."""

INVERSE_LOTS = PairLots(spot_base=0.001, perp=1.0, min_notional_quote=0.0)
"""The same where the perpetual is ordered in quote."""

RATE = 0.002
"""Maintenance rate of the market that tries the margin: less than any policy opens with."""


def check_hedge(trial: Trial, generator: np.random.Generator) -> None:
    """Refuse an environment that keeps more than a lot without a hedge, or that moves with the price.

    Both legs have one price and nothing costs, settles or is taken away, so that a hedged account earns
    nothing, whatever it does.
    """
    lots = INVERSE_LOTS if trial.kind is ContractType.INVERSE else LOTS
    one_price = [
        replace(
            tape,
            perp=tape.spot,
            mark=tape.spot,
            mark_high=None,
            mark_low=None,
            settlement_cash=np.zeros(len(tape)),
            liquidity=None,
            lots=lots,
        )
        for tape in trial.wild(generator, calm=True)
    ]
    spot = np.stack([tape.spot[tape.first :] for tape in one_price], axis=1)
    perp_lot = lots.perp / spot if trial.kind is ContractType.INVERSE else lots.perp
    coarser = np.broadcast_to(np.maximum(lots.spot_base, perp_lot), spot.shape)
    tolerance = TOLERANCE * trial.settings.capital_quote
    env = trial.env(one_price, costs=FREE, hysteresis=0.02)
    before, put_up_with = begin(env, seed=9), np.zeros(trial.tickers)
    for row in range(1, ROWS):
        now = step(env, env.action_space.sample())
        if gained(now, before, "turnover"):
            put_up_with = np.maximum(put_up_with, coarser[row - 1])
        bare = np.abs(unhedged_base(now))
        if not (bare <= put_up_with * (1.0 + TOLERANCE) + tolerance / spot[row]).all():
            raise InvariantBroken(
                f"hedge: at row {row} {bare} coins have none, and the coarser lot is {coarser[row - 1]}; "
                "likely the legs are sized or rounded apart; size them by core.hedge"
            )
        moved = abs(gained(now, before, "equity"))
        if not moved <= put_up_with @ np.abs(spot[row] - spot[row - 1]) + tolerance:
            raise InvariantBroken(
                f"hedge: at row {row} the equity moved by {moved} quote with a price that both legs have, "
                f"and `delta_base` says {bare}; likely a leg is left out, or not told of"
            )
        if now.ended:
            return
        before = now


def check_margin(trial: Trial, generator: np.random.Generator) -> None:
    """Refuse an environment in which a squeeze of the short perpetual does not end the account, or too soon.

    A pair is opened; a row later the mark goes where the maintenance margin is gone and the margin is not:
    to stay there, and only for a moment between two rows. A wick that stops short of it must change nothing.
    Only the linear contract is tried: the coins of a hedged inverse pair are all the margin its short needs.
    """
    if trial.kind is ContractType.INVERSE:
        return
    calm = trial.quiet(RESTING_MINUTES)
    rules = trial.settings.model_copy(update={"margin": MarginSettings(brackets=(Bracket(0.0, RATE),))})
    trial = replace(trial, settings=rules)
    env = trial.held(calm)
    action = trial.openings(env)[0]
    begin(env, seed=3)
    opened = step(env, action)
    coin = int(positions(opened).argmax())
    warning, ruin = _squeezes(opened, coin)
    marks = {
        "stayed at": (0.5 * (warning + ruin), True, False),
        "touched": (0.5 * (warning + ruin), True, True),
        "did not reach": (QUIET_PRICE + 0.9 * (warning - QUIET_PRICE), False, True),
    }
    for what, (mark, lost, wick) in marks.items():
        squeezed = [*calm]
        squeezed[coin] = _squeezed(calm[coin], mark, wick=wick)
        env = trial.held(squeezed)
        begin(env, seed=3)
        for _ in range(2):
            now = step(env, action)
        if now.terminated != lost:
            raise InvariantBroken(
                f"margin: terminated was {now.terminated} where the mark {what} a price of liquidation: "
                f"{mark}, of {warning} at which the maintenance margin is gone; "
                f"{_suspect(now, lost=lost, wick=wick)}"
            )


def _squeezes(opened: Moment, coin: int) -> tuple[float, float]:
    """Give the marks of a coin at which a portfolio's maintenance margin is gone, and its margin (quote)."""
    held, equity = positions(opened), opened.info["equity"]
    pairs = 0.5 * opened.info["turnover"]
    spot_share = pairs / (np.abs(held).sum() * equity)
    margin = equity * (1.0 - spot_share)
    notional = pairs * held[coin] / np.abs(held).sum()
    asked = RATE * (pairs - notional)
    warning = QUIET_PRICE * (margin + notional - asked) / (notional * (1.0 + RATE))
    return warning, QUIET_PRICE * (margin + notional) / notional


def _squeezed(tape: MarketTape, mark: float, *, wick: bool) -> MarketTape:
    """Let the price of a resting tape go to `mark` by its third decision, to stay or not."""
    row = tape.first + 2
    if wick:
        high = tape.mark.copy()
        high[row] = mark
        return replace(tape, mark_high=high)
    price = np.where(np.arange(len(tape)) < row, QUIET_PRICE, mark)
    return replace(tape, spot=price, perp=price, mark=price)


def _suspect(now: Moment, *, lost: bool, wick: bool) -> str:
    if not lost:
        return "likely it is asked for more margin than the settings' brackets say"
    if now.truncated:
        return "likely a liquidation is told as a truncation, after which a learner counts on a future"
    if wick:
        return "likely the highest mark between two rows is not looked at"
    return "likely no maintenance margin is asked for, or it is not looked at on the mark"

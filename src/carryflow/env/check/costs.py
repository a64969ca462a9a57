"""Whether an environment charges for what it trades: the fee of each leg, and what an order loses."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from carryflow.core.costs import BP
from carryflow.core.errors import InvariantBroken
from carryflow.core.slippage import slippage_rate
from carryflow.env.check.markets import RESTING_MINUTES
from carryflow.env.check.play import Env, begin, gained, positions, step
from carryflow.env.check.trial import FREE, ROWS, TOLERANCE, Trial
from carryflow.env.tape import Liquidity

SPREADS_BP, DEPTHS = np.array([2.0, 5.0]), np.array([0.5, 0.2])
"""Of spot and perpetual: half the recorded spread, and the depth as a share of the capital."""


SLACK = 0.02
"""How far what is lost may lie from what is due (fraction): the legs differ by the slippage itself."""


def check_fees(trial: Trial, generator: np.random.Generator) -> None:
    """Refuse an environment in which some notional is traded without its fee: 10 bp on either leg."""
    costs = FREE.model_copy(update={"spot_taker_bp": 10.0, "perp_taker_bp": 10.0})
    # at one price, so that a fee in coins has one value
    tapes = [replace(tape, perp=tape.spot, liquidity=None) for tape in trial.wild(generator, calm=True)]
    env = trial.env(tapes, costs=costs, hysteresis=0.02)
    before = begin(env, seed=2)
    for count in range(ROWS):
        now = step(env, env.action_space.sample())
        if now.ended or gained(now, before, "liquidation"):
            return  # the venue's own trades pay another fee
        traded, paid = gained(now, before, "turnover"), -gained(now, before, "fees")
        due = 10 * BP * traded
        if not abs(paid - due) <= TOLERANCE * trial.settings.capital_quote:
            share = f", {paid / due:.0%} of what was due" if due else ""
            raise InvariantBroken(
                f"fees: at step {count} {traded} quote was traded at 10 bp a leg and {paid} paid{share}; "
                "likely one leg's fee is dropped, or another rate than env.costs is charged"
            )
        before = now


def check_slippage(trial: Trial, generator: np.random.Generator) -> None:
    """Refuse an environment whose fills lose something else than `core.slippage` says of the book.

    One fill in a recorded book, whose depth differs from leg to leg and from coin to coin, and which is
    worse at every other row; and one where nobody recorded any, at the spreads of the settings.
    """
    costs = FREE.model_copy(update={"spot_slippage_bp": 3.0, "perp_slippage_bp": 7.0})
    tapes = trial.quiet(RESTING_MINUTES)
    rows = np.arange(len(tapes[0]))
    worse = np.where(rows == tapes[0].first, 1.0, 10.0)[:, None]
    depths = trial.settings.capital_quote * np.outer(1.0 + np.arange(trial.tickers), DEPTHS)
    unknown = np.full((len(rows), 2), np.nan)
    books = [Liquidity(SPREADS_BP * worse, depth / worse, unknown) for depth in depths]
    recorded = [replace(tape, liquidity=book) for tape, book in zip(tapes, books, strict=True)]
    _check_fill(trial, trial.held(recorded, costs), BP * SPREADS_BP, depths)
    bottomless = np.full((trial.tickers, 2), np.inf)
    _check_fill(trial, trial.held(tapes, costs), BP * np.array([3.0, 7.0]), bottomless)


def _check_fill(
    trial: Trial, env: Env, half_spread: NDArray[np.float64], depths: NDArray[np.float64]
) -> None:
    """Compare the first fill of an environment with the half-spreads (2,) and depths (K, 2) of its book."""
    action = trial.openings(env)[0]
    before = begin(env)
    now = step(env, action)
    held = np.abs(positions(now))
    each = 0.5 * gained(now, before, "turnover") * held / held.sum()  # notional of a leg, by coin
    due = sum(
        notional * slippage_rate(notional, half_spread[leg], depth[leg], 1.0)
        for notional, depth in zip(each, depths, strict=True)
        for leg in range(2)
    )
    lost = -gained(now, before, "slippage")
    if not abs(lost - due) <= SLACK * due:
        raise InvariantBroken(
            f"slippage: pairs of {each} quote a leg lost {lost} quote, and {due} are due to half-spreads of "
            f"{half_spread / BP} bp and depths of {depths.tolist()} quote; likely a leg fills at its "
            "reference price or in the book of another row, or the depth is left out; fill at what "
            "core.slippage.slippage_rate says"
        )

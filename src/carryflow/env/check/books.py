"""Whether an environment's books explain what its account is worth, and its reward what it gained."""

import numpy as np

from carryflow.core.account import PARTS
from carryflow.core.errors import InvariantBroken
from carryflow.env.check.play import Moment, begin, gained, step
from carryflow.env.check.trial import ROWS, TOLERANCE, Trial


def check_books(trial: Trial, generator: np.random.Generator) -> None:
    """Refuse an environment whose parts of profit, or terms of reward, do not add up at some step."""
    env = trial.env(trial.wild(generator), hysteresis=0.02, random_start=True, episode_bars=60)
    before = begin(env, seed=1)
    capital = before.info["equity"]
    for count in range(3 * ROWS):
        now = step(env, env.action_space.sample())
        profit = gained(now, before, "equity")
        parts = {part: gained(now, before, part) for part in PARTS}
        lost = profit - sum(parts.values())
        if not abs(lost) <= TOLERANCE * capital:
            raise InvariantBroken(
                f"books: at step {count} the equity moved by {profit}, its parts by {sum(parts.values())}; "
                f"{lost} quote has no name. {_suspect(parts, gained(now, before, 'turnover'))}"
            )
        _check_reward(now, profit, capital, count)
        before = begin(env) if now.ended else now


def _suspect(parts: dict[str, float], traded: float) -> str:
    if traded:
        return (
            "It traded in that step: likely a fee or the slippage of a leg is debited and not booked, or "
            "booked and not debited; move money only by the functions of core.ledger"
        )
    if parts["funding"]:
        return "A settlement fell in that step: likely the wallet and `funding` were not moved by one call"
    return "Nothing was traded or settled: likely a leg is valued at a price that was never marked"


def _check_reward(now: Moment, profit: float, capital: float, count: int) -> None:
    info = now.info
    profit_bp = info["portfolio_change_bp"] - info["transaction_costs_bp"]
    penalties = sum(value for name, value in info.items() if name.endswith("_penalty_bp"))
    tolerance = 1e4 * TOLERANCE
    if not abs(profit_bp - 1e4 * profit / capital) <= tolerance:
        raise InvariantBroken(
            f"reward: at step {count} change less costs is {profit_bp} bp, the equity moved by "
            f"{1e4 * profit / capital} bp of capital; likely a cost is in both terms or in neither"
        )
    if not abs(now.reward - (profit_bp - penalties)) <= tolerance:
        raise InvariantBroken(
            f"reward: at step {count} it was {now.reward}, its terms add up to {profit_bp - penalties}; "
            "likely a term was added to the reward and not to the info (name it `…_penalty_bp`)"
        )

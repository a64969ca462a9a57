"""Whether an environment is paid each settlement once, by its sign, in the row in which it falls."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryflow.core.errors import InvariantBroken
from carryflow.env.check.markets import QUIET_PRICE, quiet_decisions, quiet_instants, quiet_settlements
from carryflow.env.check.play import Env, begin, gained, positions, step
from carryflow.env.check.trial import TOLERANCE, Trial

FLAT = 1e-9
"""Fraction of capital that is no position."""


def check_funding(trial: Trial, generator: np.random.Generator) -> None:
    """Refuse an environment that is paid, at some row, anything but what its positions held there are due.

    In bars of a minute to a day, and with bars missing, a position is held, closed where it is paid, and the
    other one held to the last row; settlements fall on the opening, in the first bar and on the last row.
    """
    actions: list[Any] = []
    for number, (name, minutes) in enumerate(quiet_decisions(generator).items()):
        env = trial.held(trial.quiet(minutes))
        actions = actions or trial.openings(env)
        first, second = actions[number % len(actions)], actions[(number + 1) % len(actions)]
        half = len(minutes) // 2
        plan = [first] * half + [0 * first] * 2 + [second] * (len(minutes) - half - 3)
        _check_rows(trial, env, plan, _short_cash(trial.tickers, quiet_instants(minutes)), name)


def _short_cash(tickers: int, instants: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give what a short of one coin receives in (row before, row], by row and coin (quote) (n, K)."""
    cash = []
    for coin in range(tickers):
        settle_ms, rate = quiet_settlements(coin)
        paid = np.concatenate(([0.0], np.cumsum(rate * QUIET_PRICE)))
        cash.append(np.diff(paid[np.searchsorted(settle_ms, instants, side="right")], prepend=0.0))
    return np.stack(cash, axis=1)


def _check_rows(trial: Trial, env: Env, plan: Sequence[Any], cash: NDArray[np.float64], name: str) -> None:
    """Take the planned actions; `cash` is what a short of each coin receives at each row (n, K)."""
    tolerance = TOLERANCE * trial.settings.capital_quote
    short_base = np.zeros(trial.tickers)
    before = begin(env, seed=3)
    for row, action in enumerate(plan, start=1):
        now = step(env, action)
        traded = gained(now, before, "turnover")
        if traded:
            held = positions(now)
            held = np.where(np.abs(held) > FLAT, held, 0.0)
            if held.any() and short_base.any():
                raise InvariantBroken(
                    f"funding: {traded} quote was traded at row {row} of bars of {name}, where no price and "
                    "no action had changed; likely the hysteresis is not kept"
                )
            # at one price, coins are as positions are
            short_base = traded / (2 * QUIET_PRICE) * held / (np.abs(held).sum() or 1.0)
        due, paid = float(short_base @ cash[row]), gained(now, before, "funding")
        if not abs(paid - due) <= tolerance:
            late = abs(paid - float(short_base @ cash[row - 1])) <= tolerance
            raise InvariantBroken(
                f"funding: a pair short of {short_base} perpetuals was paid {paid} quote at row {row} in "
                f"bars of {name}, of {due} due; {_suspect(paid, due, tolerance, late=late)}"
            )
        if now.ended:
            return
        before = now


def _suspect(paid: float, due: float, tolerance: float, *, late: bool) -> str:
    if abs(paid + due) <= tolerance:
        return (
            "likely its sign is flipped: at a positive rate the short perpetual of a position above 0 is paid"
        )
    if abs(paid) <= tolerance:
        return "likely it is booked in a later row, keyed to a bar's hour, or never booked"
    if late:
        return "likely it is booked a row late, on the position of that row"
    return (
        "likely a rate is booked per bar, or of another coin, instead of each settlement in "
        "(row before, row] once"
    )

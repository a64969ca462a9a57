"""Whether an environment refuses what is no action, or comes too soon, and what no open market takes."""

from dataclasses import replace

import numpy as np
from gymnasium.error import ResetNeeded

from carryflow.core.errors import ActionError, InvariantBroken
from carryflow.env.check.markets import quiet_decisions
from carryflow.env.check.play import begin, difference, gained, positions, step
from carryflow.env.check.trial import Trial


def check_halts(trial: Trial, generator: np.random.Generator) -> None:
    """Refuse an environment that trades a coin whose market is halted.

    Every other row, by chance, all coins are halted; of several coins the last one always is.
    """
    tapes = trial.quiet(quiet_decisions(generator)["1 h"])
    open_ = generator.random(len(tapes[0])) < 0.5
    tapes = [replace(tape, tradable=open_) for tape in tapes]
    if trial.tickers > 1:
        tapes[-1] = replace(tapes[-1], tradable=np.zeros_like(open_))
    env = trial.held(tapes)
    before = begin(env, seed=4)
    for row in range(tapes[0].first, len(open_) - 1):
        now = step(env, env.action_space.sample())
        traded = gained(now, before, "turnover")
        if traded and not open_[row]:
            raise InvariantBroken(
                f"halts: {traded} quote was traded at row {row}, where no coin trades; likely `tradable` of "
                "the tape is not looked at, or a row late"
            )
        if trial.tickers > 1 and positions(now)[-1]:
            raise InvariantBroken(
                f"halts: at row {row} the last coin, which never trades, has a position of "
                f"{positions(now)[-1]}; likely the halts of another coin are looked at"
            )
        if now.ended:
            return
        before = now


def check_reset(trial: Trial, generator: np.random.Generator) -> None:
    """Refuse an environment that takes a step of an episode that has not begun."""
    env = trial.env(trial.wild(generator, calm=True))
    try:
        env.step(np.zeros(env.action_space.shape or (), dtype=np.float32))
    except ResetNeeded:
        return
    raise InvariantBroken(
        "reset: a step was taken before the first reset; likely of an account that nobody has opened; raise "
        "gymnasium.error.ResetNeeded"
    )


def check_actions(trial: Trial, generator: np.random.Generator) -> None:
    """Refuse an environment that takes an action which is none, or is changed by refusing it."""
    tapes = trial.wild(generator, calm=True)
    tried, untouched = trial.env(tapes), trial.env(tapes)
    for env in (tried, untouched):
        begin(env, seed=8)
    nothing = np.zeros(tried.action_space.shape or (), dtype=np.float32)
    for place in range(nothing.size):
        for wrong in (np.nan, np.inf, -np.inf, 1.5, -1.5):
            action = nothing.copy()
            action.flat[place] = wrong
            try:
                tried.step(action)
            except ActionError:
                continue
            raise InvariantBroken(
                f"actions: {wrong} was taken for number {place} of {nothing.size}; likely it is clipped "
                "before it is looked at, or only some numbers are looked at; raise ActionError"
            )
    changed = difference(step(untouched, nothing), step(tried, nothing))
    if changed:
        raise InvariantBroken(
            f"actions: after {5 * nothing.size} refused ones, {changed} is not what it would have been; "
            "likely an action is looked at after the account has moved"
        )

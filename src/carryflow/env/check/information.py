"""Whether what an environment tells depends on its seed and on the past alone."""

import numpy as np

from carryflow.core.errors import InvariantBroken
from carryflow.env.check.markets import with_another_future
from carryflow.env.check.play import difference, global_generators, play
from carryflow.env.check.trial import ROWS, Trial

CUTS = 20
"""At how many rows the future is exchanged."""

FUTURES = 2
"""How often at each: what is told by a sign alone may be the same in one."""


def check_randomness(trial: Trial, generator: np.random.Generator) -> None:
    """Refuse an environment that a seed does not fix, or that draws from a global generator."""
    tapes = trial.wild(generator)
    state = global_generators()
    first, second = (trial.env(tapes, random_start=True, episode_bars=20) for _ in range(2))
    first.action_space.seed(6)
    actions = [first.action_space.sample() for _ in range(70)]
    told = play(first, actions, seed=7, again=True)
    if difference(state, global_generators()):
        raise InvariantBroken(
            "randomness: the environment draws from, or seeds, numpy's or Python's global generator; likely "
            "a call of `np.random.…` or `random.…`; draw from `self.np_random`"
        )
    for name, again in {"another": second, "the same": first}.items():
        retold = play(again, actions, seed=7, again=True)
        for count, (was, now) in enumerate(zip(told, retold, strict=False)):
            changed = difference(was, now)
            if changed:
                raise InvariantBroken(
                    f"randomness: {changed} at step {count} differs in {name} environment reset with one "
                    "seed; likely something is drawn elsewhere than from `self.np_random`, or outlives reset"
                )


def check_look_ahead(trial: Trial, generator: np.random.Generator) -> None:
    """Refuse an environment that tells, at some row, something that depends on later rows.

    The past is calm, so that nothing ends it; what may come is wild.
    """
    told = trial.wild(generator, calm=True)
    others = [trial.wild(generator) for _ in range(FUTURES)]
    first = told[0].first
    env = trial.env(told, hysteresis=0.02)
    env.action_space.seed(5)
    actions = [env.action_space.sample() for _ in range(ROWS // 2)]
    past = play(env, actions, seed=5, again=False)
    if len(past) < CUTS:
        raise InvariantBroken(
            f"look-ahead: the episode ended after {len(past) - 1} rows of a calm market, too few to compare; "
            "likely it ends by a rule of its own; check the environment without it"
        )
    for steps in np.linspace(0, len(past) - 1, CUTS).astype(int):
        row = first + int(steps)
        for other in others:
            future = [with_another_future(*pair, row) for pair in zip(told, other, strict=True)]
            again = play(trial.env(future, hysteresis=0.02), actions[:steps], seed=5, again=False)
            for count, (was, now) in enumerate(zip(past, again, strict=False)):
                changed = difference(was, now)
                if changed:
                    raise InvariantBroken(
                        f"look-ahead: {changed} at row {first + count} changed when only rows after {row} "
                        "did; likely a window, a scaler or a price is taken one row late or over all rows"
                    )

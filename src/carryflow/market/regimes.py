"""Markets have moods: spells of random length in one of a few states, each with its own level of premium."""

import numpy as np
import numpy.typing as npt

from carryflow.market.premium import Floats

# neutral, bull, bear
_MOOD_NEXT = np.array([[0.0, 0.7, 0.3], [0.85, 0.0, 0.15], [0.8, 0.2, 0.0]])

_PREMIUM_BP = np.array([[-1.0, 4.0], [8.0, 11.0], [-10.0, -7.0]])
"""Range of the premium's level in each mood, bp; through the funding formula: 1, 3 to 6, and −2 to −5 bp
per 8 h."""
_DRIFT = np.array([0.0, 1.0, -1.0])


def regime_path(
    hours: int, next_state: Floats, mean_hours: float, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Draw the state of each hour `(hours,)` of a Markov chain that starts in state 0.

    A spell ends each hour with probability 1 / `mean_hours`; `next_state` `(states, states)` holds where it
    goes then.
    """
    path = np.empty(hours, dtype=np.int64)
    ends = rng.random(hours) < 1 / mean_hours
    turns = rng.random(hours)
    bounds = np.cumsum(next_state, axis=1)
    state = 0
    for hour in range(hours):
        if ends[hour]:
            state = int(np.searchsorted(bounds[state], turns[hour], side="right"))
        path[hour] = state
    return path


def mood_levels(hours: int, mean_hours: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw the crowd's mood and return `(level, drift)`, each `(hours,)`.

    `level` is where the premium of that hour is pulled to (fraction of spot), constant within a spell;
    `drift` is +1 in a bull mood, −1 in a bear mood, 0 else.
    """
    path = regime_path(hours, _MOOD_NEXT, mean_hours, rng)
    spell = np.concatenate([[0], np.cumsum(np.diff(path) != 0)])
    place = rng.random(int(spell[-1]) + 1)[spell]
    low, high = _PREMIUM_BP[path].T
    level: Floats = (low + (high - low) * place) * 1e-4
    return level, _DRIFT[path]

"""Playing an environment for `env.check`: what it tells at each moment, and what differs between two."""

import random
from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from carryflow.core.account import PARTS
from carryflow.core.errors import InvariantBroken

Env = gym.Env[Any, Any]

NEEDED = (*PARTS, "equity", "turnover", "now_ms", "portfolio_change_bp", "transaction_costs_bp")
"""What the info must have, one finite number each, for the checks to look at."""

POSITION, DELTA = ("position", "positions"), ("delta_base",)
"""By either name, and a number a coin: the fraction of capital in the trade, and the unhedged coins."""


class Moment(NamedTuple):
    """Hold what an environment told at one row."""

    observation: Any
    reward: float
    info: dict[str, Any]
    terminated: bool = False
    truncated: bool = False

    @property
    def ended(self) -> bool:
        """Say whether the episode is over."""
        return self.terminated or self.truncated


def begin(env: Env, seed: int | None = None) -> Moment:
    """Reset, and look at what is told.

    Raises:
        InvariantBroken: the info lacks something, or a number is NaN or infinite.

    """
    if seed is not None:
        env.action_space.seed(seed)
    observation, info = env.reset(seed=seed)
    return _looked_at(Moment(observation, 0.0, info))


def step(env: Env, action: Any) -> Moment:
    """Step, and look at what is told as `begin` does."""
    observation, reward, terminated, truncated, info = env.step(action)
    return _looked_at(Moment(observation, float(reward), info, bool(terminated), bool(truncated)))


def play(env: Env, actions: Sequence[Any], *, seed: int, again: bool) -> list[Moment]:
    """Take the actions from a reset; at an end, begin `again` or stop."""
    moments = [begin(env, seed)]
    for action in actions:
        if moments[-1].ended:
            if not again:
                break
            moments.append(begin(env))
        moments.append(step(env, action))
    return moments


def gained(now: Moment, before: Moment, name: str) -> float:
    """Give by how much a number of the info has grown since the moment before."""
    grown: float = now.info[name] - before.info[name]
    return grown


def positions(moment: Moment) -> NDArray[np.float64]:
    """Give the fraction of capital in each coin's trade (K,); positive: long spot, short perpetual."""
    return _by_coin(moment, POSITION)


def unhedged_base(moment: Moment) -> NDArray[np.float64]:
    """Give the coins without a hedge, of each coin (base) (K,)."""
    return _by_coin(moment, DELTA)


def _by_coin(moment: Moment, names: tuple[str, ...]) -> NDArray[np.float64]:
    told = next(moment.info[name] for name in names if name in moment.info)
    return np.atleast_1d(np.asarray(told, dtype=np.float64))


def difference(was: Any, now: Any, name: str = "it") -> str | None:
    """Name the first thing that differs by a bit between two moments; None if nothing does.

    >>> difference({"equity": 1.0, "row": 2}, {"equity": 1.0, "row": 3})
    "it['row']"
    """
    if type(was) is type(now) is float and was == now != 0.0:
        return None  # most of what is compared, and soon
    if isinstance(was, Moment) and isinstance(now, Moment):
        pairs = (
            (was.observation, now.observation, "the observation"),
            (was.reward, now.reward, "the reward"),
            ((was.terminated, was.truncated), (now.terminated, now.truncated), "the end"),
            (was.info, now.info, "info"),
        )
        return next((found for each in pairs if (found := difference(*each))), None)
    if isinstance(was, dict) and isinstance(now, dict):
        if was.keys() != now.keys():
            return f"the keys of {name}"
        return next((found for k in was if (found := difference(was[k], now[k], f"{name}[{k!r}]"))), None)
    if isinstance(was, tuple | list) and isinstance(now, tuple | list) and len(was) == len(now):
        inside = (difference(*pair, name) for pair in zip(was, now, strict=True))
        return next((found for found in inside if found), None)
    ours, theirs = np.asarray(was), np.asarray(now)
    same = ours.dtype == theirs.dtype and ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes()
    return None if same else name


def global_generators() -> tuple[Any, Any]:
    """Give the states of the generators that no seed of an environment may reach."""
    return np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002 - looked at, not drawn from


def _looked_at(moment: Moment) -> Moment:
    info = moment.info
    lacking = [name for name in NEEDED if name not in info]
    told = {names: next((info[name] for name in names if name in info), None) for names in (POSITION, DELTA)}
    lacking += [" or ".join(names) for names, value in told.items() if value is None]
    if lacking:
        raise InvariantBroken(
            f"info: it lacks {', '.join(lacking)}; give what super().step() gave along, and add to it"
        )
    wrong = [name for name in NEEDED if not isfinite(info[name])]
    wrong += [names[0] for names, value in told.items() if not _all_finite(value)]
    if wrong or not isfinite(moment.reward):
        raise InvariantBroken(f"info: {', '.join(wrong) or 'the reward'} is no finite number; look for a 0/0")
    if not _all_finite(moment.observation):
        raise InvariantBroken(
            "observation: a number of it is NaN or infinite; likely a 0/0, or a window that begins before "
            "its feature does"
        )
    return moment


def _all_finite(told: Any) -> bool:
    if isinstance(told, float):
        return isfinite(told)
    if isinstance(told, dict):
        return all(_all_finite(part) for part in told.values())
    if isinstance(told, tuple | list):
        return all(_all_finite(part) for part in told)
    return bool(np.isfinite(told).all())

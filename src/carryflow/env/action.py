"""What a policy's numbers mean: one, or two of them, in [−1, 1] each.

fraction              the fraction of capital to have in the hedged trade
weights               a weight for spot and one for the perpetual; the pair is hedged, so that it is half
                      their difference that is traded: the equal and opposite weights nearest to both
fraction_and_margin   the fraction, then the margin ratio: −1 is the least of the settings, 1 the most, by
                      equal factors between
"""

from reprlib import repr as shortened
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryflow.core.compiled import compiled
from carryflow.core.errors import ActionError
from carryflow.env.settings import EnvSettings

NEARLY_ONE = 1.0 + 1e-6
"""Largest number that is taken for 1: what is beyond is put down to the 32 bits of an action."""


def action_size(settings: EnvSettings) -> int:
    """Count the numbers of one action."""
    return 1 if settings.action == "fraction" else 2


def as_action(action: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Take in what is meant to be an action, be it an array, a list or a tuple; its range is not looked at.

    Raises:
        ActionError: it is not real numbers, or not of this shape.

    >>> as_action([0.5, -1], (2,)).tolist()
    [0.5, -1.0]
    """
    try:
        given = np.asarray(action)
    except ValueError:  # rows of different lengths
        given = np.asarray(None)
    if given.shape != shape or given.dtype.kind not in "fiu":
        found = " ".join(shortened(action).split())
        raise ActionError(
            f"an action must be {shape} real numbers, was {found}, {given.dtype} of shape {given.shape}; "
            "look at the policy that gave it"
        )
    return np.ascontiguousarray(given, dtype=np.float64)


def refusal(account: int, action: NDArray[np.floating], settings: EnvSettings) -> ActionError:
    """Say what is wrong with what an account was to trade, (1 or 2,), that the compiled loop refused."""
    if abs(action[0]) <= NEARLY_ONE:
        least, most = settings.margin_ratio_min, settings.margin_ratio_max
        return ActionError(
            f"account {account}: a margin ratio must lie in [{least}, {most}], was {action[1]}; look at the "
            "policy that gave it"
        )
    return ActionError(
        f"account {account}: an action must be a fraction in [-1, 1], was {action[0]}; look at the policy "
        "that gave it"
    )


def trades_of(actions: NDArray[np.floating], settings: EnvSettings) -> NDArray[np.floating]:
    """Turn actions (N, action_size) into what `HedgedSimulator.play` takes, (N, 1) or (N, 2).

    Raises:
        ActionError: there are more or fewer numbers, or one is NaN, infinite or beyond ±1.

    A weight of 0.5 in spot and of −0.3 in the perpetual is 0.4 of the pair; a margin of 0 is half way, in
    proportion:

    >>> trades_of(np.array([[0.5, -0.3]]), EnvSettings(action="weights")).tolist()
    [[0.4]]
    >>> half_way = EnvSettings(action="fraction_and_margin", margin_ratio_min=0.25, margin_ratio_max=1.0)
    >>> trades_of(np.array([[1.0, 0.0]]), half_way).tolist()
    [[1.0, 0.5]]
    """
    size = action_size(settings)
    if actions.ndim != 2 or actions.shape[1] != size:
        actions = as_action(actions, (len(actions), size))
    if size == 1:
        return np.ascontiguousarray(actions)  # the simulator looks at them itself
    chooses_margin = settings.action == "fraction_and_margin"
    trades = np.empty((len(actions), 2 if chooses_margin else 1))
    wrong = heed(actions, settings.margin_ratio_min, settings.margin_ratio_max, trades)
    if wrong >= 0:
        account, number = divmod(wrong, size)
        raise ActionError(
            f"account {account}: number {number} of an action must lie in [-1, 1], was "
            f"{actions[account, number]}; look at the policy that gave it"
        )
    return trades


@compiled
def heed(actions: NDArray[np.floating], least: float, most: float, trades: NDArray[np.float64]) -> int:
    """Fill in the trades (N, 1 or 2) that actions of two numbers mean (N, 2).

    The margin ratio goes from `least` to `most` by equal factors: from 0.1 to 0.2 is as far as from 0.5 to 1,
    as it is for the move that liquidates.

    Returns −1, or the place in `actions`, flattened, of the first number that is not in [−1, 1].
    """
    for i in range(len(actions)):
        for number in range(2):
            if not abs(actions[i, number]) <= NEARLY_ONE:  # NaN compares false
                return 2 * i + number
        first = min(max(float(actions[i, 0]), -1.0), 1.0)
        second = min(max(float(actions[i, 1]), -1.0), 1.0)
        if trades.shape[1] == 1:
            trades[i, 0] = 0.5 * (first - second)
        else:
            trades[i, 0] = first
            ratio = least * (most / least) ** (0.5 * (second + 1.0))
            trades[i, 1] = min(max(ratio, least), most)
    return -1

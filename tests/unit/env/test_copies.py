"""An environment can be copied and sent to another process; the copy goes on alike and by itself."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from carryflow.env.crypto import CryptoTradingEnv
from carryflow.env.feed import tape_feed
from carryflow.env.settings import EnvSettings
from carryflow.env.streaming import StreamingCryptoEnv
from carryflow.env.tape import MarketTape
from carryflow.env.vector import VectorCryptoEnv

SETTINGS = EnvSettings(episode_bars=9)
CHOOSING = SETTINGS.model_copy(update={"action": "fraction_and_margin"})

MAKERS: dict[str, Callable[[MarketTape], Any]] = {
    "single": lambda tape: CryptoTradingEnv([tape], SETTINGS, render_mode="figure"),
    "single, two numbers": lambda tape: CryptoTradingEnv([tape], CHOOSING),
    "vector": lambda tape: VectorCryptoEnv([tape], 3, SETTINGS, seed=0),
    "vector, two numbers": lambda tape: VectorCryptoEnv([tape], 3, CHOOSING, seed=0),
    "vector without copies": lambda tape: VectorCryptoEnv([tape], 3, SETTINGS, seed=0, copy=False),
    "replayed stream": lambda tape: StreamingCryptoEnv(tape_feed(tape), SETTINGS),
}


def sent(env: Any, by: Any) -> Any:
    return by.loads(by.dumps(env))


@pytest.mark.parametrize(
    "twin",
    [copy.deepcopy, lambda env: sent(env, pickle), lambda env: sent(env, cloudpickle)],
    ids=["deepcopy", "pickle", "cloudpickle"],
)
@pytest.mark.parametrize("name", MAKERS)
def test_a_copy_goes_on_as_its_original_does_and_apart_from_it(
    make_tape: Callable[..., MarketTape], name: str, twin: Callable[[Any], Any]
) -> None:
    env = MAKERS[name](make_tape())
    action = np.full(env.action_space.shape, 0.8, dtype=np.float32)
    with pytest.raises(ResetNeeded):
        twin(env).step(action)
    env.reset(seed=0)
    env.step(action)
    other = twin(env)
    ours = [copy.deepcopy(env.step(action)) for _ in range(7)]
    for told in ours:
        np.testing.assert_equal(other.step(action), told)
    assert any(np.any(told[1]) for told in ours)
    np.testing.assert_array_equal(env.reset()[0], other.reset()[0])  # the generators stand alike as well

"""The single environment behaves as Gymnasium says it must."""

import warnings
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from carryflow.core.errors import ActionError, MarketDataError
from carryflow.env.crypto import CryptoTradingEnv
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape
from carryflow.env.windowed import WindowedTradingEnv

TapeMaker = Callable[..., MarketTape]


@pytest.mark.parametrize("random_start", [True, False])
def test_it_passes_gymnasiums_own_check(make_tape: TapeMaker, random_start: bool) -> None:
    settings = EnvSettings(random_start=random_start, episode_bars=20)
    env = CryptoTradingEnv([make_tape(), make_tape(seed=1)], settings)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)
    unbounded = "Box observation space"  # features have no bound of their own; all else must pass in silence
    assert [str(each.message) for each in said if unbounded not in str(each.message)] == []


def test_it_is_a_windowed_environment_over_a_flat_window(make_tape: TapeMaker) -> None:
    env = CryptoTradingEnv([make_tape(lookback=6)], EnvSettings())
    assert isinstance(env, WindowedTradingEnv)
    assert isinstance(env, gym.Env)
    assert env.observation_space.shape == (6 * 2 + 2,)
    assert env.observation_space.dtype == np.float32


def test_the_info_explains_the_profit_by_part(make_tape: TapeMaker) -> None:
    env = CryptoTradingEnv([make_tape()], EnvSettings(random_start=False))
    _, info = env.reset(seed=1)
    assert info["equity"] == 100_000.0
    for _ in range(20):
        _, _, _, _, info = env.step(np.array([1.0], dtype=np.float32))
    parts = ("funding", "basis", "fees", "slippage", "borrow", "liquidation")
    assert info["equity"] - 100_000.0 == pytest.approx(sum(info[part] for part in parts), abs=1e-4)
    assert info["fees"] < 0 < info["funding"]
    assert info["turnover"] > 50_000
    assert info["now_ms"] == env.tapes[0].decision_ms[22]


def test_without_random_starts_the_tapes_are_played_in_turn_from_their_first_hour(
    make_tape: TapeMaker,
) -> None:
    env = CryptoTradingEnv([make_tape(seed=1), make_tape(seed=2)], EnvSettings(random_start=False))
    first = [env.reset()[0][:-2] for _ in range(3)]
    assert np.array_equal(first[0], env.tapes[0].features[:3].reshape(-1))
    assert np.array_equal(first[1], env.tapes[1].features[:3].reshape(-1))
    assert np.array_equal(first[2], first[0])


def test_a_seed_fixes_every_start_that_follows(make_tape: TapeMaker) -> None:
    def starts(seed: int) -> list[bytes]:
        env = CryptoTradingEnv([make_tape(n=200)], EnvSettings())
        return [env.reset(seed=seed if k == 0 else None)[0].tobytes() for k in range(5)]

    assert starts(3) == starts(3)
    assert starts(3) != starts(4)
    assert len(set(starts(3))) == 5


def test_a_policy_that_says_nan_is_stopped(make_tape: TapeMaker) -> None:
    env = CryptoTradingEnv([make_tape()], EnvSettings())
    env.reset(seed=0)
    with pytest.raises(ActionError, match="was nan"):
        env.step(np.array([np.nan], dtype=np.float32))


def test_an_environment_needs_a_tape() -> None:
    with pytest.raises(MarketDataError, match="at least one tape"):
        CryptoTradingEnv([], EnvSettings())

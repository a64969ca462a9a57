"""Many portfolios at once."""

from collections.abc import Callable

import numpy as np
import pytest

from carryflow.core.errors import ActionError
from carryflow.env.portfolio.env import CryptoPortfolioEnv
from carryflow.env.portfolio.vector import VectorPortfolioEnv
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape

TapeMaker = Callable[..., MarketTape]
FlatMarket = Callable[[int], dict[str, np.ndarray]]
Wild = Callable[..., list[MarketTape]]


def test_many_portfolios_step_as_one_does_and_begin_anew_after_an_end(wild: Wild) -> None:
    settings = EnvSettings(random_start=False, episode_bars=6)
    tapes = wild(3, calm=True)
    one, many = CryptoPortfolioEnv(tapes, settings), VectorPortfolioEnv(tapes, 2, settings)
    first, _ = many.reset(seed=0)
    assert np.array_equal(first[1], one.reset()[0])
    rng = np.random.default_rng(0)
    for step in range(1, 15):
        actions = rng.uniform(-1, 1, (2, 3)).astype(np.float32)
        seen, rewards, _, cut, _ = many.step(actions)
        assert cut.all() == (step % 7 == 6)
        if step % 7 == 0:
            assert np.array_equal(seen, first)
            assert not rewards.any()
            one.reset()
        else:
            same, reward, *_ = one.step(actions[1])
            assert np.array_equal(seen[1], same)
            assert rewards[1] == reward


def test_a_refused_action_changes_nothing_even_where_an_episode_has_ended(wild: Wild) -> None:
    def play(*, refused_at: int) -> list[np.ndarray]:
        env = VectorPortfolioEnv(tapes, 2, EnvSettings(episode_bars=3), seed=1)
        env.reset()
        seen = []
        for step in range(9):
            if step == refused_at:
                with pytest.raises(ActionError, match="was nan"):
                    env.step(np.full((2, 2), np.nan))
            seen.append(env.step(np.full((2, 2), 0.3))[0])
        return seen

    tapes = wild(2, calm=True)
    assert np.array_equal(play(refused_at=3), play(refused_at=9)), "the episodes end at step 2"

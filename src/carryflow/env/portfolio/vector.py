"""Many portfolios at once, as Gymnasium's vector interface."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from carryflow.env.action import as_action
from carryflow.env.layout import Told
from carryflow.env.portfolio.simulator import PortfolioSimulator
from carryflow.env.settings import EnvSettings
from carryflow.env.starts import reseeded
from carryflow.env.tape import MarketTape
from carryflow.env.windowed import refuse_options, unbegun

Floats = NDArray[np.float32]


class VectorPortfolioEnv(VectorEnv[Floats, Floats, NDArray[Any]]):
    """Step `num_envs` portfolios in one compiled call.

    Observation (num_envs, D) and action (num_envs, K), float32, as of `CryptoPortfolioEnv`, reward in bp of
    capital. The step after an episode's end only resets that portfolio: its action is ignored and its reward
    is 0 (NEXT_STEP autoreset). The infos are empty; `simulator` has the books.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - Gymnasium's name

    def __init__(
        self, tapes: Sequence[MarketTape], num_envs: int, settings: EnvSettings, seed: int | None = None
    ) -> None:
        """Seat the portfolios before the tapes; `seed` fixes the starts until `reset` gives another.

        Raises as `CryptoPortfolioEnv` does.
        """
        self.num_envs = num_envs
        self.settings = settings
        self.simulator = PortfolioSimulator(tapes, num_envs, settings)
        size = self.simulator.observation_size
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.single_action_space = gym.spaces.Box(-1.0, 1.0, (len(tapes),), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rng = np.random.default_rng(seed)
        self._begun = False

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Begin every portfolio anew; a `seed` (of a list, the first) makes all that follows repeatable.

        Raises:
            SettingsError: there are options.

        """
        refuse_options(options)
        self._rng = reseeded(self._rng, seed)
        self._begin(range(self.num_envs))
        self._begun = True
        return self.simulator.play(np.zeros(self.simulator.actions_shape)), {}

    def step(
        self, actions: Floats
    ) -> tuple[Floats, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step every portfolio; those that ended at the step before are reset instead.

        Raises:
            ActionError: an action is NaN, infinite or beyond ±1, no number, or there are more or fewer;
                nothing has moved.
            ResetNeeded: no episode has begun.

        """
        if not self._begun:
            unbegun()
        simulator = self.simulator
        wanted = as_action(actions, simulator.actions_shape)
        simulator.check_range(wanted)
        ended = simulator.ends.any(axis=0)
        if ended.any():
            self._begin(np.flatnonzero(ended).tolist())
        seen = simulator.play(wanted)
        terminated, truncated = simulator.ends.copy()
        return seen, simulator.told[:, Told.REWARD].copy(), terminated, truncated, {}

    def _begin(self, portfolios: Sequence[int]) -> None:
        for portfolio in portfolios:
            row, held = self.simulator.tapes[0].first, np.zeros(len(self.simulator.tapes))
            if self.settings.random_start:
                row, held = self.simulator.random_start(self._rng)
            self.simulator.reset(portfolio, row, held, self.settings.episode_bars)

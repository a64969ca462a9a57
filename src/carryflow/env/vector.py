"""Many hedged accounts at once, as Gymnasium's vector interface; RLlib steps it by its vector entry point."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from carryflow.env.settings import EnvSettings
from carryflow.env.simulator import HedgedSimulator
from carryflow.env.starts import first_starts, random_starts
from carryflow.env.tape import MarketTape

Floats = NDArray[np.float32]


class VectorCryptoEnv(VectorEnv[Floats, Floats, NDArray[Any]]):
    """Step `num_envs` hedged accounts in one compiled call.

    Observation (num_envs, D) float32 and action (num_envs, 1) float32 in [−1, 1] as of `CryptoTradingEnv`,
    reward in bp of capital. The step after an episode's end only resets that account: its action is ignored
    and its reward is 0 (NEXT_STEP autoreset). The infos are empty, for they would cost more than the step;
    `simulator` has the books.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - Gymnasium's name

    def __init__(
        self, tapes: Sequence[MarketTape], num_envs: int, settings: EnvSettings, seed: int | None = None
    ) -> None:
        """Seat the accounts; `seed` fixes the starts until `reset` gives another."""
        self.num_envs = num_envs
        self.settings = settings
        self.simulator = HedgedSimulator(tapes, num_envs, settings)
        size = self.simulator.spec.observation_size
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.single_action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._everyone = np.arange(num_envs)
        self._ended = np.zeros(num_envs, dtype=np.bool_)
        self._rng = np.random.default_rng(seed)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Begin every account anew; a `seed` (of a list, the first) makes all that follows repeatable."""
        if isinstance(seed, list):
            seed = seed[0] if seed else None
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._begin(self._everyone)
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)
        return self.simulator.observe(), {}

    def step(
        self, actions: Floats
    ) -> tuple[Floats, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step every account; those that ended at the step before are reset instead.

        Raises:
            ActionError: an action is NaN, infinite or beyond ±1.

        """
        result = self.simulator.step(actions)
        terminated, truncated = result.terminated, result.truncated
        ended = self._ended
        self._ended = terminated | truncated
        if ended.any():
            # an ended account rested in the simulator's step; only now does it begin anew
            self._begin(self._everyone[ended])
            self._ended[ended] = terminated[ended] = truncated[ended] = False
        return self.simulator.observe(), result.reward, terminated, truncated, {}

    def _begin(self, accounts: NDArray[np.int64]) -> None:
        tapes = self.simulator.tapes
        if self.settings.random_start:
            starts = random_starts(tapes, len(accounts), self._rng)
        else:
            starts = first_starts(tapes, accounts)
        self.simulator.reset(accounts, *starts, bars=self.settings.episode_bars)

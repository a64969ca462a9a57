"""A trading environment whose observation is a window of features and the state of one account."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from carryflow.core.errors import MarketDataError, SchemaMismatchError
from carryflow.env.starts import first_starts, random_starts
from carryflow.env.tape import MarketTape

Floats = NDArray[np.float32]


class WindowedTradingEnv(gym.Env[Floats, Floats]):
    """Play one account on some tapes, one episode at a time.

    Observation: float32 (observation_size of the feature spec,): the last `lookback` rows of scaled features,
    oldest first, then `features.spec.POSITION_FEATURES`. The window ends with the row on which the action is
    decided, so nothing later is seen. Action: float32 (1,) in [−1, 1]; what it trades, and what it earns, a
    subclass says.

    Episodes begin at the first hour of the tapes in turn or, with `random_start`, anywhere. An episode is
    truncated after `episode_bars` or at the end of its tape, and terminated when the account is lost.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's name

    def __init__(self, tapes: Sequence[MarketTape], *, episode_bars: int, random_start: bool) -> None:
        """Take the tapes to play.

        Raises:
            MarketDataError: there is no tape.
            SchemaMismatchError: the tapes were made for different feature specs.

        """
        if not tapes:
            raise MarketDataError("an environment needs at least one tape, got none; name a ticker")
        if len({tape.spec for tape in tapes}) > 1:
            raise SchemaMismatchError("the tapes differ in their feature specs; build them from one dataset")
        self.tapes = tuple(tapes)
        self.feature_spec = tapes[0].spec
        self.episode_bars = episode_bars
        self.random_start = random_start
        self.observation_space = gym.spaces.Box(
            -np.inf, np.inf, (self.feature_spec.observation_size,), np.float32
        )
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._episodes = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Begin an episode; a `seed` makes this one and all that follow repeatable."""
        super().reset(seed=seed)
        if seed is not None:
            self._episodes = 0
        if self.random_start:
            starts = random_starts(self.tapes, 1, self.np_random)
        else:
            starts = first_starts(self.tapes, np.array([self._episodes]))
        self._episodes += 1
        self._begin(int(starts.tape[0]), int(starts.row[0]), float(starts.fraction[0]))
        return self._observe(), self._info()

    def step(self, action: Floats) -> tuple[Floats, SupportsFloat, bool, bool, dict[str, Any]]:
        """Act on the row last observed, and observe the next.

        Returns observation, reward, terminated, truncated and info.

        Raises:
            ActionError: the action is NaN, infinite or beyond ±1.

        """
        reward, terminated, truncated = self._advance(np.asarray(action))
        return self._observe(), reward, terminated, truncated, self._info()

    @abstractmethod
    def _begin(self, tape: int, row: int, fraction: float) -> None:
        """Open the account on a row of a tape, with an inherited position."""

    @abstractmethod
    def _advance(self, action: Floats) -> tuple[float, bool, bool]:
        """Act, and live until the next row; give reward, terminated and truncated."""

    @abstractmethod
    def _observe(self) -> Floats:
        """Give the observation of the row on which the account stands."""

    @abstractmethod
    def _info(self) -> dict[str, Any]:
        """Give what a reader of the episode wants to know beside the observation."""

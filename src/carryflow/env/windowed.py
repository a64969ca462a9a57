"""A trading environment whose observation is a window of features and the state of one account."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NoReturn, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from carryflow.core.errors import SettingsError
from carryflow.env.action import as_action
from carryflow.env.starts import first_starts, random_starts
from carryflow.env.tape import MarketTape, same_spec

Floats = NDArray[np.float32]


def refuse_options(options: dict[str, Any] | None) -> None:
    """Refuse options of a reset: there are none, and one that is not heard must not pass for one that is.

    Raises:
        SettingsError: there are some.

    """
    if options:
        raise SettingsError(
            f"reset knows no options, got {', '.join(map(repr, options))}; say where to begin by the tapes, "
            "`random_start` and `seed`"
        )


def unbegun(*_: Any) -> NoReturn:
    """Stand for the compiled step until a reset binds it.

    Raises:
        ResetNeeded: always.

    """
    raise ResetNeeded("no episode has begun; call reset before step")


class WindowedTradingEnv(gym.Env[Floats, Floats]):
    """Play one account on some tapes, one episode at a time.

    Observation: float32 (observation_size of the feature spec,): the last `lookback` rows of scaled features,
    oldest first, then `features.spec.POSITION_FEATURES`. The window ends with the row on which the action is
    decided, so nothing later is seen. Action: float32 (1,) in [−1, 1]; what it trades, and what it earns, a
    subclass says, and it may widen both spaces.

    Episodes begin at the first hour of the tapes in turn or, with `random_start`, anywhere. An episode is
    truncated after `episode_bars` or at the end of its tape, and terminated when the account is lost.
    """

    # Gymnasium's names; its check asks for a frame rate, though a figure has none
    metadata = {"render_modes": ["figure"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        tapes: Sequence[MarketTape],
        *,
        episode_bars: int,
        random_start: bool,
        render_mode: str | None = None,
    ) -> None:
        """Take the tapes to play.

        Args:
            tapes: markets, one an episode.
            episode_bars: steps after which an episode is cut.
            random_start: begin anywhere in the tapes, with any position.
            render_mode: "figure": `render` gives a plotly figure of the episode so far, for which what was
                told at each row is kept; None: nothing is kept.

        Raises:
            MarketDataError: there is no tape.
            SchemaMismatchError: the tapes were made for different feature specs.
            SettingsError: there is no such way to render.

        """
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise SettingsError(f'render_mode must be "figure" or None, was {render_mode!r}')
        self.feature_spec = same_spec(tapes)
        self.tapes = tuple(tapes)
        self.episode_bars = episode_bars
        self.random_start = random_start
        self.observation_space = gym.spaces.Box(
            -np.inf, np.inf, (self.feature_spec.observation_size,), np.float32
        )
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.render_mode = render_mode
        self._told: list[dict[str, Any]] | None = None if render_mode is None else []
        self._episodes = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Begin an episode; a `seed` makes this one and all that follow repeatable.

        Returns observation and info.

        Raises:
            SettingsError: there are options.

        """
        refuse_options(options)
        super().reset(seed=seed)
        if seed is not None:
            self._episodes = 0
        self._place()
        self._episodes += 1
        info = self._info()
        if self._told is not None:
            self._told = [info]
        return self._observe(), info

    def step(self, action: Floats) -> tuple[Floats, SupportsFloat, bool, bool, dict[str, Any]]:
        """Act on the row last observed, and observe the next.

        Returns observation, reward, terminated, truncated and info.

        Raises:
            ActionError: the action is NaN, infinite, beyond ±1, of another shape, or no numbers.
            ResetNeeded: no episode has begun.

        """
        if not self._episodes:
            unbegun()
        reward, terminated, truncated = self._advance(as_action(action, self.action_space.shape or ()))
        info = self._info()
        if self._told:
            self._note(info)
        return self._observe(), reward, terminated, truncated, info

    def render(self) -> Any:
        """Draw the episode so far; None unless the environment was made with a `render_mode`.

        Raises:
            ResetNeeded: no episode has begun.

        """
        if self._told is None:
            return None
        if not self._told:
            raise ResetNeeded("there is no episode to draw; call reset first")
        return self._draw(self._told)

    def _note(self, info: dict[str, Any]) -> None:
        """Keep what was told of a row, for a figure; an account whose episode has ended stays on its row."""
        if self._told and info["now_ms"] > self._told[-1]["now_ms"]:
            self._told.append(info)

    def _place(self) -> None:
        """Choose where the episode begins, and open there."""
        if self.random_start:
            starts = random_starts(self.tapes, 1, self.np_random)
        else:
            starts = first_starts(self.tapes, np.array([self._episodes]))
        self._begin(int(starts.tape[0]), int(starts.row[0]), float(starts.fraction[0]))

    @abstractmethod
    def _begin(self, tape: int, row: int, fraction: float) -> None:
        """Open the account on a row of a tape, with an inherited position."""

    @abstractmethod
    def _advance(self, action: NDArray[np.floating]) -> tuple[float, bool, bool]:
        """Act, and live until the next row; give reward, terminated and truncated."""

    @abstractmethod
    def _observe(self) -> Floats:
        """Give the observation of the row on which the account stands."""

    @abstractmethod
    def _info(self) -> dict[str, Any]:
        """Give what a reader of the episode wants to know beside the observation."""

    @abstractmethod
    def _draw(self, told: list[dict[str, Any]]) -> Any:
        """Draw the episode from what was told at each of its rows."""

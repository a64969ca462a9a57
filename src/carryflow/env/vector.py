"""Many hedged accounts at once, as Gymnasium's vector interface; RLlib steps it by its vector entry point."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from carryflow.core.compiled import machine_code
from carryflow.env.action import action_size, as_action, refusal, trades_of
from carryflow.env.kernel import seat_ended, step
from carryflow.env.layout import CACHE_LINE, Status, Told, aligned
from carryflow.env.settings import EnvSettings
from carryflow.env.simulator import HedgedSimulator
from carryflow.env.starts import StartQueue, first_starts, reseeded
from carryflow.env.tape import MarketTape
from carryflow.env.windowed import refuse_options, unbegun

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

FLOATS_A_LINE = CACHE_LINE // 4

_contiguous, _empty, _ndarray, _FLOAT32 = np.ascontiguousarray, np.empty, np.ndarray, np.dtype(np.float32)

_BOUND = frozenset(
    {"_step", "_seat_ended", "_arguments", "_rewards", "_terminated", "_truncated", "_seen", "_shown"}
)


class VectorCryptoEnv(VectorEnv[Floats, Floats, NDArray[Any]]):
    """Step `num_envs` hedged accounts in one compiled call.

    Observation (num_envs, D) float32 and action (num_envs, 1 or 2) float32 in [−1, 1] as of
    `CryptoTradingEnv`, reward in bp of capital. The step after an episode's end only resets that account: its
    action is ignored and its reward is 0 (NEXT_STEP autoreset). The infos are empty, for they would cost more
    than the step; `simulator` has the books, and `simulator.told` the terms of the last step's rewards.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - Gymnasium's name

    def __init__(
        self,
        tapes: Sequence[MarketTape],
        num_envs: int,
        settings: EnvSettings,
        seed: int | None = None,
        *,
        copy: bool = True,
    ) -> None:
        """Seat the accounts.

        Args:
            tapes: markets, of one feature spec.
            num_envs: how many accounts.
            settings: capital, costs, trading rule and episodes.
            seed: fixes the starts until `reset` gives another.
            copy: give out arrays that stay as they are. Without, observations, rewards and flags are the
                environment's own, and the next step overwrites them: enough for a loop that copies what it
                keeps, and a sixth faster. Observations then are a view of rows that end on a cache line.

        """
        self.num_envs = num_envs
        self.settings = settings
        self.simulator = simulator = HedgedSimulator(tapes, num_envs, settings)
        size = simulator.observation_size
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.single_action_space = gym.spaces.Box(-1.0, 1.0, (action_size(settings),), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._actions_shape = (num_envs, action_size(settings))
        self._only_fractions = settings.action == "fraction"
        self._seen_shape = (num_envs, size)
        self._copies = copy
        self._ended = 0
        self._rng = np.random.default_rng(seed)
        self._starts = StartQueue(simulator.tapes, self._rng)
        self._first = first_starts(simulator.tapes, np.arange(num_envs))
        self._begun = False
        self._bind()

    def _bind(self) -> None:
        """Take hold of the compiled step and of what it works on: to look them up would cost as much.

        What it writes is also looked at from here: views, which a copy must make of its own arrays.
        """
        simulator, (count, size) = self.simulator, self._seen_shape
        self._arguments = simulator.arguments
        self._rewards = simulator.told[:, Told.REWARD]
        self._terminated, self._truncated = simulator.ends
        self._nobody = np.zeros(count, np.bool_)
        self._nobody.flags.writeable = False
        self._seen: Floats | None = None
        self._shown: Floats | None = None
        if not self._copies:
            self._seen = aligned(count, -(-size // FLOATS_A_LINE) * FLOATS_A_LINE // 2).view(np.float32)
            self._shown = self._seen[:, :size]
        self._step: Callable[..., int] = unbegun
        if self._begun:
            actions = np.empty(self._actions_shape, np.float32 if self._only_fractions else np.float64)
            seen = np.empty(self._seen_shape, np.float32) if self._seen is None else self._seen
            self._step = machine_code(step, *self._arguments, actions, seen)
            rest = (0, 0, *simulator.ground)
            self._seat_ended = machine_code(seat_ended, simulator.books, *self._first, *rest)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is bound, for machine code cannot be copied, and a copy has arrays of its own."""
        return {name: value for name, value in vars(self).items() if name not in _BOUND}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Bind the copy's own arrays."""
        vars(self).update(state)
        self._bind()

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Begin every account anew; a `seed` (of a list, the first) makes all that follows repeatable.

        Raises:
            SettingsError: there are options.

        """
        refuse_options(options)
        rng = reseeded(self._rng, seed)
        if rng is not self._rng:
            self._rng, self._starts = rng, StartQueue(self.simulator.tapes, rng)
        starts = self._starts.take(self.num_envs) if self.settings.random_start else self._first
        everyone = np.arange(self.num_envs)
        self.simulator.seat(everyone, *starts, self.settings.episode_bars, Status.RUNNING)
        self._ended = 0
        if not self._begun:
            self._begun = True
            self._bind()
        seen = self.simulator.observe(self._seen)
        return (seen if self._shown is None else self._shown), {}

    def step(self, actions: Floats) -> tuple[Floats, NDArray[np.float64], Flags, Flags, dict[str, Any]]:
        """Step every account; those that ended at the step before are reset instead.

        Where no episode has ended, both flags are one and the same array, which cannot be written to.

        Raises:
            ActionError: an action is NaN, infinite or beyond ±1, no number, or there are more or fewer.
            ResetNeeded: no episode has begun.

        """
        wanted: NDArray[np.floating] = actions
        if (
            actions.__class__ is not _ndarray
            or actions.dtype is not _FLOAT32
            or actions.shape != self._actions_shape
        ):
            wanted = as_action(actions, self._actions_shape)
        wanted = _contiguous(wanted, _FLOAT32)
        if not self._only_fractions:
            wanted = np.ascontiguousarray(trades_of(wanted, self.settings))
        if self._ended:
            self._reset_ended()
        seen = self._seen
        if seen is None:
            seen = _empty(self._seen_shape, _FLOAT32)
        ended = self._step(*self._arguments, wanted, seen)
        if ended < 0:
            raise refusal(-1 - ended, wanted[-1 - ended], self.settings)
        self._ended = ended
        if self._shown is not None:
            return self._shown, self._rewards, self._terminated, self._truncated, {}
        if not ended:
            return seen, self._rewards.copy(), self._nobody, self._nobody, {}
        return seen, self._rewards.copy(), self._terminated.copy(), self._truncated.copy(), {}

    def _reset_ended(self) -> None:
        first, starts = -1, self._first
        if self.settings.random_start:
            first = self._starts.reserve(self._ended)
            starts = self._starts.drawn
        simulator = self.simulator
        self._seat_ended(simulator.books, *starts, first, self.settings.episode_bars, *simulator.ground)
        self._ended = 0

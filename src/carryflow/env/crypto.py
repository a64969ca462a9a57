"""The hedged funding trade as a Gymnasium environment."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from carryflow.core.compiled import machine_code
from carryflow.env.account_info import (
    CURSOR,
    REWARD,
    STATEMENT_WIDTH,
    name_statement,
    state_account,
    step_alone,
)
from carryflow.env.action import action_size, as_action, heed, refusal, trades_of
from carryflow.env.layout import Status
from carryflow.env.settings import EnvSettings
from carryflow.env.simulator import HedgedSimulator
from carryflow.env.tape import MarketTape
from carryflow.env.windowed import WindowedTradingEnv, unbegun

Floats = NDArray[np.float32]

_BOUND = frozenset({"_bound", "_step_alone", "_decision_ms"})
_FLOAT32 = np.dtype(np.float32)
_TERMINATED, _TRUNCATED = int(Status.TERMINATED), int(Status.TRUNCATED)


class CryptoTradingEnv(WindowedTradingEnv):
    """Trade spot against its perpetual.

    `settings.action` says what an action is, all numbers in [−1, 1]:

    - "fraction", (1,): the fraction of capital to have in the hedged trade. +1 is long spot with the whole
      spot wallet and short as many perpetuals, −1 the reverse, with borrowed coins.
    - "weights", (2,): a weight for spot and one for the perpetual. The trade is hedged, so what is traded is
      the pair of equal and opposite weights nearest to both, (f, −f) with f = (spot − perpetual) / 2.
    - "fraction_and_margin", (2,): the fraction, then the margin of the perpetual: −1 to 1 are the ratios of
      wallet to notional that the settings allow. Less margin puts more of the capital to work, and is
      liquidated by a smaller move. The observation then ends with the margin that is left, over the notional
      of a full position.

    The legs are traded only when the fraction is further than `hysteresis` from the position, or exactly 0.
    Another margin than before needs no trade: what cash is free moves between the wallets, at no cost.
    The reward is the profit in bp of capital less the prices of risk (`env.reward`). The info has the instant
    (`now_ms`) and, by `env.account_info`, equity, turnover, position, drawdown, margin ratio, the coins
    without a hedge, the parts of profit since the episode began (quote), and the terms of the reward (bp).
    """

    simulator: HedgedSimulator

    def __init__(
        self, tapes: Sequence[MarketTape], settings: EnvSettings, render_mode: str | None = None
    ) -> None:
        """Seat one account before the tapes."""
        super().__init__(
            tapes,
            episode_bars=settings.episode_bars,
            random_start=settings.random_start,
            render_mode=render_mode,
        )
        self.simulator = HedgedSimulator(tapes, 1, settings)
        self._shape = (action_size(settings),)
        self.action_space = gym.spaces.Box(-1.0, 1.0, self._shape, np.float32)
        self._settings = settings
        self._only_fraction = settings.action == "fraction"
        self._wanted = np.zeros((1, 1 if settings.action != "fraction_and_margin" else 2))
        self._statement = np.zeros(STATEMENT_WIDTH)
        self._numbers: list[float] = []
        self._said = np.zeros((1, 2))
        self._size = self.simulator.observation_size
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (self._size,), np.float32)
        self._seen: Floats | None = None
        self._let_go()

    def _let_go(self) -> None:
        """Have nothing bound, as before the first reset."""
        self._bound: tuple[Any, ...] = ()
        self._step_alone: Callable[..., int] = unbegun

    def _bind(self) -> None:
        """Take hold of what a step is played with: looking it up would cost as much as the step."""
        self._bound = (*self.simulator.arguments, self._statement, self._wanted)
        self._step_alone = machine_code(step_alone, *self._bound, 0.0, np.empty(self._size, np.float32))
        self._decision_ms = self.simulator.decision_ms

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is bound, for machine code cannot be copied, and a copy has arrays of its own."""
        return {name: value for name, value in vars(self).items() if name not in _BOUND}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Bind the copy's own arrays, if an episode has begun."""
        vars(self).update(state)
        self._let_go()
        if self._episodes:
            self._bind()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Begin an episode, as of `WindowedTradingEnv`."""
        self._seen = None
        begun = super().reset(seed=seed, options=options)
        if not self._bound:
            self._bind()
        return begun

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Act on the row last observed, and observe the next.

        Returns observation, reward, terminated, truncated and info.

        Raises:
            ActionError: the action is NaN, infinite, beyond ±1, of another shape, or no numbers.
            ResetNeeded: no episode has begun.

        """
        reward, terminated, truncated = self._advance(action)
        seen, self._seen = self._seen, None
        if seen is None:
            info, seen = self._info(), self._observe()
        else:
            numbers = self._numbers
            info = name_statement(numbers, self._decision_ms.item(int(numbers[CURSOR])))
        if self._told:
            self._note(info)
        return seen, reward, terminated, truncated, info

    def _begin(self, tape: int, row: int, fraction: float) -> None:
        self.simulator.reset(0, tape, row, fraction, bars=self.episode_bars)

    def _advance(self, action: NDArray[np.floating]) -> tuple[float, bool, bool]:
        fraction = None
        try:
            if self._only_fraction:
                (fraction,) = action.tolist()
            else:
                fraction = self._heed(*action.tolist())
        except (AttributeError, TypeError, ValueError):
            pass
        if fraction.__class__ is not float:  # a list, whole numbers, or no action at all
            numbers = as_action(action, self._shape).tolist()
            fraction = numbers[0] if self._only_fraction else self._heed(*numbers)
        seen = np.empty(self._size, _FLOAT32)
        status = self._step_alone(*self._bound, fraction, seen)
        if status < 0:
            raise refusal(0, self._wanted[0], self._settings)
        self._numbers = numbers = self._statement.tolist()
        self._seen = seen
        return numbers[REWARD], status == _TERMINATED, status == _TRUNCATED

    def _heed(self, first: float, second: float) -> float:
        """Take in an action of two numbers; give its fraction."""
        if not first.__class__ is second.__class__ is float:
            raise TypeError
        said, settings = self._said, self._settings
        said[0, 0] = first
        said[0, 1] = second
        if heed(said, settings.margin_ratio_min, settings.margin_ratio_max, self._wanted) >= 0:
            trades_of(said, settings)  # which says what is wrong
        return self._wanted.item(0)

    def _observe(self) -> Floats:
        seen: Floats = self.simulator.observe()[0]
        return seen

    def _info(self) -> dict[str, Any]:
        simulator = self.simulator
        simulator.told[:] = 0.0  # whoever asks without a step is told of none
        state_account(simulator.books, simulator.told, self._statement)
        numbers = self._statement.tolist()
        return name_statement(numbers, int(simulator.now_ms[0]))

    def _draw(self, told: list[dict[str, Any]]) -> Any:
        from carryflow.env.figure import draw_episode

        return draw_episode(self.tapes[int(self.simulator.tape[0])], told)

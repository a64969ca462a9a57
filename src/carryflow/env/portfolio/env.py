"""One capital over several coins: the hedged funding trade as a portfolio."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from carryflow.env.action import as_action
from carryflow.env.layout import Told
from carryflow.env.portfolio.report import SUMMARY
from carryflow.env.portfolio.simulator import PortfolioSimulator
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape
from carryflow.env.windowed import WindowedTradingEnv, unbegun

Floats = NDArray[np.float32]


class CryptoPortfolioEnv(WindowedTradingEnv):
    """Move one capital between K coins, each held as spot against its perpetual.

    The action, float32 (K,) in [−1, 1], is the fraction of capital to have in each coin's hedged trade, as of
    `CryptoTradingEnv`. The limits of `settings.portfolio` cut each coin's and scale back what they take
    together (`env.portfolio.limits`). What they grant is traded if it is further from the position than the
    portfolio's own hysteresis, which counts in equal parts of capital, or is exactly 0. The spot wallets are
    one, and so are the margin wallets: a gain on one short is margin for another, and when the margin of all
    together is gone the venue closes all of them, and the spot is sold (cross margin; linear contracts only).

    Observation, float32 (K · (window + 1) + 2,): for each coin its window, oldest bar first, and the fraction
    of capital in it; then the drawdown, and the part of the margin balance that the venue asks for.

    The reward is that of `CryptoTradingEnv`, of all coins together, and so are the sums in the info. By coin
    it has, in the order of `tapes`, `positions`, `delta_base` (unhedged coins) and `parts_quote` (profit
    since the episode began, by `core.account.PARTS`, (K, 6)); `cut_back` is how much of the action the limits
    took away (fraction of capital).

    Every episode plays all tapes from one row: their first, or with `random_start` any row, half of the time
    with a random position within the limits.
    """

    def __init__(
        self, tapes: Sequence[MarketTape], settings: EnvSettings, render_mode: str | None = None
    ) -> None:
        """Seat one portfolio before the tapes, which must have the same decisions.

        Raises:
            MarketDataError: there is no tape, two are of one coin, one is inverse, or their decisions differ.
            SchemaMismatchError: the tapes were made for different feature specs.
            SettingsError: the action is not the fractions alone, or there is no such way to render.

        """
        super().__init__(
            tapes,
            episode_bars=settings.episode_bars,
            random_start=settings.random_start,
            render_mode=render_mode,
        )
        self.simulator = PortfolioSimulator(tapes, 1, settings)
        self.observation_space = gym.spaces.Box(
            -np.inf, np.inf, (self.simulator.observation_size,), np.float32
        )
        self._action_shape = (len(tapes),)
        self.action_space = gym.spaces.Box(-1.0, 1.0, self._action_shape, np.float32)
        self._now_ms: list[int] = tapes[0].decision_ms.tolist()
        self._nothing = np.zeros((1, len(tapes)))
        self._row = 0
        self._seen = np.empty((1, 0), dtype=np.float32)

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Act on the row last observed, and observe the next.

        Returns observation, reward, terminated, truncated and info.

        Raises:
            ActionError: the action is NaN, infinite, beyond ±1, or not one number a coin.
            ResetNeeded: no episode has begun.

        """
        if not self._episodes:
            unbegun()
        reward, terminated, truncated = self._advance(action)
        info = self._info()
        if self._told:
            self._note(info)
        return self._seen[0], reward, terminated, truncated, info

    def _place(self) -> None:
        row, held = self.tapes[0].first, np.zeros(len(self.tapes))
        if self.random_start:
            row, held = self.simulator.random_start(self.np_random)
        self._begin(0, row, held)

    def _begin(self, tape: int, row: int, fraction: Any) -> None:
        self.simulator.reset(0, row, fraction, self.episode_bars)
        self._seen = self.simulator.play(self._nothing)
        self._row = row

    def _advance(self, action: Floats) -> tuple[float, bool, bool]:
        books = self.simulator
        running = not books.ends.any()
        wanted = as_action(action, self._action_shape)[None]
        books.check_range(wanted)
        self._seen = books.play(wanted)
        self._row += running
        return float(books.told[0, Told.REWARD]), bool(books.ends[0, 0]), bool(books.ends[1, 0])

    def _observe(self) -> Floats:
        seen: Floats = self._seen[0]
        return seen

    def _info(self) -> dict[str, Any]:
        books = self.simulator
        by_coin = books.by_coin[0].copy()
        info: dict[str, Any] = dict(zip(SUMMARY, books.summary[0].tolist(), strict=True))
        info["now_ms"] = self._now_ms[self._row]
        info["positions"] = by_coin[:, 0]
        info["delta_base"] = by_coin[:, 1]
        info["parts_quote"] = by_coin[:, 2:]
        return info

    def _draw(self, told: list[dict[str, Any]]) -> Any:
        from carryflow.env.figure import draw_portfolio

        return draw_portfolio(self.tapes, told)

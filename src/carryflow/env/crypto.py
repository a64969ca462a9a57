"""The hedged funding trade as a Gymnasium environment."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryflow.env.settings import EnvSettings
from carryflow.env.simulator import HedgedSimulator
from carryflow.env.tape import MarketTape
from carryflow.env.windowed import WindowedTradingEnv

Floats = NDArray[np.float32]


class CryptoTradingEnv(WindowedTradingEnv):
    """Trade spot against its perpetual.

    The action is the fraction of capital to have in the hedged trade: +1 is long spot with the whole spot
    wallet and short as many perpetuals, −1 the reverse, with borrowed coins. The legs are traded only when
    the action is further than `hysteresis` from the position, or exactly 0. The reward is the profit in bp of
    capital less the prices of risk (`env.reward`). The info has the instant, the equity, the turnover and, by
    part, the profit since the episode began (quote).
    """

    def __init__(self, tapes: Sequence[MarketTape], settings: EnvSettings) -> None:
        """Seat one account before the tapes."""
        super().__init__(tapes, episode_bars=settings.episode_bars, random_start=settings.random_start)
        self.simulator = HedgedSimulator(tapes, 1, settings)

    def _begin(self, tape: int, row: int, fraction: float) -> None:
        self.simulator.reset(0, tape, row, fraction, bars=self.episode_bars)

    def _advance(self, action: Floats) -> tuple[float, bool, bool]:
        result = self.simulator.step(action)
        return float(result.reward[0]), bool(result.terminated[0]), bool(result.truncated[0])

    def _observe(self) -> Floats:
        observation: Floats = self.simulator.observe()[0]
        return observation

    def _info(self) -> dict[str, Any]:
        books = self.simulator
        return {
            "now_ms": int(books.now_ms[0]),
            "equity": float(books.equity[0]),
            "turnover": float(books.turnover_quote[0]),
            **{part: float(quote[0]) for part, quote in books.attribution.items()},
        }

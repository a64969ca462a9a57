"""What is tried, what it is tried with, and what every check of `env.check` needs of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryflow.core.costs import CostSettings
from carryflow.core.errors import InvariantBroken
from carryflow.core.instrument import ContractType
from carryflow.env.check.markets import quiet_tape, wild_tape
from carryflow.env.check.play import Env, begin, positions, step
from carryflow.env.settings import EnvSettings, PortfolioSettings
from carryflow.env.tape import MarketTape
from carryflow.features.spec import FeatureSpec

MakeEnv = Callable[[Sequence[MarketTape], EnvSettings], Env]
"""Makes the environment to try: `CryptoTradingEnv`, a subclass, or a function of tapes and settings."""

TOLERANCE = 1e-9
"""How much of the capital may stay unexplained at any step."""

ROWS = 160
"""Length of the wild markets (bars beyond the window)."""

FREE = CostSettings(spot_taker_bp=0, perp_taker_bp=0, spot_slippage_bp=0, perp_slippage_bp=0, borrow_apr=0)
"""Costs of nothing."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Hold what is tried, and make the markets that it is tried on.

    Attributes:
        make: gives the environment.
        tickers: how many tapes it is given (K).
        spec: their features.
        kind: whether their perpetuals are linear or inverse.
        settings: what it is tried with.

    """

    make: MakeEnv
    tickers: int
    spec: FeatureSpec
    kind: ContractType
    settings: EnvSettings

    def env(self, tapes: Sequence[MarketTape], **changes: Any) -> Env:
        """Make the environment on some tapes: an episode to their end, from their first row, unless said."""
        begun = {"random_start": False, "episode_bars": 10**9}
        return self.make(tapes, self.settings.model_copy(update=begun | changes))

    def held(self, tapes: Sequence[MarketTape], costs: CostSettings = FREE) -> Env:
        """Make an environment in which one action, repeated in a market that rests, trades once."""
        limits = PortfolioSettings(ticker_limit=1.0, total_limit=1.0, hysteresis=0.01)
        return self.env(tapes, costs=costs, hysteresis=0.05, min_notional_quote=0.0, portfolio=limits)

    def wild(self, generator: np.random.Generator, *, calm: bool = False) -> list[MarketTape]:
        """Draw markets in which everything happens or, `calm`, all but what the venue itself trades."""
        rows = ROWS + self.spec.lookback
        return [
            wild_tape(self.spec, rows, generator, ticker=f"COIN{k}", kind=self.kind, calm=calm)
            for k in range(self.tickers)
        ]

    def quiet(self, minutes: NDArray[np.int64]) -> list[MarketTape]:
        """Make markets in which only funding settles, decided at these minutes."""
        return [quiet_tape(self.spec, minutes, coin=k, kind=self.kind) for k in range(self.tickers)]

    def openings(self, env: Env) -> list[Any]:
        """Find actions that open pairs from flat: one whose largest is long spot, then one that is short.

        An environment that knows no reverse gives one. The actions of K coins are small enough that no limit
        on all of them is met.

        Raises:
            InvariantBroken: nothing trades, or nothing sells the perpetual.

        """
        begin(env, seed=3)
        found: dict[bool, Any] = {}
        for _ in range(50):
            action = env.action_space.sample() / self.tickers
            begin(env)
            now = step(env, action)
            if now.info["turnover"] > 0:
                held = positions(now)
                found.setdefault(bool(held[np.abs(held).argmax()] < 0), action)
            if len(found) == 2:
                break
        if False not in found:
            raise InvariantBroken(
                "actions: none of 50 random ones took a position above 0; likely the env ignores its action, "
                "or tells `position` with the wrong sign"
            )
        return [found[sign] for sign in sorted(found)]

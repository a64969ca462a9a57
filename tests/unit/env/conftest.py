"""Small tapes for the environment's tests."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from carryflow.core.costs import CostSettings
from carryflow.env.settings import EnvSettings, RiskSettings
from carryflow.env.tape import MarketTape
from carryflow.features.spec import FeatureSpec

HOUR_MS = 3_600_000

TapeMaker = Callable[..., MarketTape]


@pytest.fixture
def make_tape() -> TapeMaker:
    """Make a tape of n random hours from a seed; any field may be given instead."""

    def make(n: int = 60, seed: int = 0, lookback: int = 3, **given: Any) -> MarketTape:
        rng = np.random.default_rng(seed)
        spot = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, n)))
        fields: dict[str, Any] = {
            "ticker": "ABC",
            "decision_ms": np.arange(1, n + 1) * HOUR_MS,
            "spot": spot,
            "perp": spot * (1 + rng.normal(0.0, 1e-3, n)),
            "mark": spot * (1 + rng.normal(0.0, 1e-3, n)),
            "tradable": np.ones(n, dtype=np.bool_),
            "settlement_cash": np.where(np.arange(n) % 8 == 0, -spot * rng.normal(2e-4, 1e-4, n), 0.0),
            "features": rng.normal(size=(n, 2)).astype(np.float32),
            "spec": FeatureSpec(("first", "second"), lookback),
        }
        return MarketTape(**(fields | given))

    return make


@pytest.fixture
def free() -> EnvSettings:
    """Settings without costs, without prices of risk and without random starts."""
    return EnvSettings(
        capital_quote=10_000.0,
        random_start=False,
        costs=CostSettings(
            spot_taker_bp=0, perp_taker_bp=0, spot_slippage_bp=0, perp_slippage_bp=0, borrow_apr=0
        ),
        risk=RiskSettings(lambda_vol=0, lambda_dd=0, lambda_to=0),
    )


@pytest.fixture
def flat_market() -> Callable[[int], dict[str, np.ndarray]]:
    """Make n hours in which nothing moves and nothing settles: spot, perpetual and mark at 100."""

    def make(n: int) -> dict[str, np.ndarray]:
        return {name: np.full(n, 100.0) for name in ("spot", "perp", "mark")} | {
            "settlement_cash": np.zeros(n)
        }

    return make

"""Evidence and bundles to judge."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from carryflow.agents.bundle import BundleMetadata, save_bundle
from carryflow.agents.experts import EXPERTS, ExpertPolicy
from carryflow.agents.gate import GatedPolicy
from carryflow.env.settings import EnvSettings
from carryflow.evaluation.evidence import Evidence
from carryflow.evaluation.metrics import Metrics, PolicyScore, Sharpe, Split
from carryflow.features.scaling import Scaler
from carryflow.features.spec import FeatureSettings, FeatureSpec

DAY_MS = 86_400_000
NOW_MS = 1_000 * DAY_MS

EvidenceMaker = Callable[..., Evidence]


def metrics_of(return_apr: float, **changes: object) -> Metrics:
    """Give the metrics of a sound account that returned so much a year."""
    gained = return_apr / 8.0 * 300_000.0
    sound = Metrics(
        hours=1_095,
        capital_quote=300_000.0,
        pnl_quote=gained,
        return_total=return_apr / 8.0,
        return_apr=return_apr,
        max_drawdown=0.01,
        sharpe_daily=Sharpe(4.0, 1.0, 45),
        sharpe_weekly=Sharpe(3.0, 2.0, 6),
        sharpe_monthly=None,
        turnover_per_year=20.0,
        time_in_market=0.7,
        liquidations=0,
        split=Split(gained, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    )
    return replace(sound, **changes)


@pytest.fixture(scope="session")
def make_evidence() -> EvidenceMaker:
    """Make evidence that passes every criterion, but for what a test changes.

    Keywords: `gated` (changes of the challenger's metrics), `returns` (by policy, a year), `expires_in_days`,
    and fields of the evidence.
    """

    def make(
        gated: dict[str, object] | None = None,
        returns: dict[str, float] | None = None,
        expires_in_days: float = 7.0,
        **fields: object,
    ) -> Evidence:
        apr = {"gated": 0.10, "flat": 0.0, "always_hedged": 0.05} | (returns or {})
        scores = {name: metrics_of(value) for name, value in apr.items()}
        scores["gated"] = metrics_of(apr["gated"], **(gated or {}))
        sound = Evidence(
            bundle_hash="b" * 16,
            spec_hash="5" * 16,
            market_version="m" * 16,
            tickers=("BTC",),
            train_start_ms=0,
            train_end_ms=900 * DAY_MS,
            test_start_ms=902 * DAY_MS,
            test_end_ms=947 * DAY_MS,
            expires_at_ms=round(NOW_MS + expires_in_days * DAY_MS),
            champion_hash=None,
            champion_refused=None,
            env=EnvSettings().model_dump(mode="json"),
            lineage={"seed": "7"},
            policies={name: PolicyScore(metrics, {"BTC": metrics}) for name, metrics in scores.items()},
        )
        return replace(sound, **fields)

    return make


@pytest.fixture(scope="session")
def make_bundle() -> Callable[[Path, int], str]:
    """Write a whole, untrained bundle that its seed makes distinct, and give its hash."""

    def make(folder: Path, seed: int) -> str:
        spec = FeatureSpec.of(FeatureSettings(lookback=4), sentiment=False)
        generator = torch.Generator().manual_seed(seed)
        experts = [ExpertPolicy(name, spec, (2,), generator) for name in EXPERTS]
        scaler = Scaler((0.0,) * len(spec.names), (1.0,) * len(spec.names)).to_json()
        metadata = BundleMetadata(NOW_MS, NOW_MS + DAY_MS, 0, DAY_MS, {"seed": str(seed)})
        return save_bundle(folder, GatedPolicy(experts, (2,), 1.0, generator), scaler, metadata)

    return make

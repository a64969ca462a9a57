"""Small markets of which the right answer is known."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from carryflow.agents.bundle import BundleMetadata, save_bundle
from carryflow.agents.experts import EXPERTS, ExpertPolicy
from carryflow.agents.gate import GatedPolicy
from carryflow.env.tape import MarketTape
from carryflow.features.dataset import Dataset, split_rows, write_dataset
from carryflow.features.frame import build_frame
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.features.split import SplitSettings
from carryflow.market.data import DataSettings
from carryflow.market.synthetic import SyntheticSettings, synthetic_market

HOUR_MS = 3_600_000
START_MS = 1_700_006_400_000  # 2023-11-15 00:00 UTC

TapeMaker = Callable[..., MarketTape]
BundleMaker = Callable[..., str]


@pytest.fixture(scope="session")
def make_tape() -> TapeMaker:
    """Make a tape whose settlements, every eight hours, have the given rates; its price stays unless told.

    Its one feature is the given one; row i is decided at START_MS + i hours. Settlements are valued at spot.
    """

    def make(
        rates: Sequence[float],
        feature: np.ndarray | None = None,
        ticker: str = "BTC",
        price: np.ndarray | float = 100.0,
        basis: np.ndarray | float = 0.0,
    ) -> MarketTape:
        hours = 8 * len(rates) + 1
        prices = np.broadcast_to(np.asarray(price, dtype=np.float64), (hours,)).copy()
        cash = np.zeros(hours)
        cash[8::8] = -np.asarray(rates) * prices[8::8]  # what a long receives
        shown = np.zeros(hours) if feature is None else feature
        return MarketTape(
            ticker=ticker,
            decision_ms=START_MS + HOUR_MS * np.arange(hours, dtype=np.int64),
            spot=prices,
            perp=prices * (1.0 + basis),
            mark=prices * (1.0 + basis),
            tradable=np.ones(hours, dtype=np.bool_),
            settlement_cash=cash,
            features=shown.astype(np.float32).reshape(-1, 1),
            spec=FeatureSpec(names=("carry_72h_apr",), lookback=1),
        )

    return make


@pytest.fixture(scope="session")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a whole dataset of two synthetic coins, the last ten days for the test."""
    folder = tmp_path_factory.mktemp("dataset")
    tickers = ("BTC", "ETH")
    data = DataSettings(tickers=tickers)
    market = synthetic_market(SyntheticSettings(hours=24 * 50), tickers)
    spec = FeatureSpec.of(FeatureSettings(lookback=24), sentiment=False)
    frame = pl.concat(
        [build_frame(market["spot", name], market["perp", name], name, data, None) for name in tickers]
    ).sort("Ticker", "Date")
    split = split_rows(frame, SplitSettings(test_days=10, min_train_days=20), spec.lookback)
    write_dataset(frame, spec, split, "0123456789abcdef", folder)
    return folder


@pytest.fixture(scope="session")
def make_bundle() -> BundleMaker:
    """Write an untrained but whole bundle for a dataset, and give its hash."""

    def make(
        folder: Path,
        dataset: Dataset,
        seed: int = 1,
        spec: FeatureSpec | None = None,
        train_end_ms: int | None = None,
    ) -> str:
        spec = spec or dataset.spec
        generator = torch.Generator().manual_seed(seed)
        experts = [ExpertPolicy(name, spec, (8,), generator) for name in EXPERTS]
        for expert in experts:  # an untrained expert votes near flat: a louder one trades
            for weights in expert.parameters():
                weights.data.mul_(30.0)
        policy = GatedPolicy(experts, (8,), 1.0, generator).eval()
        split = dataset.split
        metadata = BundleMetadata(
            created_at_ms=split.test_end_ms,
            expires_at_ms=split.test_end_ms + 14 * 24 * HOUR_MS,
            train_start_ms=split.train_start_ms,
            train_end_ms=split.train_end_ms - HOUR_MS if train_end_ms is None else train_end_ms,
            lineage={"market_version": dataset.market_version, "seed": str(seed)},
        )
        return save_bundle(folder, policy, dataset.scaler.to_json(), metadata)

    return make

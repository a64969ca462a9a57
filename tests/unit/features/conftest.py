"""A small synthetic market and what the features make of it."""

from pathlib import Path

import polars as pl
import pytest

from carryflow.features.build import UnifiedFrame
from carryflow.features.dataset import Dataset, split_rows, write_dataset
from carryflow.features.frame import build_frame
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.features.split import SplitSettings
from carryflow.market.data import DataSettings
from carryflow.market.synthetic import SyntheticSettings, synthetic_market

Legs = dict[tuple[str, str], pl.DataFrame]


@pytest.fixture(scope="session")
def legs() -> Legs:
    """Both legs of two coins over 40 days."""
    return synthetic_market(SyntheticSettings(hours=960), ("BTC", "ETH"))


@pytest.fixture(scope="session")
def unified(legs: Legs) -> UnifiedFrame:
    """The unified frame of the two coins, with windows of 24 bars."""
    frames = [build_frame(legs["spot", t], legs["perp", t], t, DataSettings()) for t in ("BTC", "ETH")]
    spec = FeatureSpec.of(FeatureSettings(lookback=24), sentiment=False)
    return UnifiedFrame(pl.concat(frames), spec, "a-market")


@pytest.fixture(scope="session")
def dataset_dir(unified: UnifiedFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    settings = SplitSettings(test_days=10, embargo_hours=24, min_train_days=10)
    split = split_rows(unified.table, settings, unified.spec.lookback)
    write_dataset(unified.table, unified.spec, split, unified.market_version, folder)
    return folder


@pytest.fixture
def dataset(dataset_dir: Path) -> Dataset:
    from carryflow.features.dataset import read_dataset

    return read_dataset(dataset_dir)

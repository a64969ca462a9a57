"""Feast as it is installed, over a small market: what is published is what is learned from and decided on."""

import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carryflow.core.errors import UnknownTickerError
from carryflow.features.build import UnifiedFrame, build_features, read_frame, write_frame
from carryflow.features.dataset import Dataset, read_dataset
from carryflow.features.spec import FeatureSettings
from carryflow.features.split import SplitSettings
from carryflow.features.windows import read_windows
from carryflow.market.data import DataSettings
from carryflow.market.store import merge_leg
from carryflow.market.synthetic import SyntheticSettings, synthetic_market
from carryflow.store.feast import OnlineFeatures, open_store, publish, training_set

SPLIT = SplitSettings(test_days=10, embargo_hours=24, min_train_days=10)
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Home:
    path: Path

    @property
    def frame_dir(self) -> Path:
        """Where a pipeline keeps the frame: anywhere but in the home's own folder."""
        return self.path / "artifacts" / "frame"

    @property
    def dataset_dir(self) -> Path:
        return self.path / "artifacts" / "dataset"

    @property
    def frame(self) -> UnifiedFrame:
        return read_frame(self.frame_dir)

    @property
    def dataset(self) -> Dataset:
        return read_dataset(self.dataset_dir)


def build(path: Path, hours: int = 960) -> Home:
    home, market = Home(path), path / "data" / "crypto"
    for (leg, ticker), table in synthetic_market(SyntheticSettings(hours=hours), ("BTC", "ETH")).items():
        merge_leg(market, leg, ticker, table)
    build_features(market, home.frame_dir, DataSettings(tickers=("BTC", "ETH")), FeatureSettings(lookback=24))
    return home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = build(tmp_path_factory.mktemp("home"))
    publish(home.frame_dir, home.path, created=datetime(2025, 3, 1, tzinfo=UTC))
    training_set(home.frame_dir, home.path, home.dataset_dir, SPLIT)
    return home


@pytest.mark.pitfall("P18")
def test_the_window_served_online_is_the_one_learned_from_to_the_last_bit(home: Home):
    online = OnlineFeatures(home.path)
    for ticker in ("BTC", "ETH"):
        served = online.latest_window(ticker)
        learned = home.dataset.raw(ticker)[-24:]
        assert served.window.dtype == learned.dtype == np.float32
        assert served.window.tobytes() == learned.tobytes()
        assert served.known_at_ms == home.dataset.known_at_ms(ticker)[-1]
        assert served.spec == home.dataset.spec


@pytest.mark.pitfall("P18")
def test_scaled_online_it_is_the_last_window_of_the_exported_array(home: Home):
    spec_hash = home.dataset.spec.hash
    windows, runs = read_windows(home.path / "data" / "processed" / "crypto_windows_24.npy", spec_hash)
    online = OnlineFeatures(home.path)
    for run in runs:
        served = home.dataset.scaler.transform(online.latest_window(run["ticker"]).window)
        assert served.tobytes() == windows[run["first"] + run["count"] - 1].tobytes()


def test_the_training_set_is_the_frame_joined_as_of_each_decision(home: Home):
    frame, dataset = home.frame, home.dataset
    told = frame.table.select(dataset.frame.columns).sort("Ticker", "Date")
    assert dataset.frame.equals(told)
    assert dataset.market_version == frame.market_version


@pytest.mark.pitfall("P18")
def test_a_republished_row_replaces_the_old_one_and_leaves_earlier_decisions_alone(tmp_path: Path):
    home = build(tmp_path)
    publish(home.frame_dir, home.path)
    training_set(home.frame_dir, home.path, tmp_path / "before", SPLIT)
    frame = home.frame
    corrected = frame.table["Date"][-1]
    table = frame.table.with_columns(
        pl.when(pl.col("Date") == corrected)
        .then(9.0)
        .otherwise(pl.col("basis_bp"))
        .cast(pl.Float32)
        .alias("basis_bp")
    )
    write_frame(replace(frame, table=table), home.frame_dir)
    publish(home.frame_dir, home.path)
    training_set(home.frame_dir, home.path, tmp_path / "after", SPLIT)
    before, after = read_dataset(tmp_path / "before").frame, read_dataset(tmp_path / "after").frame
    earlier = pl.col("Date") < corrected
    assert before.filter(earlier).equals(after.filter(earlier))
    assert after.filter(~earlier)["basis_bp"].to_list() == [9.0, 9.0]
    column = home.frame.spec.index("basis_bp")
    assert OnlineFeatures(home.path).latest_window("BTC").window[-1, column] == 9.0


def test_a_ticker_that_was_never_published_is_named(home: Home):
    with pytest.raises(UnknownTickerError, match="'DOGE'"):
        OnlineFeatures(home.path).latest_window("DOGE")


def test_the_repository_applies_as_a_feast_user_types_it(home: Home):
    """Copied into a home, `feature_repo/` describes that home's store and nothing else."""
    repository = home.path / "feature_repo"
    repository.mkdir()
    for file in (ROOT / "feature_repo").iterdir():
        if file.is_file():
            (repository / file.name).write_bytes(file.read_bytes())
    feast = Path(sys.executable).with_name("feast")
    applied = subprocess.run([feast, "apply"], cwd=repository, capture_output=True, text=True, check=False)
    assert applied.returncode == 0, applied.stderr
    store = open_store(home.path)
    assert [view.name for view in store.list_feature_views()] == ["carry_features", "carry_window"]
    assert [field.name for field in store.get_feature_view("carry_features").features] == [
        *home.dataset.spec.names
    ]
    assert OnlineFeatures(home.path).latest_window("BTC").spec == home.dataset.spec


def test_the_production_store_is_redis_over_object_storage(monkeypatch: pytest.MonkeyPatch):
    from feast.repo_config import load_repo_config

    monkeypatch.setenv("CARRYFLOW_HOME", "s3://carryflow")
    monkeypatch.setenv("CARRYFLOW_REDIS", "redis:6379")
    config = load_repo_config(ROOT, ROOT / "feature_repo" / "feature_store.production.yaml")
    assert config.online_store.type == "redis"
    assert config.online_store.connection_string == "redis:6379"
    assert config.registry.path == "s3://carryflow/feature_repo_state/registry.db"
    assert config.offline_store.type == "duckdb"


def test_a_frame_is_published_once_until_it_changes_or_the_store_is_lost(home: Home):
    def created() -> datetime:
        publish(home.frame_dir, home.path)
        return pl.read_parquet(home.path / "data" / "processed" / "features.parquet")["created"][0]

    first = created()
    assert created() == first
    (home.path / "feature_repo_state" / "published").unlink()
    assert created() > first

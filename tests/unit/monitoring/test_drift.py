from pathlib import Path

import polars as pl
import pytest

from carryflow.core.errors import MarketDataError
from carryflow.features.build import UnifiedFrame
from carryflow.features.dataset import split_rows, write_dataset
from carryflow.features.frame import build_frame
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.features.split import SplitSettings
from carryflow.market.data import DataSettings
from carryflow.market.synthetic import SyntheticSettings, synthetic_market
from carryflow.monitoring.drift import DriftSettings, check_drift

SPLIT = SplitSettings(test_days=10, embargo_hours=24, min_train_days=10)


@pytest.fixture(scope="module")
def unified() -> UnifiedFrame:
    legs = synthetic_market(SyntheticSettings(hours=960), ("BTC",))
    frame = build_frame(legs["spot", "BTC"], legs["perp", "BTC"], "BTC", DataSettings())
    return UnifiedFrame(frame, FeatureSpec.of(FeatureSettings(lookback=24), sentiment=False), "m")


def dataset(unified: UnifiedFrame, folder: Path, moved: dict[str, float]) -> Path:
    """Write a dataset whose test rows are drawn from its training rows, some features moved by deviations."""
    split = split_rows(unified.table, SPLIT, unified.spec.lookback)
    stamps = unified.table["KnownAt"].dt.epoch("ms").to_numpy()
    training = unified.table.filter(split.in_train(stamps))
    later = unified.table.filter(~split.in_train(stamps))
    again = training.select(unified.spec.published).sample(len(later), with_replacement=True, seed=5)
    shifted = again.with_columns(pl.col(n) + by * training[n].std() for n, by in moved.items())
    table = pl.concat([training, later.drop(unified.spec.published).hstack(shifted.cast(pl.Float32))])
    write_dataset(table, unified.spec, split, "m", folder)
    return folder


def test_hours_like_those_of_training_have_not_drifted(unified: UnifiedFrame, tmp_path: Path):
    report = check_drift(dataset(unified, tmp_path, {}), tmp_path / "drift.html", DriftSettings())
    assert report.columns == ()
    assert not report.drifted
    assert set(report.distances) == set(unified.spec.names)


@pytest.mark.parametrize("method", ["wasserstein", "psi"])
def test_the_features_that_moved_are_named_and_no_others(unified: UnifiedFrame, tmp_path: Path, method: str):
    moved = {"vol_24h_apr": 2.0, "momentum_168h": -2.0}
    settings = DriftSettings(method=method, threshold=0.5, share=2 / 14)
    report = check_drift(dataset(unified, tmp_path, moved), tmp_path / "drift.html", settings)
    assert set(report.columns) == set(moved)
    assert report.share == pytest.approx(2 / 14)
    assert report.drifted


def test_fewer_drifted_features_than_the_share_are_no_drift(unified: UnifiedFrame, tmp_path: Path):
    folder = dataset(unified, tmp_path, {"momentum_168h": 3.0})
    report = check_drift(folder, tmp_path / "drift.html", DriftSettings(share=0.5))
    assert report.columns == ("momentum_168h",)
    assert not report.drifted


def test_the_page_opens_without_a_network(unified: UnifiedFrame, tmp_path: Path):
    check_drift(dataset(unified, tmp_path, {}), tmp_path / "drift.html", DriftSettings())
    page = (tmp_path / "drift.html").read_text()
    assert "<script src=" not in page
    assert '<link rel="stylesheet" href="http' not in page
    assert "vol_24h_apr" in page


def test_a_folder_without_a_dataset_is_named(tmp_path: Path):
    with pytest.raises(MarketDataError, match="no dataset in"):
        check_drift(tmp_path, tmp_path / "drift.html", DriftSettings())

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carryflow.core.errors import MarketDataError, SchemaMismatchError
from carryflow.features.build import ORDER_SIZES, UnifiedFrame, build_features, read_frame
from carryflow.features.dataset import Dataset, read_dataset, split_rows, write_dataset
from carryflow.features.spec import FeatureSettings
from carryflow.features.split import SplitSettings
from carryflow.features.windows import export_windows, read_windows
from carryflow.market.data import DataSettings
from carryflow.market.store import market_version, merge_leg

SETTINGS = SplitSettings(test_days=10, embargo_hours=24, min_train_days=10)


def write(unified: UnifiedFrame, table: pl.DataFrame, folder: Path) -> Dataset:
    split = split_rows(unified.table, SETTINGS, unified.spec.lookback)
    return write_dataset(table, unified.spec, split, "m", folder)


@pytest.mark.pitfall("P16")
def test_the_scaler_is_fitted_on_training_rows_alone(unified: UnifiedFrame, tmp_path: Path):
    split = split_rows(unified.table, SETTINGS, unified.spec.lookback)
    later = pl.col("KnownAt").dt.epoch("ms") >= split.train_end_ms
    moved = unified.table.with_columns(
        pl.when(later).then(pl.col(name) * 7 + 1).otherwise(pl.col(name)).alias(name)
        for name in unified.spec.published
    )
    assert not moved.equals(unified.table)
    assert (
        write(unified, unified.table, tmp_path / "a").scaler == write(unified, moved, tmp_path / "b").scaler
    )


def test_a_dataset_reads_back_as_it_was_written(unified: UnifiedFrame, tmp_path: Path):
    written = write(unified, unified.table, tmp_path)
    again = read_dataset(tmp_path)
    assert again.frame.equals(written.frame)
    assert (again.spec, again.scaler, again.split) == (written.spec, written.scaler, written.split)
    assert (again.market_version, again.tickers) == ("m", ("BTC", "ETH"))


def test_a_write_cut_short_leaves_no_dataset_to_misread(unified: UnifiedFrame, tmp_path: Path):
    write(unified, unified.table, tmp_path)
    broken = unified.table.with_columns(pl.lit(float("nan"), pl.Float32).alias("liquidity"))
    with pytest.raises(MarketDataError, match="BTC: a feature is missing at"):
        write(unified, broken, tmp_path)
    assert read_dataset(tmp_path).frame.height == unified.table.height
    (tmp_path / "dataset.json").unlink()
    with pytest.raises(MarketDataError, match="no dataset in"):
        read_dataset(tmp_path)


def test_a_missing_hour_is_named(unified: UnifiedFrame, tmp_path: Path):
    gone = unified.table["Date"][100]
    gap = unified.table.filter(~((pl.col("Ticker") == "ETH") & (pl.col("Date") == gone)))
    with pytest.raises(MarketDataError, match="ETH: bars do not follow by 1 h at"):
        write(unified, gap, tmp_path)


@pytest.mark.pitfall("P18")
def test_a_card_that_does_not_match_its_spec_is_refused(unified: UnifiedFrame, tmp_path: Path):
    write(unified, unified.table, tmp_path)
    card = json.loads((tmp_path / "dataset.json").read_text())
    card["spec"]["names"][:2] = card["spec"]["names"][1::-1]
    (tmp_path / "dataset.json").write_text(json.dumps(card))
    with pytest.raises(SchemaMismatchError, match="was made for feature spec"):
        read_dataset(tmp_path)


def test_exported_windows_are_scaled_and_stay_within_their_ticker(dataset: Dataset, tmp_path: Path):
    path = export_windows(dataset, tmp_path)
    windows, runs = read_windows(path, dataset.spec.hash)
    assert path.name == "crypto_windows_24.npy"
    assert windows.dtype == np.float32
    assert windows.shape == (sum(run["count"] for run in runs), 24, len(dataset.spec.names))
    assert [run["ticker"] for run in runs] == ["BTC", "ETH"]
    for run in runs:
        own = dataset.scaled(run["ticker"])
        block = windows[run["first"] : run["first"] + run["count"]]
        np.testing.assert_array_equal(block[0], own[:24])
        np.testing.assert_array_equal(block[-1], own[-24:])
        np.testing.assert_array_equal(block[:, -1], own[23:])
        assert run["known_at_ms"] == dataset.known_at_ms(run["ticker"])[23]


@pytest.mark.pitfall("P18")
def test_windows_of_another_spec_or_without_their_card_are_refused(dataset: Dataset, tmp_path: Path):
    path = export_windows(dataset, tmp_path)
    with pytest.raises(SchemaMismatchError, match="wanted 0000"):
        read_windows(path, "0000")
    path.with_suffix(".json").unlink()
    with pytest.raises(SchemaMismatchError, match="cannot be trusted"):
        read_windows(path, dataset.spec.hash)


def test_features_are_built_from_the_files_of_the_market(legs, unified: UnifiedFrame, tmp_path: Path):
    for (leg, ticker), table in legs.items():
        merge_leg(tmp_path, leg, ticker, table)
    data = DataSettings(tickers=("BTC", "ETH"))
    build_features(tmp_path, tmp_path / "processed", data, FeatureSettings(lookback=24))
    built = read_frame(tmp_path / "processed")
    assert built.table.drop(ORDER_SIZES).equals(unified.table)
    assert built.spec == unified.spec
    assert built.market_version == market_version(tmp_path, ("BTC", "ETH"))

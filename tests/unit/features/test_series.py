import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carryflow.core.errors import MarketDataError, SchemaMismatchError
from carryflow.features.build import UnifiedFrame
from carryflow.features.dataset import Dataset, read_dataset, split_rows, write_dataset
from carryflow.features.series import open_series
from carryflow.features.spec import FeatureSpec
from carryflow.features.split import SplitSettings
from carryflow.features.windows import build_windows, read_windows, window_view


@pytest.mark.pitfall("P18")
def test_the_mapped_series_is_the_scaler_applied_to_the_raw_rows_to_the_last_bit(dataset: Dataset) -> None:
    for ticker in dataset.tickers:
        mapped = dataset.scaled(ticker)
        assert mapped.tobytes() == dataset.scaler.transform(dataset.raw(ticker)).tobytes()
        assert not mapped.flags.writeable
        # what training asks for is a view of the map, not a copy
        assert np.shares_memory(np.ascontiguousarray(mapped, dtype=np.float32), dataset.series.rows)


def test_the_series_takes_its_own_size_on_disk_and_no_more(dataset: Dataset) -> None:
    numbers = sum(len(dataset.raw(ticker)) for ticker in dataset.tickers) * len(dataset.spec.names)
    assert dataset.series.path.stat().st_size == pytest.approx(4 * numbers, abs=128)


def test_a_series_opens_without_the_table_beside_it(dataset: Dataset) -> None:
    series = open_series(dataset.series.path.parent)
    assert series.runs == dataset.series.runs
    assert series.of("ETH").tobytes() == dataset.scaled("ETH").tobytes()
    with pytest.raises(MarketDataError, match=r"has no ticker 'SOL'; it has BTC, ETH"):
        series.of("SOL")


def test_gathered_windows_are_those_of_the_view_in_the_order_asked_for(dataset: Dataset) -> None:
    series = dataset.series
    every = np.concatenate([window_view(dataset.scaled(ticker), 24) for ticker in dataset.tickers])
    assert len(every) == len(series.ends) == sum(series.window_counts.values())
    drawn = np.random.default_rng(4).integers(0, len(every), 300)
    out = np.empty((300, 24, every.shape[2]), dtype=np.float32)
    assert series.gather(series.ends[drawn], out) is out
    assert out.tobytes() == every[drawn].tobytes()
    assert series.gather(series.ends).tobytes() == every.tobytes()


@pytest.mark.pitfall("P16")
def test_a_window_across_two_tickers_or_beyond_the_series_is_refused_by_its_row(dataset: Dataset) -> None:
    series = dataset.series
    eth = series.runs[1].first
    for end in (-1, 22, eth, eth + 22, len(series.rows)):
        with pytest.raises(MarketDataError, match=f"row {end} of .* ends no window of 24"):
            series.gather(np.array([eth - 1, eth + 23, end]))


def test_a_series_of_another_dataset_is_refused(dataset_dir: Path, tmp_path: Path) -> None:
    for file in dataset_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with (tmp_path / "series.npy").open("wb") as file:
        np.save(file, np.zeros((7, 3), np.float32))
    with pytest.raises(SchemaMismatchError, match=r"holds float32 \(7, 3\), its card speaks of float32"):
        read_dataset(tmp_path)
    (tmp_path / "series.npy").write_bytes(b"cut short")
    with pytest.raises(SchemaMismatchError, match="cannot be mapped"):
        open_series(tmp_path)
    (tmp_path / "series.npy").unlink()
    with pytest.raises(SchemaMismatchError, match="build the training set again"):
        read_dataset(tmp_path)
    with pytest.raises(MarketDataError, match="no dataset in"):
        open_series(tmp_path / "nowhere")


def test_a_write_that_breaks_off_at_the_series_leaves_no_dataset_to_misread(
    unified: UnifiedFrame, tmp_path: Path
) -> None:
    split = split_rows(unified.table, SplitSettings(test_days=10, embargo_hours=24, min_train_days=10), 24)
    write_dataset(unified.table, unified.spec, split, "m", tmp_path)
    (tmp_path / "series.npy").unlink()
    (tmp_path / "series.npy").mkdir()
    with pytest.raises(IsADirectoryError):
        write_dataset(unified.table, unified.spec, split, "m", tmp_path)
    with pytest.raises(MarketDataError, match="no dataset in"):
        read_dataset(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"dataset.parquet", "series.npy"}


def test_windows_are_built_as_views_or_as_an_export_that_holds_the_same(
    dataset_dir: Path, tmp_path: Path
) -> None:
    mapped, exported = build_windows(dataset_dir), build_windows(dataset_dir, tmp_path)
    assert (mapped.path, mapped.exported) == (dataset_dir / "series.npy", False)
    assert (exported.path, exported.exported) == (tmp_path / "crypto_windows_24.npy", True)
    assert mapped.counts == exported.counts
    windows, runs = read_windows(exported.path, read_dataset(dataset_dir).spec.hash)
    assert windows.shape == (sum(mapped.counts.values()), *mapped.shape)
    assert {run["ticker"]: run["count"] for run in runs} == mapped.counts
    series = open_series(dataset_dir)
    assert windows.tobytes() == series.gather(series.ends).tobytes()


def test_a_dataset_shorter_than_a_window_has_none_to_build(unified: UnifiedFrame, tmp_path: Path) -> None:
    split = split_rows(unified.table, SplitSettings(test_days=10, embargo_hours=24, min_train_days=10), 24)
    write_dataset(unified.table, FeatureSpec(unified.spec.names, 10_000), split, "m", tmp_path)
    with pytest.raises(MarketDataError, match="has 10000 rows, one window"):
        build_windows(tmp_path)


def test_bars_of_a_quarter_hour_keep_their_length_and_bars_of_two_lengths_are_refused(
    unified: UnifiedFrame, tmp_path: Path
) -> None:
    start = unified.table["Date"].min()
    quarter = unified.table.with_columns(
        Date=start + (pl.col("Date") - start) / 4, KnownAt=start + (pl.col("KnownAt") - start) / 4
    ).with_columns(pl.col("Date", "KnownAt").cast(pl.Datetime("ms", "UTC")))
    settings = SplitSettings(test_days=2, embargo_hours=6, min_train_days=2)
    split = split_rows(quarter, settings, unified.spec.lookback)
    dataset = write_dataset(quarter, unified.spec, split, "m", tmp_path)
    assert dataset.bar_ms == json.loads((tmp_path / "dataset.json").read_text())["bar_ms"] == 900_000
    assert read_dataset(tmp_path).bar_ms == 900_000
    with pytest.raises(MarketDataError, match=r"lengths of \[900000, 3600000\] ms"):
        split_rows(pl.concat([quarter, unified.table]), settings, 24)

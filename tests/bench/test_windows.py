"""Windows of 48 bars × 12 features: opened, drawn as minibatches, and exported."""

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from carryflow.core.atomic import write_atomically
from carryflow.features.dataset import Dataset, write_dataset
from carryflow.features.series import open_series
from carryflow.features.spec import FeatureSpec
from carryflow.features.split import HOUR_MS, Split
from carryflow.features.windows import export_windows

Race = Callable[[Mapping[str, Callable[[], object]], Mapping[str, int]], dict[str, float]]

LOOKBACK, FEATURES, HOURS = 48, 12, 5 * 8760
BATCH = 256

pytestmark = pytest.mark.benchmark(group="windows of 48 bars × 12 features, 5 years of hours a ticker")


def dataset_of(folder: Path, tickers: int, hours: int) -> Dataset:
    """Write a dataset of noise; prices stand still, for nobody trades here."""
    generator = np.random.default_rng(3)
    names = tuple(f"feature_{k}" for k in range(FEATURES))
    opens = 1_600_000_000_000 // HOUR_MS * HOUR_MS + HOUR_MS * np.arange(hours)
    price = np.full(hours, 100.0)
    frames = [
        pl.DataFrame(
            {"Ticker": [f"T{k:02}"] * hours, "Date": opens, "KnownAt": opens + HOUR_MS}
            | dict.fromkeys(("SpotPrice", "PerpPrice", "MarkPrice", "SettleMark", "FundingRate"), price)
            | {"Tradable": np.ones(hours, np.bool_)}
            | {name: generator.normal(size=hours).astype(np.float32) for name in names}
        ).with_columns(pl.from_epoch(pl.col("Date", "KnownAt"), "ms").dt.replace_time_zone("UTC"))
        for k in range(tickers)
    ]
    end = int(opens[-1])
    split = Split(int(opens[0]), end - 100 * HOUR_MS, end - 50 * HOUR_MS, end)
    return write_dataset(pl.concat(frames), FeatureSpec(names, LOOKBACK), split, "noise", folder)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return dataset_of(tmp_path_factory.mktemp("windows"), tickers=1, hours=HOURS)


def all_windows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(sliding_window_view(rows, LOOKBACK, axis=0).transpose(0, 2, 1))


def test_opening_does_not_take_longer_when_there_are_a_hundred_times_as_many_windows(
    tmp_path: Path, race: Race
) -> None:
    """What is opened is a few rows of card and a mapping: 1 ms or less, and no more for 100 × the windows."""
    few, many = tmp_path / "few", tmp_path / "many"
    dataset_of(few, tickers=2, hours=500)
    dataset_of(many, tickers=2, hours=50_000)
    ratios = race(
        {
            "open 100 × the windows": lambda: open_series(many),
            "open few windows": lambda: open_series(few),
            "baseline: load 100 × the rows": lambda: np.load(many / "series.npy"),
        },
        {"open 100 × the windows": 200, "open few windows": 200, "baseline: load 100 × the rows": 20},
    )
    assert ratios["open few windows"] > 0.5
    begun = perf_counter()
    open_series(many)
    print(f"opened in {(perf_counter() - begun) * 1e3:.3f} ms")  # noqa: T201


@pytest.mark.parametrize("batch", [BATCH, 1024])
def test_a_random_minibatch_is_gathered_faster_from_the_series_than_indexed_from_the_materialised_array(
    dataset: Dataset, race: Race, batch: int
) -> None:
    """128 minibatches (batch, 48, 12), drawn anew each and dropped at once; the same rows for all."""
    series = dataset.series
    windows = all_windows(series.rows)
    draws = np.random.default_rng(5).integers(0, len(windows), (128, batch))
    np.testing.assert_array_equal(series.gather(series.ends[draws[0]]), windows[draws[0]])
    out = np.empty((batch, LOOKBACK, FEATURES), np.float32)

    def each(give: Callable[[NDArray[np.int64]], object], drawn: NDArray[np.int64]) -> Callable[[], None]:
        def work() -> None:
            for one in drawn:
                give(one)

        return work

    contestants = {
        "gather": each(series.gather, series.ends[draws]),
        "baseline: windows[index]": each(lambda index: windows[index], draws),
        "gather into one array": each(lambda rows: series.gather(rows, out), series.ends[draws]),
        "baseline: np.take into one array": each(
            lambda index: np.take(windows, index, axis=0, out=out, mode="clip"), draws
        ),
    }
    ratios = race(contestants, dict.fromkeys(contestants, 10))
    assert ratios["baseline: windows[index]"] >= 1.5
    assert ratios["baseline: np.take into one array"] / ratios["gather into one array"] >= 1.5


def test_the_export_is_as_fast_as_numpy_with_the_same_bytes_on_disk(
    dataset: Dataset, tmp_path: Path, race: Race
) -> None:
    """Both write the npy file of all 43,753 windows (101 MB) and force it to disk before they name it."""
    path = tmp_path / "baseline.npy"

    def baseline() -> None:
        with write_atomically(path) as temporary:
            np.save(temporary, all_windows(dataset.series.rows))

    name = "baseline: sliding_window_view, ascontiguousarray, save"
    ratios = race(
        {"export": lambda: export_windows(dataset, tmp_path), name: baseline}, {"export": 5, name: 5}
    )
    exported = tmp_path / f"crypto_windows_{LOOKBACK}.npy"
    np.testing.assert_array_equal(np.load(exported), np.load(path))
    assert ratios[name] >= 0.8

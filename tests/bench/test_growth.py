"""How the work on features grows with the number of tickers, and with shorter bars of the same days."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from carryflow.core.leg import LEGS
from carryflow.features.build import build_features, read_frame
from carryflow.features.dataset import split_rows, write_dataset
from carryflow.features.rolling import rolling_moments
from carryflow.features.series import open_series
from carryflow.features.spec import FeatureSettings
from carryflow.features.split import SplitSettings
from carryflow.market.data import DataSettings
from carryflow.market.store import merge_leg
from carryflow.market.timeframe import HOUR_MS, Timeframe, bar_ms

SIZES: list[tuple[int, Timeframe]] = [(1, "1h"), (10, "1h"), (100, "1h"), (1, "15m"), (1, "5m"), (1, "1m")]
DAYS = 60
SPLIT = SplitSettings(test_days=10, min_train_days=10)


def write_market(folder: Path, tickers: tuple[str, ...], timeframe: Timeframe) -> None:
    """Write the same random walk for every ticker, settled every 8 hours."""
    generator = np.random.default_rng(1)
    length_ms = bar_ms(timeframe)
    n = DAYS * 24 * HOUR_MS // length_ms
    opens = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp()) * 1000 + length_ms * np.arange(n)
    close = 100 * np.exp(np.cumsum(generator.normal(0, 0.01 * np.sqrt(length_ms / HOUR_MS), n)))
    opened = np.concatenate((close[:1], close[:-1]))
    bar = {
        "timestamp": pl.from_epoch(pl.Series(opens), "ms").dt.replace_time_zone("UTC"),
        "open": opened,
        "high": np.maximum(opened, close) * (1 + generator.uniform(1e-4, 1e-3, n)),
        "low": np.minimum(opened, close) * (1 - generator.uniform(1e-4, 1e-3, n)),
        "close": close,
        "volume": generator.lognormal(8, 1, n),
    }
    settled = np.where(opens % (8 * HOUR_MS) == 0, 1e-4, np.nan)
    perp = bar | {"mark_open": opened, "mark_close": close, "funding_rate": settled}
    for ticker in tickers:
        for leg, columns in zip(LEGS, (bar, perp), strict=True):
            merge_leg(folder, leg, ticker, pl.DataFrame(columns).fill_nan(None), timeframe)


@pytest.fixture(scope="module", params=SIZES, ids=[f"{tickers}x{timeframe}" for tickers, timeframe in SIZES])
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, DataSettings]:
    if request.config.getoption("benchmark_disable"):
        pytest.skip("growth is measured by make bench")
    tickers, timeframe = request.param
    names = tuple(f"T{k:03}" for k in range(tickers))
    folder = tmp_path_factory.mktemp("growth")
    write_market(folder, names, timeframe)
    return folder, DataSettings(tickers=names, timeframe=timeframe)


@pytest.mark.benchmark(group="features of 60 days built, read from Parquet and written to it")
def test_features_built(built: tuple[Path, DataSettings], benchmark: BenchmarkFixture) -> None:
    folder, data = built
    path = benchmark.pedantic(
        build_features, (folder, folder / "processed", data, FeatureSettings()), rounds=2, warmup_rounds=1
    )
    benchmark.extra_info["rows"] = pl.scan_parquet(path).select(pl.len()).collect().item()


@pytest.mark.benchmark(group="a training set of 60 days scaled and written")
def test_training_set_written(built: tuple[Path, DataSettings], benchmark: BenchmarkFixture) -> None:
    folder, data = built
    if not (folder / "processed" / "frame.json").is_file():
        build_features(folder, folder / "processed", data, FeatureSettings())
    frame = read_frame(folder / "processed")
    parts = split_rows(frame.table, SPLIT, frame.spec.lookback)
    benchmark.pedantic(
        write_dataset, (frame.table, frame.spec, parts, "m", folder / "set"), rounds=2, warmup_rounds=1
    )


@pytest.mark.benchmark(group="a training set opened, and 256 windows of 48 bars × 14 features gathered")
def test_minibatch_opened_and_gathered(built: tuple[Path, DataSettings], benchmark: BenchmarkFixture) -> None:
    folder, data = built
    if not (folder / "set" / "dataset.json").is_file():
        build_features(folder, folder / "processed", data, FeatureSettings())
        frame = read_frame(folder / "processed")
        parts = split_rows(frame.table, SPLIT, frame.spec.lookback)
        write_dataset(frame.table, frame.spec, parts, "m", folder / "set")
    every = open_series(folder / "set").ends
    ends = every[np.random.default_rng(0).integers(0, len(every), 256)]
    benchmark.extra_info["windows"] = len(every)
    benchmark.pedantic(lambda: open_series(folder / "set").gather(ends), rounds=200, warmup_rounds=5)


@pytest.mark.benchmark(group="mean and deviation over a week, 60 days")
@pytest.mark.parametrize(("tickers", "timeframe"), SIZES, ids=[f"{t}x{f}" for t, f in SIZES])
def test_rolling_moments(tickers: int, timeframe: Timeframe, benchmark: BenchmarkFixture) -> None:
    per_hour = HOUR_MS // bar_ms(timeframe)
    series = [np.random.default_rng(k).normal(size=DAYS * 24 * per_hour) for k in range(tickers)]

    def work() -> None:
        for one in series:
            rolling_moments(one, 168 * per_hour)

    benchmark.pedantic(work, rounds=20, warmup_rounds=2)

"""Five years of hours of a perpetual, written: streams of bytes under zstd, against the default of pandas.

Both grow with the number of rows: minutes are sixty times the hours, and cost about as much more.
"""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from carryflow.market.parquet import write_table
from carryflow.market.synthetic import SyntheticSettings, synthetic_market

pytestmark = pytest.mark.benchmark(group="five years of hours of a perpetual, written as Parquet")


@pytest.fixture(scope="module")
def hours() -> pl.DataFrame:
    return synthetic_market(SyntheticSettings(hours=5 * 365 * 24), ["BTC"])["perp", "BTC"]


def pandas_default(hours: pl.DataFrame, path: Path) -> Callable[[], None]:
    frame = hours.to_pandas()

    def write() -> None:
        frame.to_parquet(path)

    return write


def byte_streams(hours: pl.DataFrame, path: Path) -> Callable[[], None]:
    def write() -> None:
        write_table(hours, path)

    return write


@pytest.mark.parametrize("make", [pandas_default, byte_streams])
def test_time_to_write(
    make: Callable[[pl.DataFrame, Path], Callable[[], None]],
    hours: pl.DataFrame,
    tmp_path: Path,
    benchmark: BenchmarkFixture,
) -> None:
    path = tmp_path / "perp_BTC.parquet"
    benchmark(make(hours, path))
    benchmark.extra_info["bytes"] = path.stat().st_size


def test_the_file_is_no_larger_than_that_of_pandas(hours: pl.DataFrame, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.parquet", tmp_path / "theirs.parquet"
    byte_streams(hours, ours)()
    pandas_default(hours, theirs)()
    assert ours.stat().st_size <= 1.05 * theirs.stat().st_size

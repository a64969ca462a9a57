from functools import partial
from pathlib import Path

import polars as pl
import pytest

from carryflow.core.errors import CoverageError, MarketDataError
from carryflow.features.build import build_features, read_frame
from carryflow.features.spec import FeatureSettings
from carryflow.market.data import DataSettings
from carryflow.market.store import merge_leg
from carryflow.market.synthetic import SyntheticSettings, synthetic_market
from carryflow.training.partitions import ray_map

TICKERS = ("BTC", "ETH", "SOL")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One local cluster for the tests of this file."""
    ray = pytest.importorskip("ray")
    if ray.is_initialized():
        yield
        return
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def market_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("market")
    for (leg, ticker), table in synthetic_market(SyntheticSettings(hours=400), TICKERS).items():
        merge_leg(folder, leg, ticker, table)
    return folder


def test_features_by_partition_on_ray_are_those_of_one_process_to_the_last_bit(
    market_dir: Path, tmp_path: Path
) -> None:
    data, features = DataSettings(tickers=TICKERS), FeatureSettings(lookback=24)
    build_features(market_dir, tmp_path / "here", data, features)
    build_features(market_dir, tmp_path / "ray", data, features, ray_map)
    here, there = read_frame(tmp_path / "here"), read_frame(tmp_path / "ray")
    assert there.table["Ticker"].unique(maintain_order=True).to_list() == list(TICKERS)
    assert there.spec == here.spec
    for column in here.table:
        assert column.equals(there.table[column.name])
        if column.dtype.is_float():
            bits = pl.UInt32 if column.dtype == pl.Float32 else pl.UInt64
            assert column.reinterpret(dtype=bits).equals(there.table[column.name].reinterpret(dtype=bits))


def test_results_keep_the_order_of_their_items_whoever_finishes_first() -> None:
    assert ray_map(partial(int, base=2), ["111", "0", "10"]) == [7, 0, 2]
    assert ray_map(str, []) == []


def test_what_a_partition_raises_arrives_as_it_was(market_dir: Path, tmp_path: Path) -> None:
    data = DataSettings(tickers=("BTC", "XRP"))
    with pytest.raises(MarketDataError, match="XRP") as here:
        build_features(market_dir, tmp_path, data, FeatureSettings(lookback=24))
    with pytest.raises(MarketDataError, match="XRP") as there:
        build_features(market_dir, tmp_path, data, FeatureSettings(lookback=24), ray_map)
    assert (type(there.value), str(there.value)) == (type(here.value), str(here.value))
    assert not isinstance(there.value, CoverageError)
    assert not list(tmp_path.glob("frame.*"))

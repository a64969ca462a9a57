"""A small synthetic market with its features, and a rough one: a halt, an interval that changes."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carryflow.features.build import UnifiedFrame
from carryflow.features.dataset import Dataset, split_rows, write_dataset
from carryflow.features.frame import build_frame
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.features.split import SplitSettings
from carryflow.market.data import DataSettings
from carryflow.market.schema import validate_leg
from carryflow.market.synthetic import SyntheticSettings, synthetic_market
from carryflow.market.timeframe import HOUR_MS, Timeframe, bar_ms

Legs = dict[tuple[str, str], pl.DataFrame]
RoughMarket = Callable[..., tuple[pl.DataFrame, pl.DataFrame]]


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


@pytest.fixture(scope="session")
def rough() -> RoughMarket:
    """A function from hours and timeframe to (spot, perp): settled every 8 h, from the middle on every 2 h.

    Spot is halted for three hours at nine tenths; books are recorded in every bar of both legs.
    """
    return rough_legs


def rough_legs(hours: int, timeframe: Timeframe, halted: bool = True) -> tuple[pl.DataFrame, pl.DataFrame]:
    generator = np.random.default_rng(7)
    per_hour = HOUR_MS // bar_ms(timeframe)
    n = hours * per_hour
    first_ms = int(datetime(2024, 3, 1, tzinfo=UTC).timestamp()) * 1000
    open_ms = first_ms + np.arange(n) * bar_ms(timeframe)
    spot = 100 * np.exp(np.cumsum(generator.normal(0, 0.01, n)))
    perp = spot * (1 + generator.normal(5e-4, 1e-3, n))
    hour = np.arange(n) / per_hour
    settles = np.where(hour < 8 * (hours // 16), hour % 8 == 0, hour % 2 == 0)
    legs = []
    for close in (spot, perp):
        opened = np.concatenate(([close[0]], close[:-1]))
        half = generator.uniform(0.2, 2.0, n) * 1e-4 * close
        legs.append(
            {
                "timestamp": open_ms,
                "open": opened,
                "high": np.maximum(opened, close) * (1 + generator.uniform(0, 0.01, n)),
                "low": np.minimum(opened, close) * (1 - generator.uniform(0, 0.01, n)),
                "close": close,
                "volume": generator.lognormal(8, 1, n),
                "bid": close - half,
                "ask": close + half,
                "bid_depth": generator.lognormal(13, 1, n),
                "ask_depth": generator.lognormal(13, 1, n),
            }
        )
    legs[1] |= {
        "mark_open": legs[1]["open"] * 1.0001,
        "mark_close": perp * 1.0001,
        "funding_rate": np.where(settles, generator.normal(1e-4, 3e-4, n), np.nan),
    }
    tables = [
        pl.DataFrame(leg).with_columns(
            pl.from_epoch("timestamp", "ms").dt.replace_time_zone("UTC"), pl.col(pl.Float64).fill_nan(None)
        )
        for leg in legs
    ]
    first = n * 9 // 10 if halted else n
    halt = pl.int_range(pl.len()).is_between(first, first + 3 * per_hour, closed="left")
    return (
        validate_leg(tables[0].filter(~halt), "spot", timeframe=timeframe),
        validate_leg(tables[1], "perp", timeframe=timeframe),
    )

"""What model tests share: a local Ray, which takes ten seconds to start, and recorded hours, read plainly."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest


@pytest.fixture(scope="session")
def ray() -> Iterator[None]:
    from carryflow.training.hyperparameters import TrainSettings
    from carryflow.training.ppo import ray_cluster

    with ray_cluster(TrainSettings()):
        yield


@pytest.fixture(scope="session")
def read_plainly() -> Callable[[Path, str, np.ndarray], tuple[np.ndarray, ...]]:
    """Read a coin's files with nothing of the product, for recomputations that share no code with it.

    At each hour (UTC ms): closes of spot and perpetual, the mark, and what a short of one coin was paid since
    the hour before; the first hour pays those who came before it. The mark is the last price where none was
    recorded.
    """

    def read(folder: Path, ticker: str, hours: np.ndarray) -> tuple[np.ndarray, ...]:
        spot, perp = (pl.read_parquet(folder / f"{leg}_{ticker}.parquet") for leg in ("spot", "perp"))
        perp = perp.with_columns(
            pl.coalesce("mark_close", "close").alias("mark"),
            pl.coalesce("mark_open", "open").alias("settled"),
        )

        def at_close(table: pl.DataFrame, column: str) -> np.ndarray:
            closes = table["timestamp"].dt.epoch("ms").to_numpy() + 3_600_000
            return table[column].to_numpy()[np.searchsorted(closes, hours, side="right") - 1]

        paid = perp.filter(pl.col("funding_rate").is_not_null())
        received = np.zeros(len(hours))
        for stamp, rate, mark in paid.select(
            pl.col("timestamp").dt.epoch("ms"), "funding_rate", "settled"
        ).iter_rows():
            if hours[0] < stamp <= hours[-1]:
                received[(stamp - hours[0]) // 3_600_000] = rate * mark
        return at_close(spot, "close"), at_close(perp, "close"), at_close(perp, "mark"), received

    return read

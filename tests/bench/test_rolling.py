"""Mean and standard deviation over 24, 72 and 168 hours of 20 tickers, five years each: 5.3 million numbers.

Everyone gives both statistics (of the population, ddof 0; NaN or null until a window is full) at all three
widths for each of 876,000 rows, from the form that suits it best: carryflow and bottleneck from one array per
ticker, polars and pandas from one long table. What has been computed is dropped at once, so that the cost of
fresh memory, the same for all, does not hide the rest. A time is the best of several rounds in which all take
turns, so that a busy machine slows all alike.
"""

from collections.abc import Callable, Mapping

import bottleneck
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.typing import NDArray

from carryflow.features.rolling import rolling_moments

TICKERS, HOURS = 20, 5 * 8760
WIDTHS = (24, 72, 168)

Floats = NDArray[np.float64]
Race = Callable[[Mapping[str, Callable[[], object]], Mapping[str, int]], dict[str, float]]

pytestmark = pytest.mark.benchmark(group="mean and std of 20 tickers, 5 years of hours, 24/72/168 h")


@pytest.fixture(scope="module")
def series() -> list[Floats]:
    """Basis-like series in basis points: a level that wanders, and noise."""
    generator = np.random.default_rng(11)
    noise = generator.normal(0.0, 3.0, (TICKERS, HOURS))
    return [5.0 + np.cumsum(0.02 * row) + generator.permutation(row) for row in noise]


@pytest.fixture(scope="module")
def table(series: list[Floats]) -> pl.DataFrame:
    tickers = np.repeat([f"T{k:02}" for k in range(TICKERS)], HOURS)
    return pl.DataFrame({"ticker": tickers, "value": np.concatenate(series)})


def by_carryflow(one: Floats, width: int) -> tuple[Floats, Floats]:
    return rolling_moments(one, width, first_bar=473_352)  # 2024-01-01 00:00


def by_bottleneck(one: Floats, width: int) -> tuple[Floats, Floats]:
    return bottleneck.move_mean(one, width), bottleneck.move_std(one, width)


def by_polars(table: pl.DataFrame) -> pl.DataFrame:
    value = pl.col("value")
    return table.select(
        statistic.over("ticker").alias(f"{name} {width}")
        for width in WIDTHS
        for name, statistic in (
            ("mean", value.rolling_mean(width)),
            ("std", value.rolling_std(width, ddof=0)),
        )
    )


def by_pandas(frame: pd.DataFrame) -> list[pd.Series]:
    windows = [frame.groupby("ticker")["value"].rolling(width) for width in WIDTHS]
    return [statistic for window in windows for statistic in (window.mean(), window.std(ddof=0))]


def test_everyone_gives_the_same_numbers(series: list[Floats], table: pl.DataFrame) -> None:
    ours, bottlenecks = (
        [
            np.concatenate(parts)
            for width in WIDTHS
            for parts in zip(*(give(s, width) for s in series), strict=True)
        ]
        for give in (by_carryflow, by_bottleneck)
    )
    polars, pandas = by_polars(table), by_pandas(table.to_pandas())
    for k, numbers in enumerate(ours):
        for theirs in (bottlenecks[k], polars.to_series(k).to_numpy(), pandas[k].to_numpy()):
            np.testing.assert_allclose(numbers, theirs, rtol=1e-11, atol=1e-11)


def test_both_moments_in_one_pass_are_as_fast_as_promised(
    series: list[Floats], table: pl.DataFrame, race: Race
) -> None:
    frame = table.to_pandas()

    def ticker_by_ticker(give: Callable[[Floats, int], object]) -> Callable[[], None]:
        def work() -> None:
            for width in WIDTHS:
                for one in series:
                    give(one, width)

        return work

    ratios = race(
        {
            "carryflow": ticker_by_ticker(by_carryflow),
            "bottleneck": ticker_by_ticker(by_bottleneck),
            "polars .over": lambda: by_polars(table),
            "pandas groupby-rolling": lambda: by_pandas(frame),
        },
        {"carryflow": 15, "bottleneck": 15, "polars .over": 4, "pandas groupby-rolling": 2},
    )
    assert ratios["polars .over"] >= 8
    assert ratios["bottleneck"] >= 2
    assert ratios["pandas groupby-rolling"] >= 10

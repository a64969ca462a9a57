"""Look-ahead, caught by experiment: change the future, and the past's features must not move by a bit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

Compute = Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame]
"""From (spot leg, perpetual leg) to a table with `Date` and feature columns."""

_PRICES = ("open", "high", "low", "close", "mark_open", "mark_close")


@dataclass(frozen=True, slots=True)
class Leak:
    """Name a column whose value at `date` changed when only rows after `date` did."""

    column: str
    date: datetime
    future: str


def find_leaks(
    compute: Compute,
    spot: pl.DataFrame,
    perp: pl.DataFrame,
    dates: Sequence[datetime],
    generator: np.random.Generator,
) -> list[Leak]:
    """Compare the rows up to each date under three futures: as it was, another one, and none at all.

    A row of `compute` is dated by its bar's open. Whatever stands in the legs after that row is the future; a
    column of any row up to the date that differs by one bit, or is there under one future only, leaks it.

    Args:
        compute: what is tried.
        spot: spot leg.
        perp: perpetual leg.
        dates: bars after which the future is changed; each leaves enough history before it to compute.
        generator: draws the other future.

    Returns:
        The leaks, the newest date of each column only; empty for honest features.

    """
    told = compute(spot, perp)
    leaks = []
    for date in dates:
        futures = {
            "another": compute(
                _another_future(spot, date, generator), _another_future(perp, date, generator)
            ),
            "none": compute(_no_future(spot, date), _no_future(perp, date)),
        }
        past = told.filter(pl.col("Date") <= date)
        for future, table in futures.items():
            retold = table.filter(pl.col("Date") <= date)
            leaks += [Leak(column, when, future) for column, when in _differences(past, retold)]
    return leaks


def _no_future(leg: pl.DataFrame, date: datetime) -> pl.DataFrame:
    return leg.filter(pl.col("timestamp") <= date)


def _another_future(leg: pl.DataFrame, date: datetime, generator: np.random.Generator) -> pl.DataFrame:
    """Scale each later bar's prices by one draw, so that it stays a bar, its volume and funding by others."""
    later = pl.col("timestamp") > date
    n = len(leg)
    draws = {
        name: pl.lit(pl.Series(generator.lognormal(sigma=0.3, size=n)))
        for name in ("price", "volume", "rate")
    }
    scale = dict.fromkeys(_PRICES, draws["price"]) | {
        "bid": draws["price"],
        "ask": draws["price"],
        "bid_depth": draws["volume"],
        "ask_depth": draws["volume"],
        "volume": draws["volume"],
        "funding_rate": -draws["rate"],
    }
    return leg.with_columns(
        pl.when(later).then(pl.col(column) * by).otherwise(pl.col(column)).alias(column)
        for column, by in scale.items()
        if column in leg.columns
    )


def _differences(past: pl.DataFrame, retold: pl.DataFrame) -> list[tuple[str, datetime]]:
    """Give each column that differs, with the newest date at which it does."""
    if not past["Date"].equals(retold["Date"]):
        only_one = past.join(retold, on="Date", how="anti")["Date"].append(
            retold.join(past, on="Date", how="anti")["Date"]
        )
        return [("Date", only_one.sort()[-1])]
    found = []
    for column in past.columns:
        same = past[column].eq_missing(retold[column])
        if not same.all():
            found.append((column, past["Date"].filter(~same)[-1]))
    return found

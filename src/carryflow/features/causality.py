"""Look-ahead, caught by experiment: change the future, and what was known must not move by a bit.

The market is cut after a bar, and once more given another future from there; whatever is computed from the
three must agree, to the last bit, in all that is dated up to the bar. Nothing is taken on trust: `find_leaks`
tries any function of the market's tables, and `features.audit` what a policy is taught with.

A bar dated by its open is known at its close. Later bars are the future, and so is what sentiment says at
that close or after: like a rate settled there, a value stamped at the very instant of a decision is not yet
known.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import polars as pl

from carryflow.core.errors import CoverageError
from carryflow.market.timeframe import HOUR_MS

Future = Literal["another", "none"]

_PRICES = (
    "open",
    "high",
    "low",
    "close",
    "bid",
    "ask",
    "mark_open",
    "mark_close",
    "index_open",
    "index_close",
)


@dataclass(frozen=True, eq=False)
class Market:
    """Hold all that is told of one ticker, and may be told otherwise of the future.

    Attributes:
        spot: spot leg.
        perp: perpetual leg.
        sentiment: `timestamp, value`, or None.
        bar_ms: length of a bar (milliseconds).

    """

    spot: pl.DataFrame
    perp: pl.DataFrame
    sentiment: pl.DataFrame | None = None
    bar_ms: int = HOUR_MS

    def close(self, date: datetime) -> datetime:
        """Give the close of the bar that opens at `date`."""
        return date + timedelta(milliseconds=self.bar_ms)


Compute = Callable[[Market], pl.DataFrame]
"""From a market to a table with `Date` and columns to try."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Name what, at the bar that opened at `date`, changed when only the future did.

    Attributes:
        column: a feature or another column, or `scaler`, `window` or something observed; `Date` where the row
            is there under one future only, or nothing can be computed under the other.
        date: open of the newest bar at which it differed.
        future: the future under which it differed from what the whole market told.

    """

    column: str
    date: datetime
    future: Future


def find_leaks(
    compute: Compute, market: Market, dates: Sequence[datetime], generator: np.random.Generator
) -> list[Leak]:
    """Compare the rows up to each date under three futures: as it was, another one, and none at all.

    A row of `compute` is dated by its bar's open. Whatever stands in the legs after that row, and in
    sentiment from the bar's close on, is the future; a column of any row up to the date that differs by one
    bit, or is there under one future only, leaks it.

    Args:
        compute: what is tried.
        market: what it is tried on.
        dates: bars after which the future is changed; each leaves enough history before it to compute.
        generator: draws the other future.

    Returns:
        The leaks, the newest date of each column only; empty for honest features.

    """
    told = compute(market)
    leaks = []
    for date, future, later in futures(market, dates, generator):
        past = told.filter(pl.col("Date") <= date)
        try:
            retold = compute(later).filter(pl.col("Date") <= date)
        except CoverageError:  # what was known at the date does not do without what came after it
            leaks.append(Leak("Date", date, future))
            continue
        leaks += [Leak(column, when, future) for column, when in differences(past, retold)]
    return leaks


def futures(
    market: Market, dates: Sequence[datetime], generator: np.random.Generator
) -> Iterator[tuple[datetime, Future, Market]]:
    """Give each date with the market as it would be under each future of it."""
    for date in dates:
        known = pl.col("timestamp") < market.close(date)
        mood = market.sentiment
        yield (
            date,
            "another",
            replace(
                market,
                spot=_another_future(market.spot, date, generator),
                perp=_another_future(market.perp, date, generator),
                sentiment=None if mood is None else _another_mood(mood, known, generator),
            ),
        )
        told = pl.col("timestamp") <= date
        yield (
            date,
            "none",
            replace(
                market,
                spot=market.spot.filter(told),
                perp=market.perp.filter(told),
                sentiment=None if mood is None else mood.filter(known),
            ),
        )


def _another_future(leg: pl.DataFrame, date: datetime, generator: np.random.Generator) -> pl.DataFrame:
    """Scale each later bar's prices by one draw, so that it stays a bar, and the rest by others."""
    later = pl.col("timestamp") > date
    price, value, rate = (pl.lit(pl.Series(generator.lognormal(sigma=0.3, size=len(leg)))) for _ in range(3))
    numbers = [name for name, kind in leg.schema.items() if kind.is_float()]
    return leg.with_columns(
        pl.when(later)
        .then(pl.col(name) * (price if name in _PRICES else -rate if name.endswith("rate") else value))
        .otherwise(pl.col(name))
        .alias(name)
        for name in numbers
    )


def _another_mood(series: pl.DataFrame, known: pl.Expr, generator: np.random.Generator) -> pl.DataFrame:
    """Move each later value, up or down and by about as much as it is; the stamps stay."""
    value = pl.col("value")
    moved = value + (1 + value.abs()) * pl.lit(pl.Series(generator.normal(size=len(series))))
    return series.with_columns(value=pl.when(known).then(value).otherwise(moved))


def differences(past: pl.DataFrame, retold: pl.DataFrame) -> list[tuple[str, datetime]]:
    """Give each column that differs, with the newest date at which it does."""
    if not past["Date"].equals(retold["Date"]):
        only_one = past.join(retold, on="Date", how="anti")["Date"].append(
            retold.join(past, on="Date", how="anti")["Date"]
        )
        return [("Date", only_one.sort()[-1])]
    found = []
    for column in past.columns:
        same = _same_bits(past[column], retold[column])
        if not same.all():
            found.append((column, past["Date"].filter(~same)[-1]))
    return found


def _same_bits(told: pl.Series, retold: pl.Series) -> pl.Series:
    """Compare two columns row by row; 0 and −0 differ, and so do NaN and null."""
    same = told.eq_missing(retold)
    if told.dtype.is_float() and told.dtype == retold.dtype:
        bits = pl.UInt32 if told.dtype == pl.Float32 else pl.UInt64
        same = told.reinterpret(dtype=bits).eq_missing(retold.reinterpret(dtype=bits))
    return same

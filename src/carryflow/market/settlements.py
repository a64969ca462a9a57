"""What funding settled, when and on which mark, whatever the length of the bars beside it."""

from pathlib import Path
from typing import TypeVar

import polars as pl

from carryflow.core.errors import MarketDataError
from carryflow.market.leg_files import settlements_path
from carryflow.market.parquet import read_table, write_table
from carryflow.market.schema import TIMESTAMP, name_rows
from carryflow.market.store import read_leg
from carryflow.market.timeframe import Timeframe, holds_settlements

SETTLEMENT_COLUMNS: dict[str, pl.DataType] = {
    "timestamp": TIMESTAMP,
    "funding_rate": pl.Float64(),
    "mark": pl.Float64(),
}

Stamps = TypeVar("Stamps", int, pl.Series)

_LATENESS_MS = 60_000
"""Settlements are stamped milliseconds late; what happened within this minute happened at its start."""


def snap_settlement(stamps: Stamps) -> Stamps:
    """Return the instant (ms) that a settlement belongs to, or each of many, given the venue's late stamps.

    >>> snap_settlement(1_735_689_600_007), snap_settlement(pl.Series([1_735_689_659_999])).to_list()
    (1735689600000, [1735689600000])
    """
    return stamps // _LATENESS_MS * _LATENESS_MS


def read_settlements(
    data_dir: Path,
    ticker: str,
    start_ms: int | None = None,
    end_ms: int | None = None,
    timeframe: Timeframe = "1h",
) -> pl.DataFrame:
    """Return the settlements stamped in [start_ms, end_ms): timestamp, funding_rate, mark (null if unknown).

    Rates are per interval, longs pay shorts where positive; the mark is the venue's at the settlement
    (quote). Bars of an hour or less carry their settlements in their own rows, coarser ones beside them.

    Raises:
        MarketDataError: there is no such file, or its rows cannot be.
    """
    if holds_settlements(timeframe):
        return settlements_of(read_leg(data_dir, "perp", ticker, start_ms, end_ms, timeframe))
    path = settlements_path(data_dir, ticker)
    if not path.is_file():
        raise MarketDataError(
            f"{path} is not there, and bars of {timeframe} cannot hold settlements themselves; `carryflow "
            f"fetch` with {ticker} in data.tickers makes it"
        )
    return validate_settlements(read_table(path, (start_ms, end_ms)), ticker)


def settlements_of(perp: pl.DataFrame) -> pl.DataFrame:
    """Return the settlements that the rows of a validated perpetual leg carry."""
    return perp.filter(pl.col("funding_rate").is_not_null()).select(
        "timestamp", "funding_rate", mark="mark_open"
    )


def merge_settlements(data_dir: Path, ticker: str, table: pl.DataFrame) -> int:
    """Add settlements beside bars longer than an hour, atomically, and return how many are new.

    A new settlement replaces a stored one of the same instant; only a mark that is known stays where the new
    row has none.

    Raises:
        MarketDataError: the rows cannot be.
    """
    fresh = validate_settlements(table, ticker)
    path = settlements_path(data_dir, ticker)
    if not path.is_file():
        write_table(fresh, path)
        return len(fresh)
    stored = validate_settlements(read_table(path), ticker)
    known = fresh.join(stored, on="timestamp", how="left", suffix="_old").select(
        "timestamp", "funding_rate", pl.coalesce("mark", "mark_old").alias("mark")
    )
    older = stored.join(fresh, on="timestamp", how="anti")
    merged = pl.concat([older, known]).sort("timestamp")
    if not merged.equals(stored):
        write_table(merged, path)
    return len(merged) - len(stored)


def validate_settlements(table: pl.DataFrame, ticker: str = "") -> pl.DataFrame:
    """Return a table of settlements in its exact schema, or say which rows are wrong.

    Raises:
        MarketDataError: a column is missing or unknown, a stamp is not UTC, rows repeat or go backwards, a
            rate is missing or no number, or a mark is not positive.
    """
    where = f"settlements {ticker}".strip()
    if set(table.columns) != set(SETTLEMENT_COLUMNS):
        raise MarketDataError(f"{where}: columns are {table.columns}; expected {list(SETTLEMENT_COLUMNS)}")
    stamp = table.schema["timestamp"]
    if not isinstance(stamp, pl.Datetime) or stamp.time_zone != "UTC":
        raise MarketDataError(f"{where}: timestamp is {stamp}; it must be a UTC datetime")
    tidy = table.select([pl.col(c).cast(t) for c, t in SETTLEMENT_COLUMNS.items()])
    rate, mark = pl.col("funding_rate"), pl.col("mark")
    for problem, rows in [
        ("a missing stamp", pl.col("timestamp").is_null()),
        ("a repeated or unsorted row", pl.col("timestamp").diff().dt.total_milliseconds() <= 0),
        ("a missing rate, or one that is no number", ~rate.is_finite().fill_null(False)),
        ("a mark that is NaN or not positive", ~(mark.is_finite() & (mark > 0))),
    ]:
        bad = tidy.filter(rows)["timestamp"]
        if len(bad):
            raise MarketDataError(f"{where}: {problem} at {name_rows(bad)}; repair or drop these rows")
    return tidy

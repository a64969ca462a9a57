"""Sentiment: a dated series of the crowd's mood, read as it was known."""

from datetime import timedelta
from pathlib import Path

import polars as pl

from carryflow.core.errors import CoverageError, MarketDataError
from carryflow.market.schema import TIMESTAMP, name_rows

MAX_AGE = timedelta(days=3)
"""Oldest value still taken for today's mood: daily series skip a day now and then."""


def read_sentiment(path: Path) -> pl.DataFrame:
    """Read a series from Parquet or CSV: `timestamp` (UTC) and one column of numbers.

    Returns:
        timestamp, value; sorted, each stamp once.

    Raises:
        MarketDataError: the file is not there, has other columns, or holds a stamp twice or a value that is
        none.

    """
    if not path.is_file():
        raise MarketDataError(f"no sentiment series at {path}; set data.sentiment to a Parquet or CSV file")
    table = pl.read_csv(path, try_parse_dates=True) if path.suffix == ".csv" else pl.read_parquet(path)
    values = [name for name in table.columns if name != "timestamp"]
    if "timestamp" not in table.columns or len(values) != 1:
        raise MarketDataError(f"{path} holds {table.columns}; a sentiment series is timestamp and one value")
    stamp = pl.col("timestamp")
    if getattr(table.schema["timestamp"], "time_zone", None) is None:  # a date, or a time that names no zone
        stamp = stamp.cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    series = table.select(stamp.cast(TIMESTAMP), value=pl.col(values[0]).cast(pl.Float64)).sort("timestamp")
    bad = series.filter(
        pl.col("timestamp").is_duplicated() | ~pl.col("value").is_finite().fill_null(value=False)
    )
    if len(bad):
        raise MarketDataError(f"{path}: stamps twice or without a number at {name_rows(bad['timestamp'])}")
    return series


def sentiment_at(date: pl.Series, series: pl.DataFrame, ticker: str) -> pl.Series:
    """Give the newest value stamped at or before each bar's open, (n,): a stamp is when a value was known.

    Raises:
        CoverageError: the newest value is older than `MAX_AGE`, or there is none yet.

    """
    stamped = series.select("timestamp", "value", stamp="timestamp")
    known = pl.DataFrame({"timestamp": date}).join_asof(stamped, on="timestamp", strategy="backward")
    fresh = (pl.col("timestamp") - pl.col("stamp") <= MAX_AGE).fill_null(value=False)
    stale = known.filter(~fresh)["timestamp"]
    if len(stale):
        raise CoverageError(
            f"{ticker}: no sentiment of the last {MAX_AGE.days} days at {name_rows(stale)}; give a series "
            "that covers these hours, or leave data.sentiment empty"
        )
    return known["value"]

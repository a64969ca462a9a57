"""Sentiment: a dated series of the crowd's mood, read as it was known.

A stamp is the instant at which its value was published. A daily series dated by the day that it describes is
known only once that day is over, and must be shifted to when it was published; no audit can tell.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.errors import CoverageError, MarketDataError
from carryflow.features.alignment import AlignedHours
from carryflow.market.imports.stamps import stamps_ms
from carryflow.market.imports.text_tables import read_csv
from carryflow.market.parquet import read_table
from carryflow.market.schema import TIMESTAMP, name_rows

MAX_AGE = timedelta(days=3)
"""Oldest value still taken for today's mood: daily series skip a day now and then."""

FIRST_STAMP = datetime(2009, 1, 1, tzinfo=UTC)
"""Bitcoin's first block is of that week; an older stamp is one whose unit was misread."""


def read_sentiment(path: Path) -> pl.DataFrame:
    """Read a series from Parquet or CSV: `timestamp`, when the value was published, and a column of numbers.

    Stamps are dates or times, without a zone in UTC, or epochs whose size tells their unit: seconds, as
    alternative.me gives them, milliseconds or finer.

    Returns:
        timestamp, value; sorted, each stamp once.

    Raises:
        MarketDataError: the file is not there or cannot be read, has other columns, or holds a stamp that is
            none, is older than Bitcoin or is there twice, or a value that is no number; the rows are named.

    """
    table, first_line = _read(path)
    values = [name for name in table.columns if name != "timestamp"]
    if "timestamp" not in table.columns or len(values) != 1:
        raise MarketDataError(
            f"{path} holds {table.columns}; a sentiment series is timestamp and one value column: name them "
            "so and leave the others out"
        )
    series = pl.DataFrame(
        {
            "timestamp": _stamps(table["timestamp"], path, first_line),
            "value": _numbers(table[values[0]], path, first_line),
        }
    )
    early = (series["timestamp"] < FIRST_STAMP).arg_true()
    if len(early):
        raise MarketDataError(
            f"{path}{_place(early[0], first_line)}: the stamp {series['timestamp'][early[0]]:%Y-%m-%d %H:%M} "
            f"is before {FIRST_STAMP:%Y}, when there were no coins; check the unit that it was written in"
        )
    twice = series.filter(pl.col("timestamp").is_duplicated())["timestamp"].unique().sort()
    if len(twice):
        raise MarketDataError(f"{path}: stamps twice at {name_rows(twice)}; keep one value each")
    return series.sort("timestamp")


def with_sentiment(hours: AlignedHours, series: pl.DataFrame) -> AlignedHours:
    """Add the newest value stamped at or before each bar's open: a stamp is when a value was known.

    Returns:
        The bars with `Sentiment` and `SentimentKnownAt` (the value's stamp).

    Raises:
        CoverageError: the newest value is older than `MAX_AGE`, or there is none yet.

    """
    stamped = series.select(Date="timestamp", Sentiment="value", SentimentKnownAt="timestamp")
    known = hours.table.select("Date").join_asof(stamped, on="Date", strategy="backward")
    fresh = (pl.col("Date") - pl.col("SentimentKnownAt") <= MAX_AGE).fill_null(value=False)
    stale = known.filter(~fresh)["Date"]
    if len(stale):
        raise CoverageError(
            f"{hours.ticker}: no sentiment of the last {MAX_AGE.days} days at {name_rows(stale)}; give a "
            "series that covers these hours, or leave data.sentiment empty"
        )
    return replace(hours, table=hours.table.hstack(known.drop("Date")))


def sentiment(hours: AlignedHours) -> NDArray[np.float64]:
    """Give the series' newest value as it was known at the bar's open, (n,), in the series' unit.

    >>> sentiment(AlignedHours("BTC", pl.DataFrame({"Sentiment": [25.0, 25.0]})))
    array([25., 25.])
    """
    return hours["Sentiment"]


def _read(path: Path) -> tuple[pl.DataFrame, int | None]:
    """Give a file's table, and for a CSV, whose cells are texts, the line that the first row stands in."""
    if not path.is_file():
        raise MarketDataError(f"no sentiment series at {path}; set data.sentiment to a Parquet or CSV file")
    if path.suffix.lower() != ".csv":
        return read_table(path), None
    try:
        text = read_csv(path)
    except OSError as problem:
        raise MarketDataError(f"{path} cannot be read ({problem.strerror}); put it back") from None
    return text.cells, text.first_line


def _stamps(stamps: pl.Series, path: Path, first_line: int | None) -> pl.Series:
    """Give stamps as the schema's."""
    kind = stamps.dtype
    if kind.is_numeric() or kind == pl.String:
        return stamps_ms(stamps, str(path), first_line).cast(TIMESTAMP)
    if not isinstance(kind, pl.Datetime) and kind != pl.Date:
        raise MarketDataError(f"{path}: column timestamp holds {kind}, which is no stamp; write ISO dates")
    if stamps.null_count():
        row = stamps.is_null().arg_true()[0]
        raise MarketDataError(f"{path}{_place(row, first_line)}: there is no stamp; leave the row out")
    if getattr(kind, "time_zone", None) is None:  # a date, or a time that names no zone
        stamps = stamps.cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    return stamps.cast(TIMESTAMP)


def _numbers(values: pl.Series, path: Path, first_line: int | None) -> pl.Series:
    """Give values as float64, each of them a number."""
    try:
        texts = values.str.strip_chars() if values.dtype == pl.String else values
        numbers = texts.cast(pl.Float64, strict=False)
    except pl.exceptions.PolarsError:
        raise MarketDataError(
            f"{path}: column {values.name} holds {values.dtype}, which is no number; convert it"
        ) from None
    wrong = (~numbers.is_finite().fill_null(value=False)).arg_true()
    if len(wrong):
        raise MarketDataError(
            f"{path}{_place(wrong[0], first_line)}: column {values.name} holds {values[wrong[0]]!r}, which "
            "is no number; give the value, or leave the row out"
        )
    return numbers


def _place(row: int, first_line: int | None) -> str:
    return f" row {row + 1}" if first_line is None else f" line {row + first_line}"

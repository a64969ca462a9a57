"""The published history: versions of rows are appended, never changed, and cut out as known on any day.

A row has happened at `event_timestamp`, the close of its bar, and was published at `created`. Publishing it
again unchanged keeps the version that is there; a corrected or back-filled row becomes a new version, which
is not there for whoever asks as of an earlier day.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import numpy as np
import polars as pl

from carryflow.core.errors import MarketDataError, SchemaMismatchError, SettingsError
from carryflow.features.dataset import MARKET_COLUMNS
from carryflow.features.spec import FeatureSpec
from carryflow.features.windows import window_view

Table = TypeVar("Table", pl.DataFrame, pl.LazyFrame)

KEYS = ("ticker", "venue", "event_timestamp")
CREATED = "created"

CLOCKS = {
    "bar": ("KnownAt", "known_at_ms"),
    "funding": ("FundingKnownAt", "funding_known_at_ms"),
    "sentiment": ("SentimentKnownAt", "sentiment_known_at_ms"),
}
"""Column of the frame and column of the store for each clock that a feature can be dated by."""

MARKET = tuple(name for name in MARKET_COLUMNS if name not in {"Ticker", "KnownAt"})
"""What the training set needs of a row beside its features, under the frame's own names."""

WINDOWS_KEPT = 24
"""Newest windows published per ticker: the last is served online, the day shows what was."""


def published_rows(table: Table, spec: FeatureSpec, venue: str) -> Table:
    """Give the rows of a unified frame as they are published: keys, clocks, market, raw features of the spec.

    A table that is not read yet stays unread.

    Raises:
        SchemaMismatchError: the frame lacks a column.
    """
    held = table.collect_schema()
    lacking = [name for name in (*MARKET, *spec.published, "Ticker", "KnownAt") if name not in held]
    if lacking:
        raise SchemaMismatchError(f"the frame lacks {', '.join(lacking)}; build the features again")
    clocks = [
        (pl.col(told).dt.epoch("ms") if told in held else pl.lit(None, pl.Int64)).alias(name)
        for told, name in CLOCKS.values()
    ]
    return table.select(
        pl.col("Ticker").alias("ticker"),
        pl.lit(venue).alias("venue"),
        pl.col("KnownAt").dt.cast_time_unit("us").alias("event_timestamp"),
        *clocks,
        pl.col("Date").dt.cast_time_unit("us"),
        *(name for name in MARKET if name != "Date"),
        *(pl.col(name).cast(pl.Float32) for name in spec.published),
    )


def changed_rows(
    history: pl.LazyFrame, rows: pl.LazyFrame, *, only_unpublished: bool = False
) -> pl.DataFrame:
    """Give the rows that are not published yet, or were published with any other value.

    Columns are compared one after the other: the tables may be larger than memory, and mostly agree.

    Args:
        history: versions, those of one row in the order of their publication.
        rows: one version of each row, as `published_rows` gives them.
        only_unpublished: leave out rows that have a version, whatever it says.

    Raises:
        SchemaMismatchError: the history has other columns.
    """
    names = rows.collect_schema().names()
    if odd := sorted(set(history.collect_schema()) ^ {*names, CREATED}):
        raise SchemaMismatchError(
            f"the published history has columns {odd} too many or too few; it was written by other code: "
            "move it away and publish again"
        )
    place = _newest_places(history, rows)
    changed = place.is_null()
    for name in () if only_unpublished else (name for name in names if name not in KEYS):
        changed |= _column(rows, name).ne_missing(_column(history, name).gather(place))
    return pl.DataFrame([_column(rows, name).filter(changed) for name in names])


def _newest_places(history: pl.LazyFrame, rows: pl.LazyFrame) -> pl.Series:
    """Give the place in the history of each row's newest version, null where there is none.

    Ticker by ticker: to match the keys of all at once takes more memory than all that is compared.
    """
    held, asked = (
        table.select(pl.col("ticker", "venue").cast(pl.Categorical), "event_timestamp")
        .with_row_index("place")
        .collect()
        for table in (history, rows)
    )
    found = []
    for (ticker, venue), own in asked.group_by("ticker", "venue", maintain_order=True):
        versions = held.filter((pl.col("ticker") == ticker) & (pl.col("venue") == venue))
        newest = versions.select("event_timestamp", newest="place").unique("event_timestamp", keep="last")
        found.append(own.join(newest, on="event_timestamp", how="left").select("place", "newest"))
    return pl.concat(found).sort("place")["newest"]


def _column(table: pl.LazyFrame, name: str) -> pl.Series:
    return table.select(name).collect().to_series()


def stamp_versions(changed: pl.DataFrame, newest: datetime | None, created: datetime | None) -> pl.DataFrame:
    """Date changed rows as versions of an instant (UTC), that they may be appended.

    Args:
        changed: what `changed_rows` gave.
        newest: when the newest version that there is was published; None where there is none.
        created: when these are, now by default.

    Raises:
        MarketDataError: the instant is not after what is published, so that it would not be the newest
            version.
    """
    if created is None:
        now = datetime.now(UTC)  # two publications may share a microsecond
        created = now if newest is None or newest < now else newest + timedelta(microseconds=1)
    elif newest is not None and not changed.is_empty() and created <= newest:
        raise MarketDataError(
            f"rows were published at {newest:%Y-%m-%d %H:%M:%S.%f} UTC, and a correction of them cannot be "
            f"of {created:%Y-%m-%d %H:%M:%S.%f}; check this machine's clock"
        )
    return changed.with_columns(pl.lit(created).dt.cast_time_unit("us").alias(CREATED))


def as_known(history: pl.DataFrame, as_of: datetime | None) -> pl.DataFrame:
    """Cut the history to what was published by an instant (UTC), the whole for None.

    Raises:
        SettingsError: the instant does not say its time zone.
    """
    if as_of is not None and as_of.tzinfo is None:
        raise SettingsError(
            f"as of {as_of} may be any of 26 instants; name the time zone, such as {as_of}+00:00"
        )
    return history if as_of is None else history.filter(pl.col(CREATED) <= as_of)


def newest_versions(history: pl.DataFrame) -> pl.DataFrame:
    """Keep the version of each row that was published last, by ticker, venue and time."""
    return history.sort(*KEYS, CREATED).unique(KEYS, keep="last", maintain_order=True)


def served_rows(history: pl.LazyFrame, tickers: Sequence[str], end_ms: int, bars: int) -> pl.DataFrame:
    """Give the newest version of each row that is served: the last of these tickers, known up to an end.

    Args:
        history: versions of rows.
        tickers: whose rows are served.
        end_ms: when the newest row that is served was known (UTC, milliseconds).
        bars: rows per ticker.
    """
    served = history.filter(
        pl.col("ticker").is_in(tickers) & (pl.col("event_timestamp").dt.epoch("ms") <= end_ms)
    )
    stamp = pl.col("event_timestamp")
    last = (
        served.group_by("ticker", "venue")
        .agg(stamp.unique().top_k(bars))
        .explode("event_timestamp")
        .collect()
    )
    first = pl.lit(last["event_timestamp"].min(), last.schema["event_timestamp"])
    since = served.filter(stamp >= first)  # reads the end of the table only
    return newest_versions(since.join(last.lazy(), on=KEYS, how="semi").collect())


def newest_windows(rows: pl.DataFrame, spec: FeatureSpec) -> pl.DataFrame:
    """Flatten the newest windows of each ticker into rows with their spec, in the form of `carry_window`.

    Args:
        rows: one version of each row, sorted by time within a ticker and venue, with `created`.
        spec: names and order of the features.

    Raises:
        MarketDataError: a ticker has fewer rows than a window, or the bars of one do not follow each other.
    """
    tables = []
    for (ticker, venue), table in rows.group_by("ticker", "venue", maintain_order=True):
        if len(table) < spec.lookback:
            raise MarketDataError(
                f"{ticker} at {venue}: {len(table)} rows are fewer than one window of {spec.lookback}"
            )
        newest = _unbroken(
            table.tail(spec.lookback + WINDOWS_KEPT - 1), spec.lookback, f"{ticker} at {venue}"
        )
        windows = window_view(newest.select(spec.published).to_numpy(order="c"), spec.lookback)
        flat = np.ascontiguousarray(windows).reshape(len(windows), spec.published_window_size)
        ends = newest.tail(len(windows)).select(*KEYS, *(name for _, name in CLOCKS.values()))
        tables.append(
            ends.with_columns(
                window=pl.Series(flat).arr.to_list(),
                spec=pl.lit(spec.to_json()),
                spec_hash=pl.lit(spec.hash),
            )
        )
    return pl.concat(tables)


def _unbroken(newest: pl.DataFrame, lookback: int, name: str) -> pl.DataFrame:
    """Keep the newest bars that follow each other: a window never spans a gap."""
    known_at, opened = (newest[column].dt.epoch("ms").to_numpy() for column in ("event_timestamp", "Date"))
    breaks = np.flatnonzero(opened[1:] != known_at[:-1])
    unbroken = newest[int(breaks[-1]) + 1 :] if len(breaks) else newest
    if len(unbroken) < lookback:
        missing = newest["event_timestamp"][int(breaks[-1])]
        raise MarketDataError(
            f"{name}: no bar follows the one known at {missing:%Y-%m-%d %H:%M} UTC, so that the newest "
            f"window of {lookback} bars has a hole; fetch what is missing, build the features and publish "
            "them"
        )
    return unbroken

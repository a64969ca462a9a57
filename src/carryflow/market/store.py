"""The market on disk: one Parquet file per leg and ticker, merged atomically, from one source only."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import MarketDataError
from carryflow.market.schema import BOOK_COLUMNS, LEGS, Leg, leg_columns, validate_leg


@dataclass(frozen=True, slots=True)
class Source:
    """Name where the hours in a folder come from, and the venue's clock when they were last asked for."""

    venue: str
    tape_id: str
    venue_time_ms: int


def leg_path(data_dir: Path, leg: Leg, ticker: str) -> Path:
    """Return the file of one leg of one ticker.

    >>> leg_path(Path("data/crypto"), "perp", "BTC").as_posix()
    'data/crypto/perp_BTC.parquet'
    """
    return data_dir / f"{leg}_{ticker}.parquet"


def read_leg(
    data_dir: Path, leg: Leg, ticker: str, start_ms: int | None = None, end_ms: int | None = None
) -> pl.DataFrame:
    """Read one leg, validated; only rows stamped in [start_ms, end_ms) where these are given.

    Raises:
        MarketDataError: there is no such file, or its rows are not as the schema says.
    """
    path = leg_path(data_dir, leg, ticker)
    if not path.is_file():
        raise MarketDataError(
            f"{path} is not there; `carryflow fetch` with {ticker} in data.tickers makes it"
        )
    stamp = pl.col("timestamp").dt.epoch("ms")
    try:
        table = pl.read_parquet(path)
    except pl.exceptions.PolarsError:
        raise MarketDataError(
            f"{path} is no Parquet file; put it back, or remove it and fetch again"
        ) from None
    if start_ms is not None:
        table = table.filter(stamp >= start_ms)
    if end_ms is not None:
        table = table.filter(stamp < end_ms)
    return validate_leg(table, leg, ticker)


def merge_leg(data_dir: Path, leg: Leg, ticker: str, rows: pl.DataFrame) -> int:
    """Add rows to a leg's file, atomically, and return how many stamps are new.

    A new row replaces a stored one of the same stamp; only a book that was recorded earlier stays where the
    new row has none, since a book cannot be asked for again.

    Raises:
        MarketDataError: the rows are not as the schema says.
    """
    fresh = validate_leg(rows, leg, ticker)
    path = leg_path(data_dir, leg, ticker)
    if not path.is_file():
        _write(path, fresh)
        return len(fresh)
    stored = read_leg(data_dir, leg, ticker)
    books = stored.select("timestamp", *(pl.col(c).alias(f"old_{c}") for c in BOOK_COLUMNS))
    no_book = pl.all_horizontal(pl.col(*BOOK_COLUMNS).is_null())
    kept = fresh.join(books, on="timestamp", how="left").with_columns(
        pl.when(no_book).then(pl.col(f"old_{c}")).otherwise(pl.col(c)).alias(c) for c in BOOK_COLUMNS
    )
    older = stored.join(fresh.select("timestamp"), on="timestamp", how="anti")
    merged = pl.concat([older, kept.select(list(leg_columns(leg)))]).sort("timestamp")
    if not merged.equals(stored):
        _write(path, validate_leg(merged, leg, ticker))
    return len(merged) - len(stored)


def read_source(data_dir: Path) -> Source | None:
    """Return where the folder's hours come from, or None for a folder that nothing was fetched into yet."""
    path = data_dir / "source.json"
    return Source(**json.loads(path.read_text())) if path.is_file() else None


def write_source(data_dir: Path, source: Source) -> None:
    """Record where the folder's hours come from.

    Raises:
        MarketDataError: the folder already holds hours of another venue or tape.
    """
    before = read_source(data_dir)
    if before is not None and (before.venue, before.tape_id) != (source.venue, source.tape_id):
        raise MarketDataError(
            f"{data_dir} holds hours of {before.venue} {before.tape_id}, and {source.venue} {source.tape_id} "
            "must not be mixed in; choose another home (-o home=…) or remove that folder"
        )
    data_dir.mkdir(parents=True, exist_ok=True)
    with write_atomically(data_dir / "source.json") as temporary:
        temporary.write_text(json.dumps(asdict(source), indent=2) + "\n")


def market_version(data_dir: Path, tickers: Sequence[str], sentiment: Path | None = None) -> str:
    """Return 16 hexadecimal digits that change when any value of any row of these tickers changes.

    How the rows came onto the disk, in one fetch or in many, changes nothing. A file of sentiment counts by
    its bytes.

    Raises:
        MarketDataError: a leg or the file of sentiment is not there.
    """
    digest = hashlib.sha256()
    if sentiment is not None:
        if not sentiment.is_file():
            raise MarketDataError(
                f"no sentiment at {sentiment}; name a dated series, or leave data.sentiment out"
            )
        digest.update(sentiment.read_bytes())
    for ticker in sorted(tickers):
        for leg in LEGS:
            digest.update(f"{leg} {ticker}".encode())
            for column in read_leg(data_dir, leg, ticker).iter_columns():
                digest.update(column.is_null().to_numpy().tobytes())
                digest.update(column.to_physical().fill_null(0).to_numpy().tobytes())
    return digest.hexdigest()[:16]


def _write(path: Path, table: pl.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as temporary:
        table.write_parquet(temporary, statistics=True)

"""The market on disk: one Parquet file per leg and ticker, merged atomically, from one source only."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import MarketDataError
from carryflow.core.leg import LEGS, Leg
from carryflow.market.leg_files import (
    agree,
    all_parts,
    is_stored,
    leg_path,
    overlay,
    part_folder,
    pending_parts,
    settlements_path,
    stored_rows,
    write_leg,
)
from carryflow.market.parquet import read_table
from carryflow.market.schema import OPTIONAL_COLUMNS, validate_leg
from carryflow.market.timeframe import Timeframe, bar_ms

__all__ = [
    "Source",
    "fold",
    "is_stored",
    "leg_path",
    "market_version",
    "merge_leg",
    "read_leg",
    "read_source",
    "stored_runs",
    "write_source",
]


@dataclass(frozen=True, slots=True)
class Source:
    """Name where a folder's bars come from, how long they are, and the venue's clock at the last fetch."""

    venue: str
    tape_id: str
    venue_time_ms: int
    timeframe: Timeframe = "1h"


def read_leg(
    data_dir: Path,
    leg: Leg,
    ticker: str,
    start_ms: int | None = None,
    end_ms: int | None = None,
    timeframe: Timeframe = "1h",
) -> pl.DataFrame:
    """Read one leg, validated, pending parts included; only rows in [start_ms, end_ms) where these are given.

    Raises:
        MarketDataError: there is no such file, it is broken, or its rows are not as the schema says.
    """
    return stored_rows(data_dir, leg, ticker, timeframe, (start_ms, end_ms))


def merge_leg(
    data_dir: Path,
    leg: Leg,
    ticker: str,
    rows: pl.DataFrame,
    timeframe: Timeframe = "1h",
    on_conflict: Literal["replace", "refuse"] = "replace",
) -> int:
    """Add rows to a leg's file, atomically, and return how many stamps are new.

    A new row replaces a stored one of the same stamp; only a book or a predicted rate that was recorded
    earlier stays where the new row has none, since neither can be asked for again. With `refuse`, a stored
    value is never replaced: what either row lacks is filled in from the other.

    Raises:
        MarketDataError: the rows are not as the schema says, or contradict stored ones that may not be
            replaced.
    """
    fresh = validate_leg(rows, leg, ticker, timeframe)
    if not is_stored(data_dir, leg, ticker):
        fold(data_dir, leg, ticker, fresh, [])
        return len(fresh)
    parts = all_parts(data_dir, leg, ticker)
    stored = read_leg(data_dir, leg, ticker, timeframe=timeframe)
    if on_conflict == "refuse":
        fresh = agree(stored, fresh, leg, ticker)
    merged = overlay(stored, fresh, leg)
    if parts or not merged.equals(stored):
        fold(data_dir, leg, ticker, merged, parts)
    return len(merged) - len(stored)


def fold(data_dir: Path, leg: Leg, ticker: str, merged: pl.DataFrame, parts: list[Path]) -> None:
    """Write all rows of a leg, those of its `parts` included, into its file, and only then remove the parts.

    A process that dies in between leaves parts whose rows the file holds already, maybe under newer ones: the
    file names them, so that nobody reads them again. There is one writer per leg at a time: what killed ones
    left unfinished goes, too.
    """
    path = leg_path(data_dir, leg, ticker)
    write_leg(data_dir, leg, ticker, merged, parts)
    unfinished = [*data_dir.glob(f".{path.stem}.*"), *part_folder(data_dir, leg, ticker).glob(".*")]
    for done in [*parts, *unfinished]:
        done.unlink()


def stored_runs(data_dir: Path, leg: Leg, ticker: str, timeframe: Timeframe = "1h") -> list[tuple[int, int]]:
    """Return the maximal runs of consecutive stored bars as (open of the first, open of the last), ms."""
    path, parts = leg_path(data_dir, leg, ticker), pending_parts(data_dir, leg, ticker)
    stamps = [
        read_table(p, columns=["timestamp"])["timestamp"].dt.epoch("ms")
        for p in ([path, *parts] if path.is_file() else parts)
    ]
    if not stamps:
        return []
    opens = pl.concat(stamps).unique().sort()
    ends = opens.diff().shift(-1).ne_missing(bar_ms(timeframe))
    starts = opens.diff().ne_missing(bar_ms(timeframe))
    return list(zip(opens.filter(starts).to_list(), opens.filter(ends).to_list(), strict=True))


def read_source(data_dir: Path) -> Source | None:
    """Return where the folder's bars come from, or None for a folder that nothing was fetched into yet.

    Raises:
        MarketDataError: the file is not as `write_source` writes it.
    """
    path = data_dir / "source.json"
    if not path.is_file():
        return None
    try:
        return Source(**json.loads(path.read_text()))
    except (ValueError, TypeError) as problem:
        raise MarketDataError(
            f"{path} cannot be read ({problem}); put it back, or fetch into another home"
        ) from None


def write_source(data_dir: Path, source: Source) -> None:
    """Record where the folder's bars come from.

    Raises:
        MarketDataError: the folder already holds bars of another venue, tape or length.
    """
    before = read_source(data_dir)
    if before is not None and (before.venue, before.tape_id) != (source.venue, source.tape_id):
        raise MarketDataError(
            f"{data_dir} holds hours of {before.venue} {before.tape_id}, and {source.venue} {source.tape_id} "
            "must not be mixed in; choose another home (-o home=…) or remove that folder"
        )
    if before is not None and before.timeframe != source.timeframe:
        raise MarketDataError(
            f"{data_dir} holds bars of {before.timeframe}, and bars of {source.timeframe} must not be mixed "
            "in; set data.timeframe to what it holds, or choose another home (-o home=…)"
        )
    data_dir.mkdir(parents=True, exist_ok=True)
    with write_atomically(data_dir / "source.json") as temporary:
        temporary.write_text(json.dumps(asdict(source), indent=2) + "\n")


def market_version(
    data_dir: Path,
    tickers: Sequence[str],
    sentiment: Path | None = None,
    timeframe: Timeframe = "1h",
    end_ms: int | None = None,
) -> str:
    """Return 16 hexadecimal digits that change when any value of any row of these tickers changes.

    Only rows stamped before `end_ms` count, where it is given. How the rows came onto the disk, in one fetch
    or in many, changes nothing, nor does an optional column that nobody recorded. A file of sentiment counts
    by its bytes.

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
            _digest(digest, read_leg(data_dir, leg, ticker, None, end_ms, timeframe))
        beside = settlements_path(data_dir, ticker)
        if beside.is_file():
            digest.update(f"settlements {ticker}".encode())
            _digest(digest, read_table(beside, span=(None, end_ms)))
    return digest.hexdigest()[:16]


def _digest(digest: "hashlib._Hash", table: pl.DataFrame) -> None:
    """Take every value of a table into a digest, nulls apart from zeros."""
    for column in table.iter_columns():
        if column.name in OPTIONAL_COLUMNS and column.null_count() == len(column):
            continue
        digest.update(column.name.encode())
        digest.update(column.is_null().to_numpy().tobytes())
        digest.update(column.to_physical().fill_null(0).to_numpy().tobytes())

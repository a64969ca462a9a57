"""Where a leg lies on disk: one file, and beside it the parts that were appended and not yet folded in."""

import re
from functools import reduce
from pathlib import Path

import polars as pl

from carryflow.core.errors import MarketDataError
from carryflow.core.leg import LEGS, Leg
from carryflow.market.parquet import Span, read_note, read_table, write_table
from carryflow.market.schema import WATCHED_COLUMNS, leg_columns, name_rows, validate_leg
from carryflow.market.timeframe import Timeframe

_PART_NAME = re.compile(r"\d+-\d+-(\d+)\.parquet")

_FOLDED = "folded_parts"
"""Key under which a leg's file names the parts whose rows it holds, in case they outlived their folding."""


def leg_path(data_dir: Path, leg: Leg, ticker: str) -> Path:
    """Return the file of one leg of one ticker.

    >>> leg_path(Path("data/crypto"), "perp", "BTC").as_posix()
    'data/crypto/perp_BTC.parquet'
    """
    return data_dir / f"{leg}_{ticker}.parquet"


def settlements_path(data_dir: Path, ticker: str) -> Path:
    """Return the file of the settlements of one ticker whose bars are longer than an hour.

    >>> settlements_path(Path("data/crypto/1d"), "BTC").as_posix()
    'data/crypto/1d/funding_BTC.parquet'
    """
    return data_dir / f"funding_{ticker}.parquet"


def part_folder(data_dir: Path, leg: Leg, ticker: str) -> Path:
    """Return the folder of a leg's parts.

    >>> part_folder(Path("data/crypto"), "perp", "BTC").as_posix()
    'data/crypto/parts/perp_BTC'
    """
    return data_dir / "parts" / f"{leg}_{ticker}"


def pending_parts(data_dir: Path, leg: Leg, ticker: str) -> list[Path]:
    """Return the parts that were appended and not yet folded in, the one written first first.

    What the leg's file says that it holds already is left out: newer rows may lie over it there.
    """
    parts = all_parts(data_dir, leg, ticker)
    folded = folded_names(data_dir, leg, ticker) if parts else frozenset()
    return [path for path in parts if path.name not in folded]


def all_parts(data_dir: Path, leg: Leg, ticker: str) -> list[Path]:
    """Return all parts of a leg, the one written first first, also those that a killed folding left over."""
    folder = part_folder(data_dir, leg, ticker)
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if _PART_NAME.fullmatch(path.name)), key=_turn)


def next_part(data_dir: Path, leg: Leg, ticker: str, first_ms: int, last_ms: int) -> Path:
    """Return the path of the next part, numbered after every other, so that order needs no clock."""
    names = [path.name for path in all_parts(data_dir, leg, ticker)]
    turns = [_turn(Path(name)) for name in {*names, *folded_names(data_dir, leg, ticker)}]
    turn = max(turns, default=0) + 1
    return part_folder(data_dir, leg, ticker) / f"{first_ms}-{last_ms}-{turn}.parquet"


def folded_names(data_dir: Path, leg: Leg, ticker: str) -> frozenset[str]:
    """Return the names of the parts that a leg's file says that it holds.

    Raises:
        MarketDataError: the file is no whole Parquet file.
    """
    path = leg_path(data_dir, leg, ticker)
    return frozenset(read_note(path, _FOLDED).split()) if path.is_file() else frozenset()


def write_leg(data_dir: Path, leg: Leg, ticker: str, rows: pl.DataFrame, parts: list[Path]) -> None:
    """Replace a leg's file by rows that hold those of `parts`, and note there that they do."""
    notes = {_FOLDED: " ".join(part.name for part in parts)} if parts else {}
    write_table(rows, leg_path(data_dir, leg, ticker), notes)


def _turn(part: Path) -> int:
    found = _PART_NAME.fullmatch(part.name)
    return int(found[1]) if found else 0


def is_stored(data_dir: Path, leg: Leg, ticker: str) -> bool:
    """Say whether any rows of a leg are on disk."""
    return leg_path(data_dir, leg, ticker).is_file() or bool(pending_parts(data_dir, leg, ticker))


def recorded_tickers(data_dir: Path) -> tuple[str, ...]:
    """Name the coins that have a leg in a folder, its file or parts of it, in alphabetical order.

    Raises:
        MarketDataError: there is no such folder, or no leg of any coin is there.
    """
    if not data_dir.is_dir():
        raise MarketDataError(
            f"{data_dir} is no folder; `carryflow fetch` or `carryflow data import` makes it"
        )
    tickers = recorded_legs(data_dir)
    if not tickers:
        raise MarketDataError(
            f"no coin in {data_dir}: there is no spot_*.parquet and no perp_*.parquet; `carryflow fetch` or "
            "`carryflow data import` makes them"
        )
    return tuple(tickers)


def recorded_legs(data_dir: Path) -> dict[str, tuple[Leg, ...]]:
    """Return the legs in a folder, as files or as parts, by coin in alphabetical order."""
    found = {
        path.name.removeprefix(f"{leg}_").removesuffix(".parquet")
        for leg in LEGS
        for path in (*data_dir.glob(f"{leg}_*.parquet"), *data_dir.glob(f"parts/{leg}_*"))
    }
    legs = {t: tuple(leg for leg in LEGS if is_stored(data_dir, leg, t)) for t in sorted(found)}
    return {ticker: there for ticker, there in legs.items() if there}


def stored_rows(
    data_dir: Path, leg: Leg, ticker: str, timeframe: Timeframe, span: Span = (None, None)
) -> pl.DataFrame:
    """Read a leg's file with its pending parts laid over it, in order and validated.

    Raises:
        MarketDataError: nothing is there, or what is there is broken.
    """
    path, parts = leg_path(data_dir, leg, ticker), pending_parts(data_dir, leg, ticker)
    if not (path.is_file() or parts):
        raise MarketDataError(
            f"{path} is not there; `carryflow fetch` with {ticker} in data.tickers makes it"
        )
    layers = [read_table(part, span).select(list(leg_columns(leg))) for part in parts]
    if path.is_file():
        own = validate_leg(read_table(path, span), leg, f"{ticker} ({path})", timeframe)
        if not layers:
            return own
        layers.insert(0, own)
    return validate_leg(_lay(layers, leg), leg, f"{ticker} (with its parts)", timeframe)


def _lay(layers: list[pl.DataFrame], leg: Leg) -> pl.DataFrame:
    """Lay tables over one another, the oldest first; what only one of them holds is taken as it is."""
    stacked = pl.concat(layers).sort("timestamp")
    contested = stacked["timestamp"].is_duplicated()
    if not contested.any():
        return stacked
    stamps = stacked.filter(contested)["timestamp"].unique()
    disputed = [layer.filter(pl.col("timestamp").is_in(stamps.implode())) for layer in layers]
    settled = reduce(lambda older, newer: overlay(older, newer, leg), [d for d in disputed if len(d)])
    return pl.concat([stacked.filter(~contested), settled]).sort("timestamp")


def overlay(older: pl.DataFrame, newer: pl.DataFrame, leg: Leg) -> pl.DataFrame:
    """Lay newer validated rows over older ones: of two rows of one stamp the newer stays.

    Only a book or a predicted rate that was recorded earlier stays where the newer row has none, since
    neither can be asked for again.
    """
    if not len(older) or not len(newer):
        return newer if not len(older) else older
    watched = [c for c in WATCHED_COLUMNS if c in newer.columns]
    books = [c for c in watched if c != "predicted_rate"]
    before = older.select("timestamp", *(pl.col(c).alias(f"old_{c}") for c in watched))
    no_book = pl.all_horizontal(pl.col(books).is_null())
    kept = [pl.when(no_book).then(pl.col(f"old_{c}")).otherwise(pl.col(c)).alias(c) for c in books]
    kept += [pl.coalesce(c, f"old_{c}").alias(c) for c in watched if c not in books]
    upper = newer.join(before, on="timestamp", how="left").with_columns(kept).select(list(leg_columns(leg)))
    lower = older.join(newer.select("timestamp"), on="timestamp", how="anti")
    return pl.concat([lower, upper]).sort("timestamp")


def agree(older: pl.DataFrame, newer: pl.DataFrame, leg: Leg, ticker: str) -> pl.DataFrame:
    """Return the newer rows, each value that they lack filled in from the older row of the same stamp.

    Raises:
        MarketDataError: two rows of one stamp hold different values; rows and columns are named.
    """
    values = [c for c in leg_columns(leg) if c != "timestamp"]
    both = newer.join(older, on="timestamp", how="left", suffix="_old").sort("timestamp")
    differs = [(pl.col(c) != pl.col(f"{c}_old")).fill_null(False).alias(c) for c in values]
    found = both.select("timestamp", *differs).filter(pl.any_horizontal(values))
    if len(found):
        where = [c for c in values if found[c].any()]
        raise MarketDataError(
            f"{ticker} {leg}: {len(found)} row(s) are stored with other values in {', '.join(where)} at "
            f"{name_rows(found['timestamp'])}; nothing was written: leave these rows out, or import them "
            "into a folder of their own"
        )
    return both.select("timestamp", *(pl.coalesce(c, f"{c}_old").alias(c) for c in values))

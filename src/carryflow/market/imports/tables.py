"""Plain CSV and Parquet files, their columns named by a mapping."""

import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from carryflow.core.errors import MarketDataError, SettingsError
from carryflow.core.leg import LEGS, Leg
from carryflow.market.imports.options import ImportOptions
from carryflow.market.imports.pieces import Kind, Piece, Reading, choose_timeframe
from carryflow.market.imports.stamps import on_grid, stamps_ms
from carryflow.market.imports.text_tables import TextTable, read_csv
from carryflow.market.parquet import read_table
from carryflow.market.schema import TIMESTAMP, leg_columns
from carryflow.market.settlements import snap_settlement
from carryflow.market.timeframe import TIMEFRAMES, Timeframe, bar_ms

_NAME = re.compile(r"(?P<leg>spot|perp)_(?P<ticker>[A-Z0-9]+)(?:[-_.].*)?")
_BAR = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class _Table:
    """Hold one file's stamps (ms), its numbers under our names, and the line that a text's rows begin in."""

    path: Path
    leg: Leg
    ticker: str
    stamps: pl.Series
    numbers: list[pl.Series]
    first_line: int | None

    @property
    def has_bars(self) -> bool:
        return any(column.name in _BAR for column in self.numbers)

    @property
    def timeframe(self) -> Timeframe | None:
        """Return the length of bars that most stamps are apart; None if that is none of ours."""
        steps = self.stamps.unique().sort().diff().drop_nulls().mode().sort()
        return next((t for t in TIMEFRAMES if len(steps) and bar_ms(t) == steps[0]), None)


def read_tables(source: Path, options: ImportOptions) -> Reading:
    """Read a table, or every CSV and Parquet file of a folder.

    Leg and ticker are in the files' names, `spot_BTC.csv`, `perp_ETH-2024.parquet`, or else the options'. A
    column is found under the name that the mapping gives, else under the schema's own; other columns are
    ignored. A file without prices fills its columns into bars that are there already, or come with it.

    Raises:
        SettingsError: a file's leg or ticker is not known, or the mapping names a column its leg has not.
        MarketDataError: a column that is wanted is not there, or a cell is none of its kind.
    """
    suffixes = (".csv", ".zip", ".parquet")
    paths = [source] if source.is_file() else sorted(p for p in source.iterdir() if p.suffix in suffixes)
    tables = [_table(path, options) for path in paths]
    if options.ticker is not None:
        tables = [table for table in tables if table.ticker == options.ticker]
    found = [t.timeframe for t in tables if t.has_bars and t.timeframe is not None]
    timeframe = choose_timeframe(options.timeframe, found, source)
    return Reading(tuple(_piece(table, timeframe) for table in tables), timeframe, "imported", ())


def _table(path: Path, options: ImportOptions) -> _Table:
    leg, ticker = _owner(path, options)
    known = leg_columns(leg)
    foreign = [ours for ours in options.columns if ours not in known]
    if foreign:
        raise SettingsError(f"{path}: the mapping names {foreign}, which the {leg} leg has no columns for")
    if path.suffix == ".parquet":
        raw: TextTable | pl.DataFrame = read_table(path)
    else:
        raw = read_csv(path)
    held = raw.cells.columns if isinstance(raw, TextTable) else raw.columns
    names = {ours: options.columns.get(ours, ours) for ours in known}
    wanted = {"timestamp", *options.columns}
    found = {ours: theirs for ours, theirs in names.items() if theirs in held and ours != "timestamp"}
    if not found or any(c in found for c in _BAR):
        wanted |= set(_BAR)
    absent = [theirs for ours, theirs in names.items() if ours in wanted and theirs not in held]
    if absent:
        raise MarketDataError(
            f"{path}: no column {', '.join(absent)}; it holds {held}: name them in the mapping"
        )
    numbers = [_numbers(path, raw, theirs).alias(ours) for ours, theirs in found.items()]
    if isinstance(raw, TextTable):
        stamps = stamps_ms(raw.cells[names["timestamp"]], raw.where, raw.first_line)
        return _Table(path, leg, ticker, stamps, numbers, raw.first_line)
    return _Table(path, leg, ticker, stamps_ms(raw[names["timestamp"]], str(path)), numbers, None)


def _piece(table: _Table, timeframe: Timeframe) -> Piece:
    if [column.name for column in table.numbers] == ["funding_rate"]:
        instants = snap_settlement(table.stamps).cast(TIMESTAMP).alias("timestamp")
        paid = pl.DataFrame([instants, *table.numbers]).drop_nulls()
        return Piece(table.path, table.leg, table.ticker, "settlements", 0, paid)
    if table.has_bars and table.timeframe not in (None, timeframe):
        raise MarketDataError(
            f"{table.path} holds bars of {table.timeframe}, not of {timeframe}; name that timeframe"
        )
    stamped = on_grid(table.stamps, bar_ms(timeframe), str(table.path), table.first_line).alias("timestamp")
    rows = pl.DataFrame([stamped, *table.numbers])
    kind: Kind = "bars" if table.has_bars else "values"
    return Piece(table.path, table.leg, table.ticker, kind, bar_ms(timeframe), rows)


def _owner(path: Path, options: ImportOptions) -> tuple[Leg, str]:
    named = _NAME.fullmatch(path.stem)
    leg = options.leg if named is None else next(leg for leg in LEGS if leg == named["leg"])
    ticker = options.ticker if named is None else named["ticker"]
    if leg is None or ticker is None:
        raise SettingsError(
            f"{path}: its name does not tell leg and ticker as spot_BTC.csv would; name both (leg, ticker)"
        )
    return leg, ticker


def _numbers(path: Path, table: TextTable | pl.DataFrame, column: str) -> pl.Series:
    if isinstance(table, TextTable):
        return table.numbers(column)
    try:
        return table[column].cast(pl.Float64).fill_nan(None)
    except pl.exceptions.PolarsError:
        kind = table.schema[column]
        raise MarketDataError(
            f"{path}: column {column} holds {kind}, which is no number; convert it"
        ) from None

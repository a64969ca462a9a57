"""Import files into the market's tables: everything is read and checked before the first table is written."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from carryflow.core.errors import MarketDataError
from carryflow.core.leg import Leg
from carryflow.market.imports.binance import read_binance
from carryflow.market.imports.freqtrade import read_freqtrade
from carryflow.market.imports.joining import Joined, join_pieces
from carryflow.market.imports.options import Format, ImportedLeg, ImportOptions, ImportReport
from carryflow.market.imports.pieces import Piece, Reading
from carryflow.market.imports.tables import read_tables
from carryflow.market.leg_files import agree, is_stored, settlements_path
from carryflow.market.schema import name_rows
from carryflow.market.settlements import merge_settlements, read_settlements
from carryflow.market.store import Source, merge_leg, read_leg, read_source, write_source
from carryflow.market.timeframe import Timeframe, bar_ms

_READERS: dict[Format, Callable[[Path, ImportOptions], Reading]] = {
    "binance": read_binance,
    "freqtrade": read_freqtrade,
    "table": read_tables,
}


@dataclass(frozen=True, slots=True)
class _Plan:
    """Hold what one leg of one ticker will get."""

    leg: Leg
    ticker: str
    joined: Joined


def import_market(source: Path, data_dir: Path, options: ImportOptions) -> ImportReport:
    """Import a file, or a folder of them, into the tables in `data_dir`.

    Bars, marks, index prices, funding and depth that arrive in separate files are joined into the rows of
    their bars, now or into bars that are stored already; settlements of bars longer than an hour go beside
    them. Values that contradict stored ones, or each other, are refused unless the options say otherwise.
    Every file is read and every row checked before the first write. The tables are then written one after
    the other, each whole or not at all, and the name of their source before them: an import that is killed in
    between leaves some of them, which nobody else's bars can be mixed into, and the same import once more
    writes the rest.

    Raises:
        SettingsError: the options do not say what the files leave open.
        MarketDataError: a file is broken or empty, its name or its rows are not as its format says, values
            contradict each other, or the folder holds the bars of another venue or length.
        CoverageError: funding settled between bars, at an instant that has none.
    """
    if not source.exists():
        raise MarketDataError(f"nothing to import: there is no {source}; name a file or a folder")
    before = read_source(data_dir)
    wanted = options if before is None or options.timeframe else replace(options, timeframe=before.timeframe)
    reading = _READERS[options.format](source, wanted)
    if not reading.pieces:
        left_out = "".join(f"\n{note}" for note in reading.notes)
        raise MarketDataError(
            f"nothing to import in {source}: no files of format {options.format}"
            + (f" for {options.ticker}" if options.ticker else "")
            + f" in {options.quote}{left_out}"
        )
    plans = [_plan(pieces, data_dir, reading.timeframe, options) for pieces in _by_leg(reading.pieces)]
    written = [plan for plan in plans if plan.joined.rows is not None or plan.joined.settlements is not None]
    notes = [*reading.notes, *(note for plan in plans for note in plan.joined.notes)]
    if not written:
        raise MarketDataError(f"nothing of {source} belongs to any bar: {'; '.join(notes)}")
    _write_source(data_dir, options.venue or reading.venue, reading.timeframe, written, before)
    legs, settled = _write(written, data_dir, reading.timeframe)
    return ImportReport(tuple(p.path for p in reading.pieces), legs, settled, tuple(notes))


def _by_leg(pieces: tuple[Piece, ...]) -> list[list[Piece]]:
    keys = sorted({(p.ticker, p.leg) for p in pieces})
    return [[p for p in pieces if (p.ticker, p.leg) == key] for key in keys]


def _plan(pieces: list[Piece], data_dir: Path, timeframe: Timeframe, options: ImportOptions) -> _Plan:
    """Join one leg's pieces with what is stored, and check them.

    Raises:
        MarketDataError: as `import_market`.
    """
    leg, ticker, replaces = pieces[0].leg, pieces[0].ticker, options.on_conflict == "replace"
    stored = (
        read_leg(data_dir, leg, ticker, timeframe=timeframe) if is_stored(data_dir, leg, ticker) else None
    )
    joined = join_pieces(pieces, stored, timeframe, may_contradict=replaces)
    if not replaces:
        if joined.rows is not None and stored is not None:
            agree(stored, joined.rows, leg, ticker)
        if joined.settlements is not None and settlements_path(data_dir, ticker).is_file():
            _agree_on_settlements(
                read_settlements(data_dir, ticker, timeframe=timeframe), joined.settlements, ticker
            )
    return _Plan(leg, ticker, joined)


def _agree_on_settlements(stored: pl.DataFrame, fresh: pl.DataFrame, ticker: str) -> None:
    both = fresh.join(stored, on="timestamp", suffix="_old")
    other = (pl.col("funding_rate") != pl.col("funding_rate_old")) | (pl.col("mark") != pl.col("mark_old"))
    bad = both.filter(other.fill_null(False))["timestamp"]
    if len(bad):
        raise MarketDataError(
            f"{ticker}: {len(bad)} settlement(s) are stored with other values at {name_rows(bad)}; nothing "
            "was written: leave these rows out, or let them replace the stored ones (on_conflict=replace)"
        )


def _write_source(
    data_dir: Path, venue: str, timeframe: Timeframe, plans: list[_Plan], before: Source | None
) -> None:
    """Record whose bars the folder holds, so that a fetch from that venue can go on after them."""
    tables = [t for p in plans for t in (p.joined.rows, p.joined.settlements) if t is not None]
    newest = max(int(table["timestamp"].dt.epoch("ms")[-1]) for table in tables) + bar_ms(timeframe)
    known = newest if before is None else max(newest, before.venue_time_ms)
    write_source(data_dir, Source(venue, "live", known, timeframe))


def _write(
    plans: list[_Plan], data_dir: Path, timeframe: Timeframe
) -> tuple[tuple[ImportedLeg, ...], dict[str, int]]:
    legs: list[ImportedLeg] = []
    settled: dict[str, int] = {}
    for plan in plans:
        rows = plan.joined.rows
        if rows is not None:
            new = merge_leg(data_dir, plan.leg, plan.ticker, rows, timeframe)
            stamps = rows["timestamp"].dt.epoch("ms")
            legs.append(ImportedLeg(plan.leg, plan.ticker, len(rows), new, int(stamps[0]), int(stamps[-1])))
        if plan.joined.settlements is not None:
            settled[plan.ticker] = merge_settlements(data_dir, plan.ticker, plan.joined.settlements)
    return tuple(legs), settled

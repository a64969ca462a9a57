"""The pieces of one leg joined into the rows of its table, and into those that are stored already."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import polars as pl

from carryflow.core.errors import CoverageError, MarketDataError
from carryflow.market.imports.pieces import Piece
from carryflow.market.schema import leg_columns, name_rows, validate_leg
from carryflow.market.timeframe import Timeframe, bar_ms, holds_settlements

_BAR = ["open", "high", "low", "close", "volume"]


@dataclass(frozen=True, slots=True)
class Joined:
    """Hold a leg's rows, whole and validated; settlements beside bars that cannot hold them; and notes."""

    rows: pl.DataFrame | None
    settlements: pl.DataFrame | None
    notes: tuple[str, ...]


def join_pieces(
    pieces: Sequence[Piece], stored: pl.DataFrame | None, timeframe: Timeframe, *, may_contradict: bool
) -> Joined:
    """Join the pieces of one leg of one ticker, and fill in from the stored rows what they do not hold.

    Marks and index prices of shorter bars give a bar its open and its close. Those of longer bars give only
    the open of the bars that open with them: an 8-hour mark says where the mark stood when funding settled,
    and nothing about the hours between, which stay without one.

    Raises:
        CoverageError: funding settled between bars, at an instant that has none.
        MarketDataError: two files hold different values for one row (unless they may: then the later name
            wins), or the rows are not as the schema says.
    """
    leg, ticker, bar = pieces[0].leg, pieces[0].ticker, bar_ms(timeframe)
    tables = [p.table for p in pieces if p.kind in ("bars", "values")]
    paid = [p.table for p in pieces if p.kind == "settlements"]
    notes: list[str] = []
    edges: dict[str, pl.DataFrame] = {}
    for price in ("mark", "index"):
        chosen, left_out = _nearest_length([p for p in pieces if p.kind == price], bar)
        notes += left_out
        if chosen:
            edges[price] = _overlay([p.table for p in chosen], f"{ticker} {price}", may_contradict)
            tables.append(_edges(edges[price], price, chosen[0].length_ms, bar))
    settlements = _overlay(paid, f"{ticker} funding", may_contradict) if paid else None
    if settlements is not None and holds_settlements(timeframe):
        tables, settlements = [*tables, settlements], None
    elif settlements is not None:
        settlements = _marked(settlements, edges.get("mark"))
    if not tables:
        return Joined(None, settlements, tuple(notes))
    fresh = _overlay(tables, f"{ticker} {leg}", may_contradict)
    rows, homeless = _fill_in(fresh, stored, leg_columns(leg))
    if len(homeless):
        notes.append(_homeless(homeless, rows, stored, f"{ticker} {leg}"))
    return Joined(
        validate_leg(rows, leg, ticker, timeframe) if len(rows) else None, settlements, tuple(notes)
    )


def _nearest_length(pieces: list[Piece], bar: int) -> tuple[list[Piece], list[str]]:
    """Return the pieces of the length that tells most about bars of this length, and notes on the others."""
    if not pieces:
        return [], []
    best = min({p.length_ms for p in pieces}, key=lambda length: (length > bar, abs(length - bar)))
    notes = [
        f"left out: {p.path.name}, since there are bars nearer to the wanted length"
        for p in pieces
        if p.length_ms != best
    ]
    if best > bar:
        notes.append(f"{pieces[0].ticker}: the {pieces[0].kind} is known only every {best // 60_000} minutes")
    return [p for p in pieces if p.length_ms == best], notes


def _marked(settlements: pl.DataFrame, marks: pl.DataFrame | None) -> pl.DataFrame:
    """Put the mark beside each settlement: the open of the mark's bar that opens at that instant."""
    if marks is None:
        return settlements.with_columns(mark=pl.lit(None, pl.Float64))
    return settlements.join(marks.select("timestamp", mark="open"), on="timestamp", how="left")


def _edges(table: pl.DataFrame, price: str, length: int, bar: int) -> pl.DataFrame:
    """Return what a price's bars say about the opens and closes of bars of another length."""
    stamp = pl.col("timestamp").dt.epoch("ms")
    opens = table.filter(stamp % bar == 0).select("timestamp", pl.col("open").alias(f"{price}_open"))
    if length > bar:
        return opens
    closes = table.filter((stamp + length) % bar == 0).select(
        pl.col("timestamp") + pl.duration(milliseconds=length - bar), pl.col("close").alias(f"{price}_close")
    )
    return opens.join(closes, on="timestamp", how="full", coalesce=True).sort("timestamp")


def _overlay(tables: list[pl.DataFrame], name: str, may_contradict: bool) -> pl.DataFrame:
    """Join tables on their stamps; where two hold one value, they must agree, or the later one counts."""
    alike: dict[tuple[str, ...], list[pl.DataFrame]] = {}
    for table in tables:
        alike.setdefault(tuple(table.columns), []).append(table)
    groups = [_unique(pl.concat(group), name, may_contradict) for group in alike.values()]
    return reduce(lambda a, b: _join(a, b, name, may_contradict), groups).sort("timestamp")


def _unique(table: pl.DataFrame, name: str, may_contradict: bool) -> pl.DataFrame:
    """Return one row per stamp, of several the last value that is not null."""
    repeated = table["timestamp"].is_duplicated()
    if not repeated.any():
        return table
    values = [c for c in table.columns if c != "timestamp"]
    several = table.filter(repeated).group_by("timestamp", maintain_order=True)
    if not may_contradict:
        differs = several.agg((pl.col(c).min() != pl.col(c).max()).fill_null(False) for c in values)
        _refuse(differs, values, name)
    last = several.agg(pl.col(c).drop_nulls().last() for c in values)
    return pl.concat([table.filter(~repeated), last]).sort("timestamp")


def _join(older: pl.DataFrame, newer: pl.DataFrame, name: str, may_contradict: bool) -> pl.DataFrame:
    shared = [c for c in newer.columns if c in older.columns and c != "timestamp"]
    both = older.join(newer, on="timestamp", how="full", coalesce=True, suffix="_newer")
    if shared and not may_contradict:
        differs = both.select(
            "timestamp", *((pl.col(c) != pl.col(f"{c}_newer")).fill_null(False).alias(c) for c in shared)
        )
        _refuse(differs, shared, name)
    return both.with_columns(pl.coalesce(f"{c}_newer", c).alias(c) for c in shared).drop(
        f"{c}_newer" for c in shared
    )


def _refuse(differs: pl.DataFrame, columns: list[str], name: str) -> None:
    bad = differs.filter(pl.any_horizontal(columns)).sort("timestamp")
    if len(bad):
        where = ", ".join(c for c in columns if bad[c].any())
        raise MarketDataError(
            f"{name}: files contradict each other in {where} at {name_rows(bad['timestamp'])}; nothing was "
            "written: remove one of them, or let the later name win (on_conflict=replace)"
        )


def _fill_in(
    fresh: pl.DataFrame, stored: pl.DataFrame | None, columns: dict[str, pl.DataType]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return fresh rows, nulls filled from the stored ones, and apart those of them that belong to no bar."""
    absent = [pl.lit(None, pl.Float64).alias(c) for c in columns if c not in fresh.columns]
    whole = fresh.with_columns(absent).select(list(columns))
    if stored is not None:
        joined = whole.join(stored, on="timestamp", how="left", suffix="_stored")
        values = [c for c in columns if c != "timestamp"]
        whole = joined.select("timestamp", *(pl.coalesce(c, f"{c}_stored").alias(c) for c in values))
    no_bar = pl.all_horizontal(pl.col(_BAR).is_null())
    return whole.filter(~no_bar), whole.filter(no_bar)


def _homeless(homeless: pl.DataFrame, rows: pl.DataFrame, stored: pl.DataFrame | None, name: str) -> str:
    """Say how many values lie outside of the bars; refuse settlements between bars that have no bar."""
    bars = pl.concat([t["timestamp"] for t in (rows, stored) if t is not None])
    if len(bars) and "funding_rate" in homeless.columns:
        paid = homeless.filter(pl.col("funding_rate").is_not_null())["timestamp"]
        lost = paid.filter(paid.is_between(bars.min(), bars.max()))
        if len(lost):
            raise CoverageError(
                f"{name}: funding settled at {name_rows(lost)} but no bar opens there; import these bars, too"
            )
    return (
        f"left out: {name}: {len(homeless)} rows of mark, index, funding or depth for which there are no "
        "bars; import the bars, then these files again"
    )

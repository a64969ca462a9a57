"""The tables of the market: one per ticker and leg, one row per hour, stamped with the bar's open time.

A perpetual's row stamped T carries the funding rate that settled at the instant T, null where nothing
settled. `bid`, `ask` are the best quotes at the bar's close and `bid_depth`, `ask_depth` the quote value
resting within 10 bp of the mid on each side; all four are null in hours when nobody recorded the book.
"""

from typing import Literal

import polars as pl

from carryflow.core.errors import MarketDataError

Leg = Literal["spot", "perp"]
"""The two sides of the hedged trade."""

LEGS: tuple[Leg, Leg] = ("spot", "perp")

BAR_MS = 3_600_000
"""Length of a bar in milliseconds (one hour)."""

TIMESTAMP = pl.Datetime("ms", "UTC")

DEPTH_BAND = 10e-4
"""Distance from the mid within which resting orders count as depth, as a fraction of the mid."""

BOOK_COLUMNS = ("bid", "ask", "bid_depth", "ask_depth")

SPOT_COLUMNS: dict[str, pl.DataType] = {
    "timestamp": TIMESTAMP,
    **{name: pl.Float64() for name in ("open", "high", "low", "close", "volume", *BOOK_COLUMNS)},
}

PERP_COLUMNS: dict[str, pl.DataType] = {
    **SPOT_COLUMNS,
    **{name: pl.Float64() for name in ("mark_open", "mark_close", "funding_rate")},
}

_PRICES = ("open", "high", "low", "close")
_ROWS_NAMED = 5


def leg_columns(leg: Leg) -> dict[str, pl.DataType]:
    """Return the column names of a leg's table, in order, with their types."""
    return SPOT_COLUMNS if leg == "spot" else PERP_COLUMNS


def validate_leg(table: pl.DataFrame, leg: Leg, name: str = "") -> pl.DataFrame:
    """Return the table in the leg's exact schema, or say which rows are wrong.

    Columns of the order book may be absent (they become null); everything else must be there. `name` says
    in an error which table it was.

    Raises:
        MarketDataError: a column is missing or unknown, a stamp is not a UTC hour, rows repeat or go
        backwards,
            or a price is missing, NaN, not positive, or contradicts its own bar.
    """
    where = f"{leg} table {name}".strip()
    columns = leg_columns(leg)
    missing = [c for c in columns if c not in table.columns and c not in BOOK_COLUMNS]
    unknown = [c for c in table.columns if c not in columns]
    if missing or unknown:
        raise MarketDataError(
            f"{where}: missing columns {missing}, unknown columns {unknown}; expected {list(columns)}"
        )
    stamp = table.schema["timestamp"]
    if not isinstance(stamp, pl.Datetime) or stamp.time_zone != "UTC":
        raise MarketDataError(
            f"{where}: timestamp is {stamp}; it must be a UTC datetime, stamped at the bar's open"
        )
    absent = [pl.lit(None, pl.Float64).alias(c) for c in BOOK_COLUMNS if c not in table.columns]
    tidy = table.with_columns(absent).select([pl.col(c).cast(t) for c, t in columns.items()])
    for problem, rows in _violations(leg):
        bad = tidy.filter(rows)["timestamp"]
        if len(bad):
            raise MarketDataError(f"{where}: {problem} at {name_rows(bad)}; repair or drop these rows")
    return tidy


def name_rows(stamps: pl.Series) -> str:
    """Return the first few stamps of a series in words, and how many more there are."""
    shown = ", ".join(f"{t:%Y-%m-%d %H:%M}" for t in stamps.head(_ROWS_NAMED))
    more = len(stamps) - _ROWS_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _violations(leg: Leg) -> list[tuple[str, pl.Expr]]:
    """List what can be wrong with a row, as (words, rows where it is)."""
    time, col = pl.col("timestamp"), pl.col
    optional = [*BOOK_COLUMNS, *(("mark_open", "mark_close") if leg == "perp" else ())]
    rules = [
        ("a missing stamp", time.is_null()),
        ("a stamp off the hour", time.dt.epoch("ms") % BAR_MS != 0),
        ("a repeated or unsorted row", time.diff().dt.total_milliseconds() <= 0),
        ("a missing price", pl.any_horizontal(col(*_PRICES, "volume").is_null())),
        ("a price that is NaN, infinite or not positive", pl.any_horizontal(~_positive(col(*_PRICES)))),
        ("a volume that is NaN or negative", ~(col("volume").is_finite() & (col("volume") >= 0))),
        ("a high under its own bar", col("high") < pl.max_horizontal("open", "low", "close")),
        ("a low over its own bar", col("low") > pl.min_horizontal("open", "high", "close")),
        ("a book or mark that is NaN or not positive", pl.any_horizontal(~_positive(col(*optional)))),
        ("a crossed book", col("bid") > col("ask")),
    ]
    if leg == "perp":
        rules.append(("a funding rate that is NaN or infinite", ~col("funding_rate").is_finite()))
    return rules


def _positive(prices: pl.Expr) -> pl.Expr:
    return prices.is_finite() & (prices > 0)

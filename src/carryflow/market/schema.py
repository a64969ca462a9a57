"""The tables of the market: one per ticker and leg, one row per bar, stamped with the bar's open time.

A perpetual's row stamped T carries the funding rate that settled at the instant T, null where nothing
settled; bars longer than an hour carry none, their settlements lie beside (`market.settlements`).
`predicted_rate` is the rate per interval that the venue predicted, at the bar's close, for the settlement to
come. `bid`, `ask` are the best quotes at the bar's close; `bid_depth`, `ask_depth` the quote value resting
within 10 bp of the mid on each side, and `…_5bp`, `…_50bp`, `…_100bp` within as many. Books and predictions
are null in bars that nobody watched. `index_open`, `index_close` are the venue's index price.
"""

import polars as pl

from carryflow.core.errors import MarketDataError
from carryflow.core.leg import Leg
from carryflow.market.timeframe import HOUR_MS, Timeframe, bar_ms, holds_settlements

BAR_MS = HOUR_MS
"""Length of an hourly bar, which is what the rooms that play and learn know (ms)."""

TIMESTAMP = pl.Datetime("ms", "UTC")

DEPTH_BAND = 10e-4
"""Distance from the mid within which resting orders count as depth, as a fraction of the mid."""

DEPTH_BANDS: dict[float, tuple[str, str]] = {
    5e-4: ("bid_depth_5bp", "ask_depth_5bp"),
    DEPTH_BAND: ("bid_depth", "ask_depth"),
    50e-4: ("bid_depth_50bp", "ask_depth_50bp"),
    100e-4: ("bid_depth_100bp", "ask_depth_100bp"),
}
"""Columns (bid side, ask side) of the quote value resting within each fraction of the mid."""

BOOK_COLUMNS = (
    "bid",
    "ask",
    "bid_depth",
    "ask_depth",
    *(name for band, names in DEPTH_BANDS.items() if band != DEPTH_BAND for name in names),
)

INDEX_COLUMNS = ("index_open", "index_close")

WATCHED_COLUMNS = (*BOOK_COLUMNS, "predicted_rate")
"""What cannot be asked for again once its bar has closed."""

OPTIONAL_COLUMNS = (*BOOK_COLUMNS, *INDEX_COLUMNS, "predicted_rate")
"""Columns that a table may lack; they become null."""

SPOT_COLUMNS: dict[str, pl.DataType] = {
    "timestamp": TIMESTAMP,
    **{name: pl.Float64() for name in ("open", "high", "low", "close", "volume", *BOOK_COLUMNS)},
}

PERP_COLUMNS: dict[str, pl.DataType] = {
    **SPOT_COLUMNS,
    **{
        name: pl.Float64()
        for name in ("mark_open", "mark_close", "funding_rate", *INDEX_COLUMNS, "predicted_rate")
    },
}

_PRICES = ("open", "high", "low", "close")
_MAY_BE_EMPTY = DEPTH_BANDS[5e-4]
"""A spread wider than 10 bp leaves nothing within 5 bp of the mid, which is a fact and no mistake."""
_ROWS_NAMED = 5


def leg_columns(leg: Leg) -> dict[str, pl.DataType]:
    """Return the column names of a leg's table, in order, with their types."""
    return SPOT_COLUMNS if leg == "spot" else PERP_COLUMNS


def validate_leg(table: pl.DataFrame, leg: Leg, name: str = "", timeframe: Timeframe = "1h") -> pl.DataFrame:
    """Return the table in the leg's exact schema, or say which rows are wrong.

    `OPTIONAL_COLUMNS` may be absent (they become null); everything else must be there. `name` says in an
    error which table it was.

    Raises:
        MarketDataError: a column is missing or unknown, a stamp is not UTC or no bar of this length opens
            there, rows repeat or go backwards, a price is missing, NaN, not positive, or contradicts its own
            bar, or a bar that may hold several settlements carries one.
    """
    where = f"{leg} table {name}".strip()
    columns = leg_columns(leg)
    missing = [c for c in columns if c not in table.columns and c not in OPTIONAL_COLUMNS]
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
    absent = [pl.lit(None, pl.Float64).alias(c) for c in columns if c not in table.columns]
    tidy = table.with_columns(absent).select([pl.col(c).cast(t) for c, t in columns.items()])
    rules = _violations(leg, timeframe)
    broken = tidy.select(rows.any().alias(str(i)) for i, (_, rows) in enumerate(rules)).row(0)
    for (problem, rows), is_broken in zip(rules, broken, strict=True):
        if is_broken:
            bad = tidy.filter(rows)["timestamp"]
            raise MarketDataError(f"{where}: {problem} at {name_rows(bad)}; repair or drop these rows")
    return tidy


def name_rows(stamps: pl.Series) -> str:
    """Return the first few stamps of a series in words, and how many more there are."""
    shown = ", ".join(f"{t:%Y-%m-%d %H:%M}" for t in stamps.head(_ROWS_NAMED))
    more = len(stamps) - _ROWS_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _violations(leg: Leg, timeframe: Timeframe) -> list[tuple[str, pl.Expr]]:
    """List what can be wrong with a row, as (words, rows where it is)."""
    time, col = pl.col("timestamp"), pl.col
    own = ("mark_open", "mark_close", *INDEX_COLUMNS) if leg == "perp" else ()
    positive = [name for name in (*BOOK_COLUMNS, *own) if name not in _MAY_BE_EMPTY]
    grid = "the hour" if timeframe == "1h" else f"the {timeframe} grid"
    rules = [
        ("a missing stamp", time.is_null()),
        (f"a stamp off {grid}", time.dt.epoch("ms") % bar_ms(timeframe) != 0),
        ("a repeated or unsorted row", time.diff().dt.total_milliseconds() <= 0),
        ("a missing price", pl.any_horizontal(col(*_PRICES, "volume").is_null())),
        ("a price that is NaN, infinite or not positive", pl.any_horizontal(~_positive(col(*_PRICES)))),
        ("a volume that is NaN or negative", ~_not_negative(col("volume"))),
        ("a high under its own bar", col("high") < pl.max_horizontal("open", "low", "close")),
        ("a low over its own bar", col("low") > pl.min_horizontal("open", "high", "close")),
        ("a book, mark or index that is NaN or not positive", pl.any_horizontal(~_positive(col(positive)))),
        ("a depth that is NaN or negative", pl.any_horizontal(~_not_negative(col(*_MAY_BE_EMPTY)))),
        ("a crossed book", col("bid") > col("ask")),
    ]
    if leg == "perp":
        rates = col("funding_rate", "predicted_rate")
        rules.append(("a funding rate that is NaN or infinite", pl.any_horizontal(~rates.is_finite())))
        if not holds_settlements(timeframe):
            rules.append(
                (
                    f"a settlement inside a bar of {timeframe}, which may see several,",
                    col("funding_rate").is_not_null(),
                )
            )
    return rules


def _positive(prices: pl.Expr) -> pl.Expr:
    return prices.is_finite() & (prices > 0)


def _not_negative(values: pl.Expr) -> pl.Expr:
    return values.is_finite() & (values >= 0)

"""Stamps as files write them: epochs of any unit, told by their size, or ISO dates."""

import polars as pl

from carryflow.core.errors import MarketDataError
from carryflow.market.schema import TIMESTAMP

_SHOWN = 3
_DAYS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")


def stamps_ms(values: pl.Series, where: str, first_line: int | None = None) -> pl.Series:
    """Return stamps as milliseconds since 1970.

    Whole numbers are seconds from 10⁹ on, milliseconds from 10¹¹, microseconds from 10¹⁴, nanoseconds from
    10¹⁷: each is right from 2001 to 5138. Texts may be such numbers, or ISO dates, without a zone in UTC.
    `first_line` is the line of a text file that the first value stands in.

    >>> stamps_ms(pl.Series([1_704_067_200, 1_704_067_200_000, 1_704_067_200_000_000]), "").to_list()
    [1704067200000, 1704067200000, 1704067200000]
    >>> stamps_ms(pl.Series(["2024-01-01T00:00:00Z", "2024-01-01 02:00+02:00", "2024-01-01"]), "").to_list()
    [1704067200000, 1704067200000, 1704067200000]

    Raises:
        MarketDataError: a stamp is missing or is none of these; rows are named.
    """
    if isinstance(values.dtype, pl.Datetime):
        zoned = values.dt.replace_time_zone("UTC") if values.dtype.time_zone is None else values
        found = _from_epoch(zoned.dt.epoch("us"))
    elif values.dtype == pl.Date:
        found = values.cast(pl.Datetime("ms")).dt.epoch("ms")
    elif values.dtype == pl.String:
        whole = values.str.strip_chars().str.replace(r"\.0*$", "")
        found = _from_epoch(whole.cast(pl.Int64, strict=False))
        if found.null_count():
            found = found.zip_with(found.is_not_null(), _from_text(values))
    elif values.dtype.is_float():
        found = _from_epoch(values.cast(pl.Int64, strict=False).set(values != values.floor(), None))
    else:
        found = _from_epoch(values.cast(pl.Int64, strict=False))
    if found.null_count():
        row = found.is_null().arg_true()[0]
        raise MarketDataError(
            f"{where}{_place(row, first_line)}: {values[row]!r} is no stamp; give epochs in s, ms or µs, or "
            "ISO dates"
        )
    return found


def on_grid(stamps: pl.Series, grid_ms: int, where: str, first_line: int | None = None) -> pl.Series:
    """Return stamps (ms) as the schema's, each on a whole multiple of `grid_ms`.

    Raises:
        MarketDataError: a stamp is off the grid; rows are named.
    """
    off = (stamps % grid_ms != 0).arg_true().to_list()
    moments = stamps.cast(TIMESTAMP)
    if off:
        shown = ", ".join(f"{moments[row]:%Y-%m-%d %H:%M:%S.%f}"[:-3] for row in off[:_SHOWN])
        raise MarketDataError(
            f"{where}{_place(off[0], first_line)}: {len(off)} stamp(s) at which no bar of "
            f"{grid_ms // 60_000} min opens: {shown}; repair these rows, or name the bars' own length"
        )
    return moments


def _from_epoch(values: pl.Series) -> pl.Series:
    """Return epochs of any unit as milliseconds, rounded down; null before 2001, where 20240101 would be."""
    stamp = pl.col("stamp")
    scaled = (
        pl.when(stamp < 10**9)
        .then(None)
        .when(stamp < 10**11)
        .then(stamp * 1000)
        .when(stamp < 10**14)
        .then(stamp)
        .when(stamp < 10**17)
        .then(stamp // 1000)
        .otherwise(stamp // 1_000_000)
    )
    return pl.DataFrame({"stamp": values}).select(scaled).to_series()


def _from_text(values: pl.Series) -> pl.Series:
    """Return ISO dates as milliseconds; null where a text is none."""
    text = pl.col("text").str.strip_chars().str.replace("T", " ").str.replace(r"\s*(Z|UTC)$", "+00:00")
    zone = text.str.extract(r"([+-]\d\d:?\d\d)$").str.replace(":", "")
    local = text.str.replace(r"\s*[+-]\d\d:?\d\d$", "")
    days = pl.coalesce(local.str.to_datetime(day, time_unit="ms", strict=False) for day in _DAYS)
    sign = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    minutes = zone.str.slice(1, 2).cast(pl.Int64) * 60 + zone.str.slice(3, 2).cast(pl.Int64)
    shift = (sign * minutes * 60_000).fill_null(0)
    return pl.DataFrame({"text": values}).select(days.dt.epoch("ms") - shift).to_series()


def _place(row: int, first_line: int | None) -> str:
    return f" row {row + 1}" if first_line is None else f" line {row + first_line}"

"""Binance's public data dumps: monthly and daily CSV files, zipped or not.

Source: data.binance.vision and its README (github.com/binance/binance-public-data): the folders
`spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip`, `futures/um/monthly/markPriceKlines/…`,
`futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-01.zip`,
`futures/um/daily/bookDepth/BTCUSDT/BTCUSDT-bookDepth-2024-01-01.zip`. Older files have no header row; stamps
are in milliseconds, those of spot in microseconds since 2025.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from carryflow.core.errors import MarketDataError
from carryflow.core.leg import Leg
from carryflow.market.imports.options import ImportOptions
from carryflow.market.imports.pieces import Kind, Piece, Reading, choose_timeframe
from carryflow.market.imports.stamps import on_grid, stamps_ms
from carryflow.market.imports.text_tables import TextTable, read_dump
from carryflow.market.schema import TIMESTAMP
from carryflow.market.settlements import snap_settlement
from carryflow.market.timeframe import TIMEFRAMES, Timeframe, bar_ms

KLINE_COLUMNS = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
)
FUNDING_COLUMNS = ("calc_time", "funding_interval_hours", "last_funding_rate")
DEPTH_COLUMNS = ("timestamp", "percentage", "depth", "notional")

_NAME = re.compile(r"(?P<symbol>[A-Z0-9_]+)-(?P<what>[A-Za-z0-9]+)-\d{4}-\d{2}(-\d{2})?\.(zip|csv)")
_KLINE_FOLDERS = ("klines", "markPriceKlines", "indexPriceKlines", "premiumIndexKlines")
_READ = ("klines", "markPriceKlines", "indexPriceKlines", "fundingRate", "bookDepth")


@dataclass(frozen=True, slots=True)
class _Dump:
    """Hold what a file's name and folders tell: `what` is the folder's word for its content."""

    path: Path
    leg: Leg
    ticker: str
    what: str
    timeframe: Timeframe | None


def read_binance(source: Path, options: ImportOptions) -> Reading:
    """Read a dump, or a folder of them.

    Bars of other lengths than the one wanted are read only where they are of the mark or the index price.
    Premium indices, trades and other dumps that the market's tables have no columns for are left out.

    Raises:
        MarketDataError: a file's name, its symbol, or its rows are not as Binance writes them.
    """
    paths = (
        [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.suffix in (".zip", ".csv"))
    )
    dumps = [_dump(path, options) for path in paths]
    if options.ticker is not None:
        dumps = [dump for dump in dumps if dump.ticker == options.ticker]
    bars = [d.timeframe for d in dumps if d.what == "klines" and d.timeframe is not None]
    timeframe = choose_timeframe(options.timeframe, bars, source)
    taken = [d for d in dumps if d.what in _READ and (d.what != "klines" or d.timeframe == timeframe)]
    unread = {d.what for d in dumps if d.what not in _READ} | {f"bars of {t}" for t in bars if t != timeframe}
    notes = tuple(f"left out: {what}" for what in sorted(unread))
    return Reading(tuple(_PIECES[d.what](d, bar_ms(timeframe)) for d in taken), timeframe, "binance", notes)


def _dump(path: Path, options: ImportOptions) -> _Dump:
    named = _NAME.fullmatch(path.name)
    if named is None:
        raise MarketDataError(
            f"{path}: not a name of Binance's dumps, such as BTCUSDT-1h-2024-01.zip or "
            "BTCUSDT-fundingRate-2024-01.zip; restore the name, or import the file as a table"
        )
    folders = path.resolve().parts[:-1]
    what, timeframe = named["what"], None
    if what in TIMEFRAMES:
        timeframe = next(t for t in TIMEFRAMES if t == what)
        what = next((f for f in reversed(folders) if f in _KLINE_FOLDERS), "klines")
    return _Dump(
        path,
        _leg(path, what, folders, options),
        _ticker(path, named["symbol"], options.quote),
        what,
        timeframe,
    )


def _leg(path: Path, what: str, folders: tuple[str, ...], options: ImportOptions) -> Leg:
    market = next((f for f in reversed(folders) if f in ("spot", "um", "cm")), None)
    if market == "cm":
        raise MarketDataError(
            f"{path}: coin-margined dumps are not read; name the folder of spot or futures/um"
        )
    if market is not None:
        return "spot" if market == "spot" else "perp"
    if what != "klines":
        return "perp"
    if options.leg is None:
        raise MarketDataError(
            f"{path}: neither name nor folder tells whether this is spot or the perpetual; keep Binance's "
            "folders (spot/…, futures/um/…), or name the leg"
        )
    return options.leg


def _ticker(path: Path, symbol: str, quote: str) -> str:
    ticker = symbol.removesuffix(quote)
    if ticker in (symbol, "") or "_" in symbol:
        raise MarketDataError(
            f"{path}: {symbol} is no coin priced in {quote}; name its quote asset, or move the file away"
        )
    return ticker


def _klines(dump: _Dump, _: int) -> Piece:
    """Read bars of a leg."""
    text = read_dump(dump.path, KLINE_COLUMNS)
    columns = ("open", "high", "low", "close", "volume")
    table = _stamped(dump, text).with_columns(text.numbers(c) for c in columns)
    if (table["volume"] == 0).all():
        raise MarketDataError(
            f"{dump.path}: nothing was traded in any of its {len(table)} bars, as in files of the mark, the "
            "index or the premium; put these into the folder that Binance names them by"
        )
    return Piece(dump.path, dump.leg, dump.ticker, "bars", _length(dump), table)


def _mark_or_index(dump: _Dump, _: int) -> Piece:
    """Read bars of the mark or the index price."""
    text = read_dump(dump.path, KLINE_COLUMNS)
    table = _stamped(dump, text).with_columns(text.numbers("open"), text.numbers("close"))
    kind: Kind = "mark" if dump.what == "markPriceKlines" else "index"
    return Piece(dump.path, "perp", dump.ticker, kind, _length(dump), table)


def _funding(dump: _Dump, _: int) -> Piece:
    """Read settlements."""
    text = read_dump(dump.path, FUNDING_COLUMNS)
    instants = snap_settlement(stamps_ms(text.cells["calc_time"], text.where, text.first_line))
    table = pl.DataFrame({"timestamp": instants.cast(TIMESTAMP)})
    rates = text.numbers("last_funding_rate").alias("funding_rate")
    return Piece(dump.path, "perp", dump.ticker, "settlements", 0, table.with_columns(rates))


def _depth(dump: _Dump, bar: int) -> Piece:
    """Read the quote value within 1 % of the mid on each side, as the last snapshot of each bar had it."""
    text = read_dump(dump.path, DEPTH_COLUMNS)
    rows = pl.DataFrame(
        {
            "at": stamps_ms(text.cells["timestamp"], text.where, text.first_line),
            "percentage": text.numbers("percentage"),
            "notional": text.numbers("notional"),
        }
    ).with_columns(timestamp=(pl.col("at") // bar * bar).cast(TIMESTAMP))
    sides = {-1.0: "bid_depth_100bp", 1.0: "ask_depth_100bp"}
    last = [
        rows.filter(pl.col("percentage") == percentage)
        .sort("at")
        .group_by("timestamp", maintain_order=True)
        .agg(pl.last("notional").alias(column))
        for percentage, column in sides.items()
    ]
    table = last[0].join(last[1], on="timestamp", how="full", coalesce=True).sort("timestamp")
    return Piece(dump.path, "perp", dump.ticker, "values", bar, table)


def _stamped(dump: _Dump, text: TextTable) -> pl.DataFrame:
    stamps = stamps_ms(text.cells["open_time"], text.where, text.first_line)
    return pl.DataFrame({"timestamp": on_grid(stamps, _length(dump), text.where, text.first_line)})


def _length(dump: _Dump) -> int:
    if dump.timeframe is None:
        raise MarketDataError(
            f"{dump.path}: its name gives no length of bars that is read; they are {TIMEFRAMES}"
        )
    return bar_ms(dump.timeframe)


_PIECES: dict[str, Callable[[_Dump, int], Piece]] = {
    "klines": _klines,
    "markPriceKlines": _mark_or_index,
    "indexPriceKlines": _mark_or_index,
    "fundingRate": _funding,
    "bookDepth": _depth,
}

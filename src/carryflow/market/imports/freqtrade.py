"""freqtrade's data folder: one feather file per pair, length of bars and kind of candle.

Source: freqtrade's documentation "Data Downloading" and its data handlers (github.com/freqtrade/freqtrade):
`user_data/data/binance/BTC_USDT-1h.feather` is spot, `…/futures/BTC_USDT_USDT-1h-futures.feather` the
perpetual, `-mark` its mark price, `-index` its index price, `-funding_rate` its settlements, with the rate in
the column open. Each has the columns date, open, high, low, close, volume. Marks and funding rates come in
files of 8 hours or of one.
"""

import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import polars as pl
import pyarrow.feather
from pyarrow import ArrowInvalid

from carryflow.core.errors import MarketDataError
from carryflow.market.imports.options import ImportOptions
from carryflow.market.imports.pieces import Kind, Piece, Reading, choose_timeframe
from carryflow.market.imports.stamps import on_grid, stamps_ms
from carryflow.market.schema import TIMESTAMP
from carryflow.market.settlements import snap_settlement
from carryflow.market.timeframe import TIMEFRAMES, Timeframe, bar_ms

_NAME = re.compile(
    r"(?P<base>[A-Za-z0-9]+)_(?P<quote>[A-Z0-9]+)(_(?P<settle>[A-Z0-9]+))?"
    r"-(?P<length>\d+[a-zA-Z]+)(-(?P<candle>[a-zA-Z_]+))?\.feather"
)
_TRADES = re.compile(r".+-trades\.feather")
_COLUMNS = ["date", "open", "high", "low", "close", "volume"]
_KINDS: dict[str | None, Kind] = {
    None: "bars",
    "futures": "bars",
    "mark": "mark",
    "index": "index",
    "funding_rate": "settlements",
}


@dataclass(frozen=True, slots=True)
class _Candles:
    """Hold what a file's name tells; `candle` is freqtrade's word for the kind, None for spot."""

    path: Path
    ticker: str
    quote: str
    settle: str | None
    candle: str | None
    timeframe: Timeframe | None


def read_freqtrade(source: Path, options: ImportOptions) -> Reading:
    """Read a feather file, or an exchange's data folder; the venue is called as that folder is.

    Pairs of another quote asset, coin-margined ones, trades and other candles are left out and noted.

    Raises:
        MarketDataError: a name is none of freqtrade's, or a file is not as freqtrade writes it.
    """
    paths = [source] if source.is_file() else sorted(source.rglob("*.feather"))
    candles = [_candles(path) for path in paths if _TRADES.fullmatch(path.name) is None]
    if options.ticker is not None:
        candles = [c for c in candles if c.ticker == options.ticker]
    ours = [c for c in candles if c.quote == options.quote and c.settle in (None, c.quote)]
    bars = [c.timeframe for c in ours if _KINDS.get(c.candle) == "bars" and c.timeframe is not None]
    timeframe = choose_timeframe(options.timeframe, bars, source)
    taken = [c for c in ours if _is_wanted(c, timeframe)]
    venues = sorted({_exchange(c.path) for c in taken})
    if len(venues) > 1:
        raise MarketDataError(
            f"{source} holds the data of {', '.join(venues)}; name the folder of one of them"
        )
    notes = tuple(f"left out: {c.path.name}" for c in candles if c not in taken)
    return Reading(tuple(_piece(c) for c in taken), timeframe, next(iter(venues), ""), notes)


def _exchange(path: Path) -> str:
    """Return the name of the exchange's folder that a file lies in."""
    folder = path.resolve().parent
    return folder.parent.name if folder.name == "futures" else folder.name


def _is_wanted(candles: _Candles, timeframe: Timeframe) -> bool:
    kind = _KINDS.get(candles.candle)
    return (
        candles.timeframe == timeframe
        if kind == "bars"
        else kind is not None and candles.timeframe is not None
    )


def _candles(path: Path) -> _Candles:
    named = _NAME.fullmatch(path.name)
    if named is None:
        raise MarketDataError(
            f"{path}: not a name of freqtrade's, such as BTC_USDT-1h.feather or "
            "BTC_USDT_USDT-1h-futures.feather; restore the name, or import the file as a table"
        )
    timeframe = next((t for t in TIMEFRAMES if t == named["length"]), None)
    return _Candles(path, named["base"], named["quote"], named["settle"], named["candle"], timeframe)


def _piece(candles: _Candles) -> Piece:
    """Read one file whose kind and length are known."""
    kind, path = _KINDS[candles.candle], candles.path
    table = _feather(path)
    stamps = stamps_ms(table["date"], str(path))
    numbers = table.select(pl.col(_COLUMNS[1:]).cast(pl.Float64).fill_nan(None))
    if kind == "settlements":
        paid = pl.DataFrame(
            {"timestamp": snap_settlement(stamps).cast(TIMESTAMP), "funding_rate": numbers["open"]}
        )
        return Piece(path, "perp", candles.ticker, kind, 0, paid.drop_nulls())
    if candles.timeframe is None:
        raise MarketDataError(f"{path}: its name gives no length of bars that is read; they are {TIMEFRAMES}")
    length = bar_ms(candles.timeframe)
    stamped = numbers.insert_column(0, on_grid(stamps, length, str(path)).alias("timestamp"))
    if kind != "bars":
        return Piece(path, "perp", candles.ticker, kind, length, stamped.select("timestamp", "open", "close"))
    return Piece(path, "spot" if candles.candle is None else "perp", candles.ticker, kind, length, stamped)


def _feather(path: Path) -> pl.DataFrame:
    try:
        table = pl.from_arrow(pyarrow.feather.read_table(BytesIO(path.read_bytes())))
    except (ArrowInvalid, OSError) as broken:
        raise MarketDataError(
            f"{path} is no whole feather file ({str(broken).splitlines()[0]}); download the data again"
        ) from None
    if not isinstance(table, pl.DataFrame) or table.columns != _COLUMNS:
        raise MarketDataError(
            f"{path} does not hold freqtrade's columns {_COLUMNS}; import it as a table, with a mapping"
        )
    if not len(table):
        raise MarketDataError(f"{path} holds no rows; download the data again, or leave it out")
    return table

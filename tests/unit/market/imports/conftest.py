"""Writers of the files that others publish, in their documented formats."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
import pyarrow.feather
import pytest

from carryflow.core.leg import Leg
from carryflow.market.imports.binance import DEPTH_COLUMNS, FUNDING_COLUMNS, KLINE_COLUMNS
from carryflow.market.synthetic import SyntheticSettings, synthetic_market

Tables = Mapping[tuple[Leg, str], pl.DataFrame]
HOURS = 24 * 40
"""Two months: January 2025, and nine days of February."""

HEADERS = {"klines": KLINE_COLUMNS, "fundingRate": FUNDING_COLUMNS, "bookDepth": DEPTH_COLUMNS}


def klines(prices: pl.DataFrame, length_ms: int = 3_600_000, scale: int = 1) -> list[str]:
    """Return rows of Binance's klines; `scale` 1000 stamps them in microseconds."""
    return [
        f"{ms * scale},{o!r},{h!r},{low!r},{c!r},{v!r},{(ms + length_ms) * scale - 1},0,0,0,0,0"
        for ms, o, h, low, c, v in prices.iter_rows()
    ]


def bars(table: pl.DataFrame) -> pl.DataFrame:
    """Return a leg's bars: stamp (ms), open, high, low, close, volume."""
    return table.select(pl.col("timestamp").dt.epoch("ms"), "open", "high", "low", "close", "volume")


def marks(table: pl.DataFrame) -> pl.DataFrame:
    """Return the mark's bars in the same form."""
    both = ("mark_open", "mark_close")
    return table.select(
        pl.col("timestamp").dt.epoch("ms"),
        "mark_open",
        pl.max_horizontal(both).alias("high"),
        pl.min_horizontal(both).alias("low"),
        "mark_close",
        pl.lit(0.0).alias("volume"),
    )


def funding(table: pl.DataFrame, late_ms: int = 7) -> list[str]:
    """Return rows of Binance's funding dump, stamped some milliseconds late."""
    paid = table.filter(pl.col("funding_rate").is_not_null()).select("timestamp", "funding_rate")
    return [f"{round(at.timestamp() * 1000) + late_ms},8,{rate!r}" for at, rate in paid.iter_rows()]


WriteDump = Callable[..., Path]


@pytest.fixture(scope="session")
def market() -> Tables:
    return synthetic_market(SyntheticSettings(hours=HOURS), ["BTC", "ETH"])


@pytest.fixture
def write_dump() -> WriteDump:
    """Return a writer of one dump file; `.zip` names are zipped, and `header` names a kind in HEADERS."""

    def write(path: Path, rows: list[str], header: str | None = None) -> Path:
        lines = [",".join(HEADERS[header]), *rows] if header else rows
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join(lines) + "\n"
        if path.suffix == ".zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(path.with_suffix(".csv").name, text)
        else:
            path.write_text(text)
        return path

    return write


@pytest.fixture
def dumps(tmp_path: Path, market: Tables, write_dump: WriteDump) -> Path:
    """Return a folder with the whole market as Binance lays it out: monthly, zipped, older files unheaded."""
    root = tmp_path / "data"
    for (leg, ticker), table in market.items():
        for month, rows in table.group_by(pl.col("timestamp").dt.strftime("%Y-%m")):
            symbol, date = f"{ticker}USDT", str(month[0])
            if leg == "spot":
                path = root / f"spot/monthly/klines/{symbol}/1h/{symbol}-1h-{date}.zip"
                write_dump(path, klines(bars(rows), scale=1000))
                continue
            um = root / "futures/um/monthly"
            name = f"{symbol}/1h/{symbol}-1h-{date}.zip"
            write_dump(um / "klines" / name, klines(bars(rows)), "klines")
            write_dump(um / "markPriceKlines" / name, klines(marks(rows)), "klines")
            write_dump(
                um / f"fundingRate/{symbol}/{symbol}-fundingRate-{date}.zip", funding(rows), "fundingRate"
            )
    return root


@pytest.fixture
def freqtrade_folder(tmp_path: Path, market: Tables) -> Path:
    """Return a freqtrade data folder of one exchange with the same market, its marks hourly."""
    root = tmp_path / "user_data" / "data" / "binance"
    for (leg, ticker), table in market.items():
        if leg == "spot":
            write_feather(root / f"{ticker}_USDT-1h.feather", bars(table))
            continue
        name = f"{ticker}_USDT_USDT-1h"
        write_feather(root / f"futures/{name}-futures.feather", bars(table))
        write_feather(root / f"futures/{name}-mark.feather", marks(table))
        paid = table.filter(pl.col("funding_rate").is_not_null()).select(
            pl.col("timestamp").dt.epoch("ms"), "funding_rate", *(pl.lit(0.0).alias(c) for c in "hlcv")
        )
        write_feather(root / f"futures/{name}-funding_rate.feather", paid)
    return root


def write_feather(path: Path, candles: pl.DataFrame) -> None:
    """Write candles (stamp in ms and five numbers) as freqtrade does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    candles.columns = ["date", "open", "high", "low", "close", "volume"]
    dated = candles.with_columns(pl.col("date").cast(pl.Datetime("ms", "UTC")))
    pyarrow.feather.write_feather(dated.to_arrow(), path, compression="lz4")


@pytest.fixture
def without_books(market: Tables) -> Tables:
    """Return what the files above hold of the market: everything but the order books."""
    books = [c for c in market["spot", "BTC"].columns if c.startswith(("bid", "ask"))]
    return {
        key: table.with_columns(pl.lit(None, pl.Float64).alias(c) for c in books)
        for key, table in market.items()
    }


@pytest.fixture
def feather_writer() -> Callable[[Path, pl.DataFrame], None]:
    return write_feather

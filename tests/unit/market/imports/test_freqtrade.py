"""freqtrade's data folder, imported and compared with the market that it was written from."""

from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl
import pyarrow.feather
import pytest

from carryflow.core.errors import MarketDataError
from carryflow.core.leg import LEGS, Leg
from carryflow.market.coverage import check_coverage
from carryflow.market.data import DataSettings
from carryflow.market.imports.importer import import_market
from carryflow.market.imports.options import ImportOptions
from carryflow.market.store import read_leg, read_source

Tables = Mapping[tuple[Leg, str], pl.DataFrame]
Feather = Callable[[Path, pl.DataFrame], None]
FREQTRADE = ImportOptions("freqtrade")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def candles(count: int, hours: int = 1, price: float = 100.0) -> pl.DataFrame:
    stamps = [1_735_689_600_000 + i * hours * 3_600_000 for i in range(count)]
    flat = dict.fromkeys(("open", "high", "low", "close"), [price] * count)
    return pl.DataFrame({"date": stamps, **flat, "volume": [1.0] * count})


def test_a_freqtrade_folder_imports_back_equal(
    freqtrade_folder: Path, without_books: Tables, home: Path
) -> None:
    report = import_market(freqtrade_folder, home, FREQTRADE)
    for (leg, ticker), table in without_books.items():
        assert read_leg(home, leg, ticker).equals(table), (leg, ticker)
    assert (len(report.files), report.notes) == (8, ())
    source = read_source(home)
    assert source is not None
    assert (source.venue, source.tape_id) == ("binance", "live")


@pytest.mark.pitfall("P05")
def test_marks_of_eight_hours_are_known_where_funding_settles_and_nowhere_else(
    freqtrade_folder: Path, market: Tables, home: Path, feather_writer: Feather
) -> None:
    futures = freqtrade_folder / "futures"
    (futures / "BTC_USDT_USDT-1h-mark.feather").unlink()
    coarse = (
        market["perp", "BTC"]
        .gather_every(8)
        .select(
            pl.col("timestamp").dt.epoch("ms"),
            *(pl.col("mark_open").alias(c) for c in "ohlc"),
            pl.lit(0.0).alias("v"),
        )
    )
    feather_writer(futures / "BTC_USDT_USDT-8h-mark.feather", coarse)
    report = import_market(freqtrade_folder, home, FREQTRADE)
    assert "BTC: the mark is known only every 480 minutes" in report.notes
    perp = read_leg(home, "perp", "BTC")
    settled = perp.filter(pl.col("funding_rate").is_not_null())
    assert settled["mark_open"].equals(market["perp", "BTC"].gather_every(8)["mark_open"])
    assert perp["mark_open"].count() == len(perp) // 8
    assert perp["mark_close"].count() == 0
    check_coverage(read_leg(home, "spot", "BTC"), perp, "BTC", DataSettings(mark="perp"))


def test_marks_of_a_shorter_length_give_each_bar_its_open_and_its_close(
    tmp_path: Path, home: Path, feather_writer: Feather
) -> None:
    folder = tmp_path / "okx" / "futures"
    feather_writer(folder / "SOL_USDT_USDT-4h-futures.feather", candles(2, hours=4))
    hourly = candles(8).with_columns(open=pl.arange(100, 108), close=pl.arange(101, 109))
    feather_writer(folder / "SOL_USDT_USDT-1h-mark.feather", hourly)
    feather_writer(folder / "SOL_USDT_USDT-8h-mark.feather", candles(1, hours=8))
    report = import_market(folder.parent, home, FREQTRADE)
    perp = read_leg(home, "perp", "SOL", timeframe="4h")
    assert perp.select("mark_open", "mark_close").rows() == [(100.0, 104.0), (104.0, 108.0)]
    assert any("SOL_USDT_USDT-8h-mark" in note for note in report.notes)


def test_pairs_of_another_quote_and_coin_margined_ones_are_left_out_and_noted(
    tmp_path: Path, home: Path, feather_writer: Feather
) -> None:
    folder = tmp_path / "binance"
    for name in ("BTC_USDT-1h", "ETH_BTC-1h", "BTC_USDT-5m", "futures/BTC_USD_BTC-1h-futures"):
        feather_writer(folder / f"{name}.feather", candles(3))
    (folder / "BTC_USDT-trades.feather").write_bytes(b"")
    report = import_market(folder, home, ImportOptions("freqtrade", timeframe="1h"))
    assert [(one.leg, one.ticker) for one in report.legs] == [("spot", "BTC")]
    assert sorted(report.notes) == [
        "left out: BTC_USDT-5m.feather",
        "left out: BTC_USD_BTC-1h-futures.feather",
        "left out: ETH_BTC-1h.feather",
    ]
    with pytest.raises(MarketDataError, match="no files of format freqtrade for BTC in EUR"):
        import_market(folder, home, ImportOptions("freqtrade", quote="EUR", ticker="BTC"))


@pytest.mark.parametrize("leg", LEGS)
def test_a_broken_feather_file_is_named_and_nothing_is_written(
    freqtrade_folder: Path, home: Path, leg: Leg
) -> None:
    name = {"spot": "ETH_USDT-1h.feather", "perp": "futures/ETH_USDT_USDT-1h-futures.feather"}[leg]
    path = freqtrade_folder / name
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(
        MarketDataError, match=rf"{path.name} is no whole feather file .* download the data again"
    ):
        import_market(freqtrade_folder, home, FREQTRADE)
    assert not home.exists()


def test_what_freqtrade_did_not_write_is_refused(tmp_path: Path, home: Path, feather_writer: Feather) -> None:
    path = tmp_path / "binance" / "BTC_USDT-1h.feather"
    path.parent.mkdir()
    pyarrow.feather.write_feather(candles(3).rename({"date": "time"}).to_arrow(), path)
    with pytest.raises(MarketDataError, match="does not hold freqtrade's columns"):
        import_market(path, home, FREQTRADE)
    feather_writer(path, candles(3).with_columns(pl.col("date") + 60_000))
    with pytest.raises(MarketDataError, match=r"row 1: 3 stamp\(s\) at which no bar of 60 min opens"):
        import_market(path, home, FREQTRADE)
    feather_writer(path, candles(0))
    with pytest.raises(MarketDataError, match="holds no rows"):
        import_market(path, home, FREQTRADE)
    feather_writer(path, candles(3))
    feather_writer(tmp_path / "okx" / "ETH_USDT-1h.feather", candles(3))
    with pytest.raises(MarketDataError, match="holds the data of binance, okx; name the folder of one"):
        import_market(tmp_path, home, FREQTRADE)
    path.rename(path.with_name("bitcoin.feather"))
    with pytest.raises(MarketDataError, match="not a name of freqtrade's"):
        import_market(path.parent, home, FREQTRADE)

"""Binance's public dumps, imported and compared with the market that they were written from."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from carryflow.core.errors import CoverageError, MarketDataError
from carryflow.core.leg import LEGS, Leg
from carryflow.market.coverage import check_coverage
from carryflow.market.data import DataSettings
from carryflow.market.imports.importer import import_market
from carryflow.market.imports.options import ImportOptions, ImportReport
from carryflow.market.settlements import read_settlements
from carryflow.market.store import Source, leg_path, merge_leg, read_leg, read_source, write_source
from carryflow.market.timeframe import HOUR_MS

Tables = Mapping[tuple[Leg, str], pl.DataFrame]
Write = Callable[..., Path]
DUMP = ImportOptions("binance")
START_MS = 1_735_689_600_000
ROW = "{},100.0,102.0,99.0,101.0,5.0,0,0,0,0,0,0"


def rows(count: int, first: int = 0, close: float = 101.0, length_ms: int = HOUR_MS) -> list[str]:
    stamps = [START_MS + (first + i) * length_ms for i in range(count)]
    return [ROW.replace("101.0", repr(close)).format(stamp) for stamp in stamps]


def paid(*hours: int) -> list[str]:
    return [f"{START_MS + hour * HOUR_MS + 3},8,0.000{i + 1}" for i, hour in enumerate(hours)]


def take(source: Path, into: Path, **options: Any) -> ImportReport:
    return import_market(source, into, ImportOptions("binance", **options))


@pytest.fixture
def perp(tmp_path: Path) -> Path:
    return tmp_path / "futures" / "um" / "daily"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_market_exported_as_dumps_imports_back_equal_and_nothing_of_it_is_missing(
    dumps: Path, without_books: Tables, home: Path
) -> None:
    report = import_market(dumps, home, DUMP)
    for (leg, ticker), table in without_books.items():
        assert read_leg(home, leg, ticker).equals(table), (leg, ticker)
    for ticker in ("BTC", "ETH"):
        spot, perpetual = (read_leg(home, leg, ticker) for leg in LEGS)
        coverage = check_coverage(spot, perpetual, ticker, DataSettings(mark="required"))
        assert (coverage.bars, coverage.settlements) == (len(spot), len(spot) // 8)
    assert len(report.files) == 2 * 2 * 4
    assert {(one.leg, one.ticker, one.rows_new) for one in report.legs} == {
        (leg, ticker, 960) for leg in LEGS for ticker in ("BTC", "ETH")
    }
    assert "perp ETH: 960 new of 960 rows, 2025-01-01 00:00 to 2025-02-09 23:00" in report.words
    assert read_source(home) == Source("binance", "live", START_MS + 960 * HOUR_MS)


def test_a_second_import_changes_nothing_and_one_coin_can_be_taken_alone(dumps: Path, home: Path) -> None:
    first = take(dumps, home, ticker="BTC")
    assert {one.ticker for one in first.legs} == {"BTC"}
    before = leg_path(home, "perp", "BTC").read_bytes()
    again = take(dumps, home, ticker="BTC")
    assert [one.rows_new for one in again.legs] == [0, 0]
    assert leg_path(home, "perp", "BTC").read_bytes() == before


def test_funding_and_marks_that_come_later_fill_only_their_own_columns(
    dumps: Path, market: Tables, home: Path
) -> None:
    for leg in LEGS:
        table = market[leg, "BTC"]
        bare = [c for c in ("mark_open", "mark_close", "funding_rate") if c in table.columns]
        merge_leg(home, leg, "BTC", table.with_columns(pl.lit(None, pl.Float64).alias(c) for c in bare))
    um = dumps / "futures/um/monthly"
    for kind in ("fundingRate", "markPriceKlines"):
        assert [one.rows_new for one in take(um / kind, home, ticker="BTC").legs] == [0]
    assert read_leg(home, "perp", "BTC").equals(market["perp", "BTC"])


@pytest.mark.pitfall("P03")
def test_settlements_of_bars_longer_than_an_hour_go_beside_them(
    perp: Path, home: Path, write_dump: Write
) -> None:
    eight = 8 * HOUR_MS
    write_dump(perp / "klines/BTCUSDT-8h-2025-01.csv", rows(3, length_ms=eight))
    write_dump(perp / "markPriceKlines/BTCUSDT-1h-2025-01.csv", rows(24))
    write_dump(perp / "BTCUSDT-fundingRate-2025-01.csv", paid(0, 8, 10, 12, 40))
    report = take(perp, home)
    assert report.settlements_new == {"BTC": 5}
    settled = read_settlements(home, "BTC", timeframe="8h")
    assert settled["timestamp"].dt.epoch("ms").to_list() == [
        START_MS + h * HOUR_MS for h in (0, 8, 10, 12, 40)
    ]
    assert settled["funding_rate"].to_list() == [0.0001, 0.0002, 0.0003, 0.0004, 0.0005]
    assert settled["mark"].to_list() == [100.0] * 4 + [None]
    bars = read_leg(home, "perp", "BTC", timeframe="8h")
    assert bars["mark_open"].to_list() == [100.0] * 3
    assert bars["mark_close"].to_list() == [101.0] * 3
    write_dump(perp / "BTCUSDT-fundingRate-2025-01.csv", paid(8, 0))
    with pytest.raises(
        MarketDataError, match=r"2 settlement\(s\) are stored with other values at 2025-01-01"
    ):
        take(perp, home)


@pytest.mark.pitfall("P06")
def test_index_prices_and_marks_land_in_columns_of_their_own(
    perp: Path, home: Path, write_dump: Write
) -> None:
    write_dump(perp / "klines/BTCUSDT-1h-2025-01.csv", rows(2))
    write_dump(perp / "markPriceKlines/BTCUSDT-1h-2025-01.csv", rows(2, close=101.5))
    write_dump(perp / "indexPriceKlines/BTCUSDT-1h-2025-01.csv", rows(1, close=101.7))
    write_dump(perp / "premiumIndexKlines/BTCUSDT-1h-2025-01.csv", rows(1))
    report = take(perp, home)
    table = read_leg(home, "perp", "BTC")
    assert table["close"].to_list() == [101.0, 101.0]
    assert table["mark_close"].to_list() == [101.5, 101.5]
    assert table["index_close"].to_list() == [101.7, None]
    assert report.notes == ("left out: premiumIndexKlines",)


@pytest.mark.pitfall("P06")
def test_a_file_of_marks_is_not_taken_for_one_of_trades(perp: Path, home: Path, write_dump: Write) -> None:
    write_dump(perp / "BTCUSDT-1h-2025-01.csv", [row.replace(",5.0,", ",0,") for row in rows(3)])
    with pytest.raises(MarketDataError, match="nothing was traded in any of its 3 bars"):
        take(perp, home)


def test_depth_is_that_of_the_last_snapshot_in_its_bar(perp: Path, home: Path, write_dump: Write) -> None:
    write_dump(perp / "klines/BTCUSDT-1h-2025-01-01.csv", rows(2))
    snapshots = [
        f"2025-01-01 {clock},{percentage},1.0,{notional}"
        for clock, scale in (("00:00:08", 1), ("00:59:58", 2), ("01:00:00", 3))
        for percentage, notional in (
            (-5, 900.0),
            (-1, 10.0 * scale),
            (-0.2, 1.0),
            (1, 20.0 * scale),
            (5, 800.0),
        )
    ]
    write_dump(perp / "bookDepth/BTCUSDT-bookDepth-2025-01-01.zip", snapshots, "bookDepth")
    take(perp, home)
    table = read_leg(home, "perp", "BTC")
    assert table["bid_depth_100bp"].to_list() == [20.0, 30.0]
    assert table["ask_depth_100bp"].to_list() == [40.0, 60.0]


def test_overlapping_files_may_agree_and_are_refused_where_they_do_not(
    perp: Path, home: Path, write_dump: Write
) -> None:
    write_dump(perp / "klines/BTCUSDT-1h-2025-01.csv", rows(5))
    daily = write_dump(perp / "klines/BTCUSDT-1h-2025-01-01.csv", rows(4, first=3))
    assert take(perp, home).legs[0].rows_new == 7
    write_dump(daily, rows(4, first=3, close=100.5))
    with pytest.raises(
        MarketDataError, match="contradict each other in close at 2025-01-01 03:00, 2025-01-01 04:00;"
    ):
        take(perp, home.with_name("other"))
    assert not home.with_name("other").exists()


def test_stored_values_are_refused_with_their_rows_or_replaced_on_request(
    perp: Path, home: Path, write_dump: Write
) -> None:
    bars = write_dump(perp / "klines/BTCUSDT-1h-2025-01.csv", rows(5))
    write_dump(perp / "BTCUSDT-fundingRate-2025-01.csv", paid(0))
    take(perp, home)
    before = leg_path(home, "perp", "BTC").read_bytes()
    write_dump(bars, [*rows(4), *rows(2, first=4, close=101.5)])
    with pytest.raises(MarketDataError, match="other values in close at 2025-01-01 04:00;"):
        take(perp / "klines", home)
    assert leg_path(home, "perp", "BTC").read_bytes() == before
    assert take(perp / "klines", home, on_conflict="replace").legs[0].rows_new == 1
    stored = read_leg(home, "perp", "BTC")
    assert stored["close"].to_list() == [101.0] * 4 + [101.5] * 2
    assert stored["funding_rate"].to_list() == [0.0001, *[None] * 5]


@pytest.mark.pitfall("P05")
def test_a_settlement_between_bars_that_has_no_bar_is_refused_and_one_outside_is_noted(
    perp: Path, home: Path, write_dump: Write
) -> None:
    write_dump(perp / "klines/BTCUSDT-1h-2025-01.csv", [*rows(8), *rows(2, first=9)])
    write_dump(perp / "BTCUSDT-fundingRate-2025-01.csv", paid(0, 8, 16))
    with pytest.raises(CoverageError, match="funding settled at 2025-01-01 08:00 but no bar opens there"):
        take(perp, home)
    assert not home.exists()
    write_dump(perp / "klines/BTCUSDT-1h-2025-01.csv", rows(10))
    report = take(perp, home)
    assert report.notes == (
        "left out: BTC perp: 1 rows of mark, index, funding or depth for which there are no bars; import the "
        "bars, then these files again",
    )


def test_bars_of_several_lengths_are_not_mixed(perp: Path, home: Path, write_dump: Write) -> None:
    write_dump(perp / "klines/BTCUSDT-1h-2025-01.csv", rows(3))
    write_dump(perp / "klines/BTCUSDT-15m-2025-01.csv", rows(12, length_ms=HOUR_MS // 4))
    with pytest.raises(MarketDataError, match="holds bars of 15m, 1h; name the timeframe"):
        take(perp, home)
    report = take(perp, home, timeframe="15m")
    assert (report.legs[0].rows, report.notes) == (12, ("left out: bars of 1h",))
    assert take(perp, home).legs[0].rows_new == 0  # the folder knows by now which ones it holds


def test_dumps_do_not_mix_with_the_hours_of_another_venue(perp: Path, home: Path, write_dump: Write) -> None:
    write_dump(perp / "klines/BTCUSDT-1h-2025-01.csv", rows(3))
    write_source(home, Source("simulated", "tape", 0))
    with pytest.raises(MarketDataError, match="must not be mixed in"):
        take(perp, home)
    assert not leg_path(home, "perp", "BTC").exists()


HEAD = ",".join(["open_time", "open", "high", "low", "close", "volume"] + ["x"] * 6)


KLINES = "BTCUSDT-1h-2025-01.csv"


@pytest.mark.parametrize(
    ("name", "lines", "told"),
    [
        (
            KLINES,
            [HEAD, *rows(2), rows(3)[2].replace("99.0", "9x.0")],
            r"BTCUSDT-1h-2025-01\.csv line 4: column low holds '9x.0', which is no number",
        ),
        (KLINES, [*rows(2), rows(3)[2].rsplit(",", 1)[0]], r"line 3 has 11 cells where 12 belong"),
        (KLINES, [*rows(2), rows(3)[2] + ",7", *rows(1, first=3)], r"line 3 has 13 cells"),
        (KLINES, [*rows(1), "", *rows(1, first=1)], r"line 2 has 0 cells"),
        (
            KLINES,
            [*rows(1), ROW.format(START_MS + 90_000)],
            r"line 2: 1 stamp\(s\) at which no bar of 60 min opens: 2025-01-01 00:01:30",
        ),
        (KLINES, [*rows(1), ROW.format("yesterday")], r"line 2: 'yesterday' is no stamp"),
        (KLINES, [rows(1)[0].replace("102.0", "100.5")], r"perp table BTC: a high under its own"),
        (KLINES, [rows(1)[0].replace("102.0", "")], r"a missing price at 2025-01-01 00:00"),
        (KLINES, [HEAD], r"holds no rows"),
        (KLINES, [""], r"is empty"),
        ("BTCBUSD-1h-2025-01.csv", rows(2), r"BTCBUSD is no coin priced in USDT"),
        ("BTCUSD_PERP-1h-2025-01.csv", rows(2), r"BTCUSD_PERP is no coin priced in USDT"),
        ("btc hourly.csv", rows(2), r"not a name of Binance's dumps"),
        ("BTCUSDT-fundingRate-2025-01.csv", ["1735689600003,8"], r"line 1 has 2 cells where 3 belong"),
    ],
)
def test_a_broken_dump_is_a_clear_error_and_nothing_is_written(
    perp: Path, home: Path, write_dump: Write, name: str, lines: list[str], told: str
) -> None:
    write_dump(perp / "klines" / "ETHUSDT-1h-2025-01.csv", rows(5))
    write_dump(perp / "klines" / name, lines)
    with pytest.raises(MarketDataError, match=told):
        take(perp, home)
    assert not home.exists()


def test_a_truncated_zip_and_a_wrong_checksum_are_named(perp: Path, home: Path, write_dump: Write) -> None:
    path = write_dump(perp / "klines/BTCUSDT-1h-2025-01.zip", rows(500))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MarketDataError, match=r"2025-01\.zip is no whole zip file .* download it again"):
        take(perp, home)
    path.write_bytes(whole)
    path.with_name(f"{path.name}.CHECKSUM").write_text(f"{'0' * 64}  {path.name}\n")
    with pytest.raises(MarketDataError, match="does not match BTCUSDT-1h"):
        take(perp, home)
    damaged = bytearray(whole)
    damaged[200] ^= 0xFF
    path.with_name(f"{path.name}.CHECKSUM").unlink()
    path.write_bytes(bytes(damaged))
    with pytest.raises(MarketDataError, match="is no whole zip file"):
        take(perp, home)


def test_a_source_with_nothing_in_it_is_a_clear_error(tmp_path: Path, home: Path) -> None:
    with pytest.raises(MarketDataError, match="there is no"):
        take(tmp_path / "nowhere", home)
    with pytest.raises(MarketDataError, match="no files of format binance in USDT"):
        take(tmp_path, home)


def test_a_file_outside_binances_folders_needs_its_leg_named(
    tmp_path: Path, home: Path, write_dump: Write
) -> None:
    path = write_dump(tmp_path / "BTCUSDT-1h-2025-01.csv", rows(3))
    with pytest.raises(MarketDataError, match="neither name nor folder tells"):
        take(path, home)
    assert take(path, home, leg="spot").legs[0].leg == "spot"
    with pytest.raises(MarketDataError, match="coin-margined dumps are not read"):
        take(write_dump(tmp_path / "cm/klines/BTCUSDT-1h-2025-01.csv", rows(3)), home)


def test_stamps_are_read_in_the_unit_that_they_are_written_in(
    perp: Path, home: Path, write_dump: Write
) -> None:
    micro = [ROW.format((START_MS + i * HOUR_MS) * 1000) for i in range(3, 6)]
    write_dump(perp / "klines/BTCUSDT-1h-2025-01.csv", [*rows(3), *micro])
    take(perp, home)
    stamps = read_leg(home, "perp", "BTC")["timestamp"].to_list()
    assert stamps == [datetime(2025, 1, 1, hour, tzinfo=UTC) for hour in range(6)]

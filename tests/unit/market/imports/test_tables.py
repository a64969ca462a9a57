"""Plain CSV and Parquet tables, imported through a mapping of their columns."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from carryflow.core.errors import MarketDataError, SettingsError
from carryflow.core.leg import LEGS, Leg
from carryflow.market.imports.importer import import_market
from carryflow.market.imports.options import ImportOptions, ImportReport
from carryflow.market.store import is_stored, leg_path, merge_leg, read_leg, read_source

Tables = Mapping[tuple[Leg, str], pl.DataFrame]
START = datetime(2024, 3, 1, tzinfo=UTC)
NAMES = {
    "timestamp": "Date",
    "open": "Open",
    "high": "High",
    "low": "Low",
    "close": "Last",
    "volume": "Volume BTC",
}


def take(source: Path, into: Path, **options: Any) -> ImportReport:
    return import_market(source, into, ImportOptions("table", **options))


def table(stamps: Sequence[object], **columns: list[float | None]) -> pl.DataFrame:
    count = len(stamps)
    bar = {"Open": 100.0, "High": 102.0, "Low": 99.0, "Last": 101.0, "Volume BTC": 5.0}
    return pl.DataFrame({"Date": stamps, **{c: [v] * count for c, v in bar.items()}, **columns})


def hours(count: int, step: timedelta = timedelta(hours=1)) -> list[datetime]:
    return [START + i * step for i in range(count)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_folder_of_tables_in_the_schemas_own_columns_imports_back_equal(
    tmp_path: Path, market: Tables, home: Path, suffix: str
) -> None:
    for (leg, ticker), rows in market.items():
        path = tmp_path / f"{leg}_{ticker}.{suffix}"
        rows.write_parquet(path) if suffix == "parquet" else rows.write_csv(path)
    report = take(tmp_path, home)
    assert len(report.legs) == 4
    for (leg, ticker), rows in market.items():
        assert read_leg(home, leg, ticker).equals(rows)


def test_an_import_that_died_half_way_is_healed_by_the_same_import(
    tmp_path: Path, market: Tables, home: Path
) -> None:
    (tmp_path / "in").mkdir()
    for (leg, ticker), rows in market.items():
        rows.write_parquet(tmp_path / "in" / f"{leg}_{ticker}.parquet")
    blocked = leg_path(home, "perp", "ETH")
    blocked.mkdir(parents=True)
    with pytest.raises(OSError, match=r"perp_ETH\.parquet"):
        take(tmp_path / "in", home)
    assert read_source(home) is not None, "nobody else's bars can be mixed in"
    assert not is_stored(home, "perp", "ETH")
    blocked.rmdir()
    take(tmp_path / "in", home)
    assert all(read_leg(home, leg, ticker).equals(rows) for (leg, ticker), rows in market.items())


def test_a_mapping_names_the_columns_and_others_are_ignored(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "Bitstamp hourly.csv"
    table(hours(3), Trades=[1.0] * 3).with_columns(pl.col("Date").dt.strftime("%Y-%m-%d %H:%M:%S")).write_csv(
        path
    )
    report = take(path, home, ticker="BTC", leg="spot", columns=NAMES, venue="bitstamp")
    assert report.words == "spot BTC: 3 new of 3 rows, 2024-03-01 00:00 to 2024-03-01 02:00"
    stored = read_leg(home, "spot", "BTC")
    assert stored.select("timestamp", "close", "volume").rows() == [(at, 101.0, 5.0) for at in hours(3)]


@pytest.mark.parametrize(
    "write",
    [
        lambda at: round(at.timestamp()),
        lambda at: at.timestamp(),
        lambda at: round(at.timestamp() * 1_000),
        lambda at: round(at.timestamp() * 1_000_000),
        lambda at: at.isoformat(),
        lambda at: f"{at:%Y-%m-%dT%H:%M:%S.000Z}",
        lambda at: f"{at:%Y-%m-%d %H:%M}",
        lambda at: f"{at + timedelta(hours=2):%Y-%m-%d %H:%M:%S}+02:00",
        lambda at: at,
        lambda at: at.replace(tzinfo=None),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_stamps_may_be_epochs_of_any_unit_or_iso_dates(
    tmp_path: Path, home: Path, write: Any, suffix: str
) -> None:
    path, rows = tmp_path / f"a.{suffix}", table([write(at) for at in hours(3)])
    rows.write_parquet(path) if suffix == "parquet" else rows.write_csv(path)
    take(path, home, ticker="BTC", leg="spot", columns=NAMES)
    assert read_leg(home, "spot", "BTC")["timestamp"].to_list() == hours(3)


@pytest.mark.parametrize(("step", "timeframe"), [(timedelta(minutes=5), "5m"), (timedelta(days=1), "1d")])
def test_the_length_of_bars_is_told_by_their_stamps(
    tmp_path: Path, home: Path, step: timedelta, timeframe: Any
) -> None:
    table(hours(6, step)).write_parquet(tmp_path / "a.parquet")
    wanted = {"ticker": "BTC", "leg": "spot", "columns": NAMES}
    take(tmp_path / "a.parquet", home, **wanted)
    assert len(read_leg(home, "spot", "BTC", timeframe=timeframe)) == 6
    with pytest.raises(MarketDataError, match=f"holds bars of {timeframe}, not of 1h"):
        take(tmp_path / "a.parquet", home.with_name("hourly"), timeframe="1h", **wanted)


def test_a_table_without_prices_fills_its_columns_into_the_bars_that_are_stored(
    tmp_path: Path, market: Tables, home: Path
) -> None:
    whole = market["perp", "BTC"]
    names = ("mark_open", "mark_close", "funding_rate", "bid", "ask", "bid_depth", "ask_depth")
    merge_leg(home, "perp", "BTC", whole.with_columns(pl.lit(None, pl.Float64).alias(c) for c in names))
    late = pl.col("timestamp") + pl.duration(milliseconds=5)
    paid = whole.filter(pl.col("funding_rate").is_not_null()).select(late, rate="funding_rate")
    paid.write_parquet(tmp_path / "perp_BTC-funding.parquet")
    take(tmp_path, home, columns={"funding_rate": "rate"})
    (tmp_path / "perp_BTC-funding.parquet").unlink()
    whole.select("timestamp", *(c for c in names if c != "funding_rate")).write_csv(
        tmp_path / "perp_BTC-rest.csv"
    )
    take(tmp_path, home)
    assert read_leg(home, "perp", "BTC").equals(whole)


def test_rows_without_any_bar_are_refused_when_nothing_else_is_there(tmp_path: Path, home: Path) -> None:
    table(hours(3), mark_open=[1.0] * 3).select("Date", "mark_open").write_csv(tmp_path / "perp_BTC.csv")
    with pytest.raises(MarketDataError, match=r"nothing of .* belongs to any bar"):
        take(tmp_path, home, columns={"timestamp": "Date"})
    assert not home.exists()


@pytest.mark.parametrize(
    ("columns", "options", "told"),
    [
        ({"timestamp": "Time"}, {"leg": "spot"}, "no column Time, "),
        (NAMES | {"close": "Close"}, {"leg": "spot"}, "no column Close; it holds"),
        ({k: v for k, v in NAMES.items() if k != "volume"}, {"leg": "spot"}, "no column volume; it holds"),
        (NAMES | {"mark_open": "Open"}, {"leg": "spot"}, "which the spot leg has no columns for"),
        (NAMES, {}, "does not tell leg and ticker as spot_BTC.csv would"),
        (NAMES | {"closing": "Last"}, {"leg": "spot"}, "names columns .'closing'. that no table has"),
    ],
)
def test_a_mapping_that_does_not_fit_is_a_clear_error(
    tmp_path: Path, home: Path, columns: dict[str, str], options: dict[str, Any], told: str
) -> None:
    table(hours(3)).write_csv(tmp_path / "a.csv")
    with pytest.raises((MarketDataError, SettingsError), match=told):
        take(tmp_path / "a.csv", home, ticker="BTC", columns=columns, **options)
    assert not home.exists()


def test_a_mapping_is_for_tables_only() -> None:
    with pytest.raises(SettingsError, match="files of binance have fixed columns"):
        ImportOptions("binance", columns=NAMES)


FIRST = "2024-03-01 00:00,100,102,99,101,5"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ["2024-03-01 00:00,100,102,99,101,five"],
            "line 2: column Volume BTC holds 'five', which is no number",
        ),
        ([FIRST, "2024-03-01 01:00,100,102,99"], "line 3 has 4 cells where 6 belong"),
        ([FIRST, "soon,100,102,99,101,5"], "line 3: 'soon' is no stamp"),
        (["20240301,100,102,99,101,5"], "line 2: '20240301' is no stamp"),
        (["2024-03-01 00:30,100,102,99,101,5"], "line 2: 1 stamp.s. at which no bar of 60 min opens"),
        (["2024-03-01 00:00,100,102,99,nan,5"], "a missing price at 2024-03-01 00:00"),
        (["2024-03-01 00:00,100,102,99,inf,5"], "a price that is NaN, infinite or not positive"),
        ([FIRST, "2024-03-01 00:00,100,102,99,100,5"], "contradict each other in close at 2024-03-01 00:00"),
    ],
)
def test_a_broken_row_is_named_by_its_line_and_nothing_is_written(
    tmp_path: Path, home: Path, lines: list[str], told: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["Date,Open,High,Low,Last,Volume BTC", *lines]))
    with pytest.raises(MarketDataError, match=told):
        take(path, home, ticker="BTC", leg="spot", columns=NAMES)
    assert not home.exists()


def test_rows_that_repeat_with_the_same_values_are_fine(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "a.csv"
    pl.concat([table(hours(3)), table(hours(2))]).write_csv(path)
    assert take(path, home, ticker="BTC", leg="spot", columns=NAMES).legs[0].rows_new == 3


def test_no_leg_is_written_while_another_one_is_wrong(tmp_path: Path, market: Tables, home: Path) -> None:
    for leg in LEGS:
        market[leg, "BTC"].write_parquet(tmp_path / f"{leg}_BTC.parquet")
    take(tmp_path, home)
    before = leg_path(home, "perp", "BTC").read_bytes()
    longer = market["perp", "BTC"].with_columns(close=pl.col("open"))
    longer.with_columns(pl.col("timestamp").dt.offset_by("40d")).write_parquet(tmp_path / "perp_BTC.parquet")
    market["spot", "BTC"].with_columns(volume=pl.col("volume") + 1).write_parquet(
        tmp_path / "spot_BTC.parquet"
    )
    with pytest.raises(MarketDataError, match=r"BTC spot: 960 .* other values in volume"):
        take(tmp_path, home)
    assert leg_path(home, "perp", "BTC").read_bytes() == before


def test_a_parquet_file_that_is_none_and_a_column_of_words_are_named(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "spot_BTC.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(MarketDataError, match=r"spot_BTC\.parquet is no Parquet file"):
        take(path, home)
    table(hours(3)).with_columns(Last=pl.lit("high")).write_parquet(path)
    with pytest.raises(MarketDataError, match="column Last holds String, which is no number"):
        take(path, home, columns=NAMES)

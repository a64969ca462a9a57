from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from carryflow.core.errors import MarketDataError
from carryflow.core.instrument import ContractType, Instrument
from carryflow.market.contracts import ContractTerms, record_contracts
from carryflow.market.schema import BOOK_COLUMNS, OPTIONAL_COLUMNS
from carryflow.market.settlements import merge_settlements
from carryflow.market.store import Source, market_version, merge_leg, read_leg, read_source, write_source
from carryflow.market.synthetic import SyntheticSettings, synthetic_market

MARKET = synthetic_market(SyntheticSettings(hours=60), ["BTC"])
SPOT, PERP = MARKET["spot", "BTC"], MARKET["perp", "BTC"]


def test_what_was_merged_is_read_back_exactly(tmp_path: Path) -> None:
    assert merge_leg(tmp_path, "perp", "BTC", PERP) == 60
    assert read_leg(tmp_path, "perp", "BTC").equals(PERP)
    start, end = (int(PERP["timestamp"].dt.epoch("ms")[i]) for i in (10, 20))
    assert read_leg(tmp_path, "perp", "BTC", start, end).equals(PERP[10:20])


def test_new_rows_win_over_stored_ones_and_rows_come_out_in_order(tmp_path: Path) -> None:
    merge_leg(tmp_path, "spot", "BTC", SPOT[20:40])
    changed = SPOT[30:50].with_columns(volume=pl.col("volume") + 1)
    assert merge_leg(tmp_path, "spot", "BTC", changed) == 10
    assert merge_leg(tmp_path, "spot", "BTC", SPOT[:20]) == 20
    assert read_leg(tmp_path, "spot", "BTC").equals(pl.concat([SPOT[:30], changed]))


def test_a_book_that_was_recorded_once_outlives_a_refetch_without_one(tmp_path: Path) -> None:
    merge_leg(tmp_path, "spot", "BTC", SPOT)
    assert merge_leg(tmp_path, "spot", "BTC", SPOT.drop(BOOK_COLUMNS)) == 0
    assert read_leg(tmp_path, "spot", "BTC").equals(SPOT)


def test_a_merge_that_is_refused_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    merge_leg(tmp_path, "spot", "BTC", SPOT)
    with pytest.raises(MarketDataError):
        merge_leg(tmp_path, "spot", "BTC", SPOT.with_columns(close=pl.lit(float("nan"))))
    assert read_leg(tmp_path, "spot", "BTC").equals(SPOT)
    assert [p.name for p in tmp_path.iterdir()] == ["spot_BTC.parquet"]


def test_rows_that_contradict_stored_ones_are_refused_by_name_where_they_may_not_replace_them(
    tmp_path: Path,
) -> None:
    merge_leg(tmp_path, "perp", "BTC", PERP[:40])
    before = read_leg(tmp_path, "perp", "BTC")
    changed = pl.col("timestamp").is_in(PERP["timestamp"][[33, 35]].implode())
    rows = PERP[30:50].with_columns(mark_close=pl.when(changed).then(1.0).otherwise("mark_close"))
    with pytest.raises(
        MarketDataError, match=r"2 row\(s\) .* in mark_close at 2025-01-02 09:00, 2025-01-02 11:00"
    ):
        merge_leg(tmp_path, "perp", "BTC", rows, on_conflict="refuse")
    assert read_leg(tmp_path, "perp", "BTC").equals(before)
    assert merge_leg(tmp_path, "perp", "BTC", PERP[30:50], on_conflict="refuse") == 10
    assert read_leg(tmp_path, "perp", "BTC").equals(PERP[:50])


def test_what_either_row_lacks_is_filled_in_where_rows_may_not_replace_others(tmp_path: Path) -> None:
    nothing = [pl.lit(None, pl.Float64).alias(c) for c in ("mark_open", "mark_close", "funding_rate")]
    merge_leg(tmp_path, "perp", "BTC", PERP[:30].drop(BOOK_COLUMNS))
    merge_leg(tmp_path, "perp", "BTC", PERP[20:40].with_columns(nothing), on_conflict="refuse")
    stored = read_leg(tmp_path, "perp", "BTC")
    assert stored["mark_close"][:30].equals(PERP["mark_close"][:30])
    assert stored["bid"][20:].equals(PERP["bid"][20:40])


def test_a_predicted_rate_outlives_a_refetch_without_one(tmp_path: Path) -> None:
    watched = PERP.with_columns(predicted_rate=pl.lit(3e-4))
    merge_leg(tmp_path, "perp", "BTC", watched)
    merge_leg(tmp_path, "perp", "BTC", PERP[:30])
    merge_leg(tmp_path, "perp", "BTC", PERP[50:].with_columns(predicted_rate=pl.lit(2e-4)))
    assert read_leg(tmp_path, "perp", "BTC")["predicted_rate"].to_list() == [3e-4] * 50 + [2e-4] * 10


def test_a_file_that_is_broken_is_an_error_that_names_it(tmp_path: Path) -> None:
    merge_leg(tmp_path, "spot", "BTC", SPOT)
    path = tmp_path / "spot_BTC.parquet"
    for broken in (path.read_bytes()[:-50], b"timestamp,open\n", b""):
        path.write_bytes(broken)
        for use in (
            lambda: read_leg(tmp_path, "spot", "BTC"),
            lambda: merge_leg(tmp_path, "spot", "BTC", SPOT),
        ):
            with pytest.raises(MarketDataError, match=f"{path} is no Parquet file that can be read"):
                use()
        assert path.read_bytes() == broken


def test_bars_of_another_length_live_in_a_folder_of_their_own(tmp_path: Path) -> None:
    minutes = SPOT.with_columns(
        timestamp=pl.col("timestamp").first() + pl.duration(minutes=pl.int_range(pl.len()))
    )
    assert merge_leg(tmp_path, "spot", "BTC", minutes, timeframe="1m") == 60
    first = int(minutes["timestamp"].dt.epoch("ms")[0])
    assert read_leg(tmp_path, "spot", "BTC", first + 60_000, timeframe="1m").equals(
        minutes[1:].cast(dict(SPOT.schema))
    )
    with pytest.raises(MarketDataError, match="off the hour at 2025-01-01 00:01"):
        read_leg(tmp_path, "spot", "BTC")
    write_source(tmp_path, Source("simulated", "tape", 1, "1m"))
    with pytest.raises(MarketDataError, match=r"holds bars of 1m, and bars of 1h.*data\.timeframe"):
        write_source(tmp_path, Source("simulated", "tape", 2))


def test_a_missing_leg_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MarketDataError, match=r"perp_ETH\.parquet is not there.*carryflow fetch"):
        read_leg(tmp_path, "perp", "ETH")


def test_hours_of_two_sources_are_never_mixed(tmp_path: Path) -> None:
    assert read_source(tmp_path) is None
    write_source(tmp_path, Source("simulated", "synthetic-1", 10))
    write_source(tmp_path, Source("simulated", "synthetic-1", 20))
    assert read_source(tmp_path) == Source("simulated", "synthetic-1", 20)
    for other in (Source("simulated", "synthetic-2", 30), Source("binance", "live", 30)):
        with pytest.raises(MarketDataError, match="-o home="):
            write_source(tmp_path, other)
    assert read_source(tmp_path) == Source("simulated", "synthetic-1", 20)


def test_a_source_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    for broken in ("{", '{"venue": "binance"}'):
        (tmp_path / "source.json").write_text(broken)
        with pytest.raises(MarketDataError, match=r"source\.json cannot be read"):
            write_source(tmp_path, Source("binance", "live", 1))


def test_the_version_follows_every_value_and_not_how_the_rows_came(tmp_path: Path) -> None:
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    for leg, table in (("spot", SPOT), ("perp", PERP)):
        merge_leg(whole, leg, "BTC", table)
        for rows in (table[40:], table[:45], table[10:12]):
            merge_leg(pieces, leg, "BTC", rows)
    version = market_version(whole, ["BTC"])
    assert len(version) == 16
    assert market_version(pieces, ["BTC"]) == version
    row = pl.int_range(pl.len()) == 30
    merge_leg(
        pieces,
        "perp",
        "BTC",
        PERP.with_columns(funding_rate=pl.when(row).then(0.0).otherwise("funding_rate")),
    )
    assert market_version(pieces, ["BTC"]) != version


def test_every_column_changes_the_version_and_the_terms_of_contracts_do_not(tmp_path: Path) -> None:
    for leg, table in (("spot", SPOT), ("perp", PERP)):
        merge_leg(tmp_path, leg, "BTC", table)
    versions = [market_version(tmp_path, ["BTC"])]
    for column in sorted({*PERP.columns[1:], *OPTIONAL_COLUMNS} - {"open", "high", "low", "close"}):
        touched = read_leg(tmp_path, "perp", "BTC").with_columns(
            pl.when(pl.int_range(pl.len()) == 7)
            .then(pl.col(column).fill_null(100.0) * (1 + 1e-9))
            .otherwise(column)
            .alias(column)
        )
        merge_leg(tmp_path, "perp", "BTC", touched)
        versions.append(market_version(tmp_path, ["BTC"]))
    merge_settlements(
        tmp_path,
        "BTC",
        PERP.filter(pl.col("funding_rate").is_not_null()).select(
            "timestamp", "funding_rate", mark="mark_open"
        ),
    )
    versions.append(market_version(tmp_path, ["BTC"]))
    assert len(set(versions)) == len(versions)
    one = Decimal(1)
    spot = Instrument(
        "v", "BTC/USDT", "BTC", ContractType.SPOT, "BTC", "USDT", "USDT", one, one, one, one, one
    )
    record_contracts(tmp_path, [ContractTerms(spot, one, one, None, None, 1)])
    assert market_version(tmp_path, ["BTC"]) == versions[-1]

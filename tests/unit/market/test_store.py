from pathlib import Path

import polars as pl
import pytest

from carryflow.core.errors import MarketDataError
from carryflow.market.schema import BOOK_COLUMNS
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

"""Settlements are read the same way, whether bars carry them or they lie beside."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carryflow.core.errors import MarketDataError
from carryflow.core.funding import settlement_cash_per_base
from carryflow.market.data import to_ms
from carryflow.market.settlements import merge_settlements, read_settlements
from carryflow.market.store import merge_leg
from carryflow.market.synthetic import SyntheticSettings, synthetic_market
from carryflow.market.timeframe import Timeframe, bar_ms

PERP = synthetic_market(SyntheticSettings(hours=240), ["BTC"])["perp", "BTC"]
PAID = PERP.filter(pl.col("funding_rate").is_not_null()).select("timestamp", "funding_rate", mark="mark_open")


@pytest.mark.pitfall("P01")
@pytest.mark.parametrize("timeframe", ["1h", "2h", "6h", "8h", "1d"])
def test_bars_of_an_hour_and_of_a_day_pay_the_same_funding(tmp_path: Path, timeframe: Timeframe) -> None:
    if timeframe == "1h":
        merge_leg(tmp_path, "perp", "BTC", PERP)
    else:
        merge_settlements(tmp_path, "BTC", PAID)
    settlements = read_settlements(tmp_path, "BTC", timeframe=timeframe)
    assert settlements.equals(PAID)
    start = to_ms(datetime(2025, 1, 1, tzinfo=UTC))
    close_ms = np.arange(start, start + 240 * 3_600_000 + 1, bar_ms(timeframe))
    cash = settlement_cash_per_base(
        close_ms,
        settlements["timestamp"].dt.epoch("ms").to_numpy(),
        settlements["funding_rate"].to_numpy(),
        settlements["mark"].to_numpy(),
    )
    assert cash.sum() == pytest.approx(-(PAID["funding_rate"] * PAID["mark"])[1:].sum(), rel=1e-12)


@pytest.mark.parametrize("timeframe", ["1h", "1d"])
def test_only_the_settlements_of_the_range_are_read(tmp_path: Path, timeframe: Timeframe) -> None:
    merge_leg(tmp_path, "perp", "BTC", PERP)
    merge_settlements(tmp_path, "BTC", PAID)
    start, end = (int(PAID["timestamp"].dt.epoch("ms")[i]) for i in (3, 7))
    assert read_settlements(tmp_path, "BTC", start, end, timeframe).equals(PAID[3:7])


def test_new_settlements_join_the_stored_ones_and_a_known_mark_stays(tmp_path: Path) -> None:
    assert merge_settlements(tmp_path, "BTC", PAID[5:20]) == 15
    unmarked = PAID[:10].with_columns(mark=pl.lit(None, pl.Float64))
    assert merge_settlements(tmp_path, "BTC", unmarked) == 5
    stored = read_settlements(tmp_path, "BTC", timeframe="1d")
    assert stored["funding_rate"].equals(PAID["funding_rate"][:20])
    assert stored["mark"].null_count() == 5
    assert merge_settlements(tmp_path, "BTC", PAID) == 10
    assert read_settlements(tmp_path, "BTC", timeframe="1d").equals(PAID)


def test_coarse_bars_without_their_settlements_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(
        MarketDataError, match=r"funding_BTC\.parquet is not there.*bars of 4h.*carryflow fetch"
    ):
        read_settlements(tmp_path, "BTC", timeframe="4h")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (pl.lit(None, pl.Float64).alias("funding_rate"), "missing rate"),
        (pl.lit(float("nan")).alias("funding_rate"), "no number"),
        (pl.lit(-1.0).alias("mark"), "mark that is NaN or not positive"),
        (pl.col("timestamp").first().alias("timestamp"), "repeated or unsorted"),
        (pl.col("timestamp").dt.replace_time_zone(None), "must be a UTC datetime"),
        (pl.lit(1.0).alias("interval"), "expected"),
    ],
)
def test_a_settlement_that_cannot_be_is_refused(tmp_path: Path, change: pl.Expr, words: str) -> None:
    with pytest.raises(MarketDataError, match=f"settlements BTC: .*{words}"):
        merge_settlements(tmp_path, "BTC", PAID.with_columns(change))
    assert not list(tmp_path.iterdir())

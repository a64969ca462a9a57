from typing import Any

import numpy as np
import polars as pl
import pytest

from carryflow.core.errors import MarketDataError
from carryflow.market.schema import BAR_MS
from carryflow.market.settlements import snap_settlement
from carryflow.venues.leg_tables import (
    bars_table,
    perp_table,
    price_table,
    settlements_table,
)

T0 = 1_735_689_600_000
CANDLES = np.array([[T0 + i * BAR_MS, 100.0 + i, 102.0 + i, 99.0 + i, 101.0 + i, 3.0] for i in range(4)])
NONE = CANDLES[:0]
BLOCK = (T0, T0 + 4 * BAR_MS)


def settled(*at: int, rate: float = -2e-4) -> pl.DataFrame:
    entries = [{"timestamp": stamp, "fundingRate": rate, "info": {}} for stamp in at]
    return settlements_table(entries, lambda entry: entry["fundingRate"], BLOCK, "BTC/USDT:USDT")


def table(candles: np.ndarray[Any, Any], marks: np.ndarray[Any, Any], paid: pl.DataFrame) -> pl.DataFrame:
    return perp_table(
        bars_table(candles), price_table(marks, "mark"), price_table(NONE, "index"), paid, "BTC"
    )


@pytest.mark.pitfall("P01")
@pytest.mark.parametrize("late", [0, 1, 12, 999, 59_999])
def test_a_settlement_stamped_late_belongs_to_its_full_hour(late: int) -> None:
    assert snap_settlement(T0 + late) == T0
    rates = table(CANDLES, CANDLES, settled(T0 + BAR_MS + late))["funding_rate"]
    assert rates.to_list() == [None, -2e-4, None, None]


def test_a_settlement_off_the_bars_is_refused() -> None:
    with pytest.raises(
        MarketDataError,
        match=r"BTC: funding settled at 2025-01-01 01:01, where no bar of 1h opens.*timeframe=1m",
    ):
        table(CANDLES, CANDLES, settled(T0 + BAR_MS + 60_000))


@pytest.mark.pitfall("P05")
def test_a_settlement_without_a_rate_is_refused() -> None:
    entries = [{"timestamp": T0, "info": {}}]
    with pytest.raises(MarketDataError, match="BTC: the venue names no settled rate at 2025-01-01 00:00"):
        settlements_table(entries, lambda entry: entry.get("fundingRate"), BLOCK, "BTC")


def test_an_unpublished_mark_or_index_is_null() -> None:
    found = table(CANDLES, CANDLES[1:2], settled())
    assert found["close"].to_list() == [101.0, 102.0, 103.0, 104.0]
    assert found["mark_close"].to_list() == [None, 102.0, None, None]
    assert found["index_open"].null_count() == found["funding_rate"].null_count() == 4
    assert bars_table(NONE).height == 0


def test_bars_that_came_twice_or_in_another_order_are_kept_once_in_order() -> None:
    assert bars_table(CANDLES[[2, 0, 3, 1, 2]]).equals(bars_table(CANDLES))

import pytest

from carryflow.core.errors import CoverageError, MarketDataError
from carryflow.market.schema import BAR_MS
from carryflow.venues.leg_tables import bars_table, book_columns, perp_table, snap_settlement

T0 = 1_735_689_600_000
CANDLES = [[T0 + i * BAR_MS, 100.0 + i, 102.0 + i, 99.0 + i, 101.0 + i, 3.0] for i in range(4)]
BLOCK = (T0, T0 + 3 * BAR_MS)


@pytest.mark.pitfall("P01")
@pytest.mark.parametrize("late", [0, 1, 12, 999, 59_999])
def test_a_settlement_stamped_late_belongs_to_its_full_hour(late: int) -> None:
    assert snap_settlement(T0 + late) == T0
    table = perp_table(CANDLES, CANDLES, [{"timestamp": T0 + BAR_MS + late, "fundingRate": -2e-4}], BLOCK)
    assert table["funding_rate"].to_list() == [None, -2e-4, None]


def test_a_settlement_off_the_hour_is_refused() -> None:
    with pytest.raises(MarketDataError, match="not on the hour"):
        snap_settlement(T0 + 60_000)


@pytest.mark.pitfall("P05")
def test_a_settlement_without_a_bar_is_refused() -> None:
    with pytest.raises(CoverageError, match="funding settled at 2025-01-01 01:00"):
        perp_table(
            [CANDLES[0], CANDLES[2]], CANDLES, [{"timestamp": T0 + BAR_MS, "fundingRate": 1e-4}], BLOCK
        )


def test_only_rows_of_the_block_are_kept_and_an_unpublished_mark_is_null() -> None:
    table = perp_table(CANDLES, CANDLES[1:2], [{"timestamp": T0 + 3 * BAR_MS, "fundingRate": 1e-4}], BLOCK)
    assert table["close"].to_list() == [101.0, 102.0, 103.0]
    assert table["mark_close"].to_list() == [None, 102.0, None]
    assert table["mark_open"].to_list() == [None, 101.0, None]
    assert table["funding_rate"].null_count() == 3
    assert bars_table([], BLOCK).height == 0


def test_depth_counts_what_rests_within_ten_basis_points_of_the_mid() -> None:
    book = {
        "bids": [[999.5, 1.0], [999.0, 2.0], [998.9, 50.0]],
        "asks": [[1000.5, 3.0], [1001.0, 4.0], [1001.1, 9.0]],
    }
    assert book_columns(book) == {
        "bid": 999.5,
        "ask": 1000.5,
        "bid_depth": 999.5 + 2 * 999.0,
        "ask_depth": 3 * 1000.5 + 4 * 1001.0,
    }
    with pytest.raises(MarketDataError, match="empty on one side"):
        book_columns({"symbol": "BTC/USDT", "bids": [], "asks": [[1.0, 1.0]]})

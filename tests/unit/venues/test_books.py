import pytest

from carryflow.core.errors import MarketDataError
from carryflow.venues.books import book_columns

BOOK = {
    "bids": [[999.5, 1.0], [999.0, 2.0], [996.0, 50.0], [980.0, 7.0]],
    "asks": [[1000.5, 3.0], [1001.0, 4.0], [1001.1, 9.0], [1020.0, 8.0]],
}


def test_depth_counts_what_rests_within_each_band_of_the_mid() -> None:
    assert book_columns(BOOK, levels=100) == {
        "bid": 999.5,
        "ask": 1000.5,
        "bid_depth_5bp": 999.5,
        "ask_depth_5bp": 3 * 1000.5,
        "bid_depth": 999.5 + 2 * 999.0,
        "ask_depth": 3 * 1000.5 + 4 * 1001.0,
        "bid_depth_50bp": 999.5 + 2 * 999.0 + 50 * 996.0,
        "ask_depth_50bp": 3 * 1000.5 + 4 * 1001.0 + 9 * 1001.1,
        "bid_depth_100bp": 999.5 + 2 * 999.0 + 50 * 996.0,
        "ask_depth_100bp": 3 * 1000.5 + 4 * 1001.0 + 9 * 1001.1,
    }


def test_a_band_beyond_the_last_level_of_a_full_answer_is_not_known() -> None:
    near = {side: levels[:3] for side, levels in BOOK.items()}
    seen = book_columns(near, levels=3)
    assert (seen["bid_depth_50bp"], seen["ask_depth_50bp"]) == (None, None)
    assert seen["bid_depth"] == 999.5 + 2 * 999.0
    assert book_columns(near, levels=4)["bid_depth_50bp"] == pytest.approx(52_797.5)  # that is the whole book


@pytest.mark.pitfall("P07")
def test_sizes_in_contracts_become_quote_value() -> None:
    linear = book_columns(BOOK, levels=100, contract_size=0.01)
    assert linear["ask_depth_5bp"] == pytest.approx(3 * 0.01 * 1000.5)


def test_an_empty_side_is_refused() -> None:
    with pytest.raises(MarketDataError, match="empty on one side"):
        book_columns({"symbol": "BTC/USDT", "bids": [], "asks": [[1.0, 1.0]]}, levels=100)

"""Where the tape has no bars the market is closed."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from carryflow.venues.simulated.refusals import Refusal
from carryflow.venues.simulated.trading.floor import TradingFloor
from carryflow.venues.simulated.trading.orders import OrderEntry, OrderStatus

Limit = Callable[..., OrderEntry]


def test_a_market_takes_no_orders_before_its_first_bar_has_closed(
    plain_floor: Callable[..., TradingFloor], limit: Limit, minute: Callable[[int], int]
) -> None:
    floor = plain_floor([100, 100])
    floor.advance(minute(1) - 1)
    account = floor.open_account("k", {}, Decimal(1_000))
    with pytest.raises(Refusal, match="-4108"):
        floor.place(account, "perp", limit("BUY", "1", "101"))
    assert floor.venue.exchange_info("perp")["symbols"][0]["status"] == "BREAK"


def test_a_gap_of_the_tape_is_a_closed_market(
    plain_floor: Callable[..., TradingFloor], limit: Limit, minute: Callable[[int], int]
) -> None:
    floor = plain_floor([100, None, None, 100], volume=1.2)
    account = floor.open_account("k", {"USDT": Decimal(1_000)}, Decimal(1_000))
    status = lambda leg: floor.venue.exchange_info(leg)["symbols"][0]["status"]  # noqa: E731
    floor.advance(minute(2) - 1)
    assert floor.place(account, "spot", limit("BUY", "1", "101")).status is OrderStatus.FILLED
    assert status("spot") == status("perp") == "TRADING"
    for now_ms in (minute(2), minute(4) - 1):
        floor.advance(now_ms)
        for leg, code in (("spot", "-1013 Market is closed"), ("perp", "-4108")):
            with pytest.raises(Refusal, match=code):
                floor.place(account, leg, limit("BUY", "1", "101"))
            assert status(leg) == "BREAK"
    floor.advance(minute(4))
    assert floor.place(account, "perp", limit("BUY", "1", "101")).status is OrderStatus.FILLED
    assert status("spot") == status("perp") == "TRADING"


@pytest.mark.parametrize("step_ms", [1_000, 7_000, 600_000])
def test_nothing_flows_and_nothing_late_is_matched_in_a_gap_of_the_tape(
    plain_floor: Callable[..., TradingFloor],
    limit: Limit,
    market: Callable[..., OrderEntry],
    minute: Callable[[int], int],
    step_ms: int,
) -> None:
    floor = plain_floor([100, None, None, 100, 100], volume=1.2)  # 0.6 coins a side each minute
    account, whale = (floor.open_account(key, {}, Decimal(10_000_000)) for key in ("k", "whale"))
    floor.place(whale, "perp", market("BUY", floor.book("perp", "BTCUSDT").asks[0][1]))
    rests = floor.place(account, "perp", limit("SELL", "1", "101", "GTC"))  # the first in the queue
    late = floor.place(account, "perp", limit("SELL", "1", "100"), late_ms=90_000)
    while floor.venue.now_ms < minute(5):
        floor.advance(min(floor.venue.now_ms + step_ms, minute(5)))
    assert (late.status, late.update_ms) == (OrderStatus.FILLED, minute(4))
    # 0.6 coins of the minute before the gap, and the rest of the minute after it
    assert (rests.status, rests.update_ms) == (OrderStatus.FILLED, minute(4) + 40_000)

"""How orders meet the book, wait in it, and are filled by the flow."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from carryflow.core.errors import VenueError
from carryflow.venues.simulated.trading.accounts import VenueAccount
from carryflow.venues.simulated.trading.events import AccountEvent, EventKind
from carryflow.venues.simulated.trading.floor import TradingFloor
from carryflow.venues.simulated.trading.orders import OrderEntry, OrderStatus, Side, VenueOrder

Limit = Callable[..., OrderEntry]
Rich = Callable[..., VenueAccount]


@pytest.mark.parametrize("leg", ["spot", "perp"])
def test_a_taker_walks_the_levels_and_leaves_them_empty(
    floor: TradingFloor, rich: Rich, limit: Limit, leg: str
) -> None:
    account = rich(floor)
    before = floor.book(leg, "BTCUSDT").asks
    (_, first), (_, second), (third, _) = before[:3]
    order = floor.place(account, leg, limit("BUY", Decimal(first) + Decimal(second), third))
    assert order.status is OrderStatus.FILLED
    assert [(f"{t.price:f}", t.qty) for t in order.trades] == [(p, Decimal(q)) for p, q in before[:2]]
    assert not any(trade.maker for trade in order.trades)
    assert floor.book(leg, "BTCUSDT").asks == before[2:]


def test_all_clients_see_one_market(floor: TradingFloor, rich: Rich, limit: Limit) -> None:
    one, other = rich(floor, "one"), rich(floor, "other")
    price, qty = floor.book("perp", "BTCUSDT").bids[0]
    floor.place(one, "perp", limit("SELL", qty, price))
    assert floor.place(other, "perp", limit("SELL", qty, price)).executed == 0


@pytest.mark.parametrize(
    ("tif", "status", "executed"),
    [("IOC", "EXPIRED", "touch"), ("FOK", "EXPIRED", "0"), ("GTC", "PARTIALLY_FILLED", "touch")],
)
def test_what_the_limit_does_not_reach_rests_or_expires(
    floor: TradingFloor, rich: Rich, limit: Limit, tif: str, status: str, executed: str
) -> None:
    account = rich(floor)
    price, touch = floor.book("spot", "BTCUSDT").asks[0]
    order = floor.place(account, "spot", limit("BUY", Decimal(touch) + Decimal("0.5"), price, tif))
    assert order.status == status
    assert order.executed == (Decimal(touch) if executed == "touch" else 0)
    purse = account.spot["USDT"]
    assert purse.locked == (Decimal("0.5") * Decimal(price) if tif == "GTC" else 0)
    assert purse.total == 1_000_000 - order.quote_executed


def test_fill_or_kill_is_filled_where_all_of_it_is_there(
    floor: TradingFloor, rich: Rich, limit: Limit
) -> None:
    price, qty = floor.book("perp", "BTCUSDT").asks[0]
    assert floor.place(rich(floor), "perp", limit("BUY", qty, price, "FOK")).status == "FILLED"


def test_a_market_purchase_stops_where_the_money_does(
    floor: TradingFloor, market: Callable[..., OrderEntry]
) -> None:
    poor = floor.open_account("poor", {"USDT": Decimal(100_000)}, Decimal(0))
    order = floor.place(poor, "spot", market("BUY", "1"), late_ms=500)
    floor.transfer(poor, "USDT", Decimal(50_000), "futures")
    floor.advance(floor.venue.now_ms + 500)
    assert order.status is OrderStatus.EXPIRED
    assert Decimal("0.4") < order.executed < 1
    assert 0 <= poor.spot["USDT"].free < 1


def test_a_sale_for_more_than_the_book_holds_expires_with_the_rest(
    plain_floor: Callable[..., TradingFloor], market: Callable[..., OrderEntry]
) -> None:
    floor = plain_floor([100])
    account = floor.open_account("k", {"BTC": Decimal(90_000)}, Decimal(0))
    held = Decimal(floor.book("spot", "BTCUSDT").bids[0][1])
    order = floor.place(account, "spot", market("SELL", "90000"))
    assert (order.status, order.executed) == (OrderStatus.EXPIRED, held)
    assert account.spot["BTC"].free == 90_000 - held
    assert floor.book("spot", "BTCUSDT").bids == []


@pytest.mark.pitfall("P10")
def test_a_close_never_flips_a_position_however_large(
    floor: TradingFloor, rich: Rich, limit: Limit, market: Callable[..., OrderEntry]
) -> None:
    account = rich(floor)
    floor.place(account, "perp", market("SELL", "0.5"))
    rests = floor.place(account, "perp", limit("BUY", "0.3", "50000", "GTC", reduce_only=True))
    order = floor.place(account, "perp", market("BUY", "2", reduce_only=True))
    assert (order.status, order.executed) == (OrderStatus.EXPIRED, Decimal("0.5"))
    assert not account.positions
    assert rests.status is OrderStatus.EXPIRED  # there is nothing left that it could reduce
    assert not account.open


def test_the_book_is_fresh_again_once_its_levels_are_redrawn(
    floor: TradingFloor, rich: Rich, limit: Limit
) -> None:
    account = rich(floor)
    price, qty = floor.book("perp", "BTCUSDT").asks[0]
    floor.place(account, "perp", limit("BUY", qty, price))
    assert floor.book("perp", "BTCUSDT").asks[0][0] != price
    floor.advance(floor.venue.now_ms + 500)
    assert floor.book("perp", "BTCUSDT").asks[0][0] == price


def test_a_redrawn_level_lacks_only_what_was_taken_since(
    floor: TradingFloor, rich: Rich, limit: Limit
) -> None:
    account = rich(floor)
    price, qty = floor.book("perp", "BTCUSDT").asks[0]
    floor.place(account, "perp", limit("BUY", qty, price))
    floor.advance(floor.venue.now_ms + 500)
    fresh = Decimal(floor.book("perp", "BTCUSDT").asks[0][1])
    for left in (fresh - Decimal("0.001"), fresh - Decimal("0.002")):
        floor.place(account, "perp", limit("BUY", "0.001", price))
        assert Decimal(floor.book("perp", "BTCUSDT").asks[0][1]) == left


def resting(floor: TradingFloor, account: VenueAccount, limit: Limit, *, bid: str = "100") -> VenueOrder:
    return floor.place(account, "perp", limit("BUY", "2", bid, "GTC"))


def test_a_resting_order_waits_for_the_queue_and_is_then_filled_lot_by_lot(
    plain_floor: Callable[..., TradingFloor], limit: Limit
) -> None:
    floor = plain_floor([100, 100, 100, 100, 100], volume=1_200_000.0)  # 10 coins a side each ms
    account = floor.open_account("k", {}, Decimal(1_000))
    queue = Decimal(floor.book("perp", "BTCUSDT").bids[0][1])
    start = floor.venue.now_ms
    order = resting(floor, account, limit)
    floor.advance(start + int(queue / 10))
    assert order.status is OrderStatus.NEW
    floor.advance(start + int(queue / 10) + 2)
    assert order.status is OrderStatus.FILLED
    assert order.update_ms == start + int(queue / 10) + 1
    (trade,) = order.trades
    assert (trade.price, trade.maker, trade.commission) == (100, True, Decimal("0.04"))


def test_a_slow_flow_fills_in_parts_and_looking_often_changes_nothing_of_the_sum(
    plain_floor: Callable[..., TradingFloor], limit: Limit, market: Callable[..., OrderEntry]
) -> None:
    executed = []
    for steps in (1, 40):
        floor = plain_floor([100, 100, 100], volume=1.2)  # 0.6 coins a side each minute
        account, whale = (floor.open_account(key, {}, Decimal(10_000_000)) for key in ("k", "whale"))
        floor.place(whale, "perp", market("BUY", floor.book("perp", "BTCUSDT").asks[0][1]))
        start = floor.venue.now_ms
        order = floor.place(account, "perp", limit("SELL", "2", "101", "GTC"))  # the first in the queue
        for step in range(steps):
            floor.advance(start + 60_000 * (step + 1) // steps)
        executed.append((order.executed, order.status, len(order.trades)))
    assert [done[:2] for done in executed] == [(Decimal("0.6"), "PARTIALLY_FILLED")] * 2
    assert executed[0][2] == 1 < executed[1][2] <= 6


def test_an_order_that_the_market_passes_is_filled_wholly_at_its_own_price(
    plain_floor: Callable[..., TradingFloor], limit: Limit, minute: Callable[[int], int]
) -> None:
    floor = plain_floor([100, 98, 100])
    account = floor.open_account("k", {}, Decimal(1_000))
    passed, touched, beyond = (resting(floor, account, limit, bid=bid) for bid in ("100", "99", "98"))
    floor.advance(minute(3))
    assert (passed.average_price, passed.update_ms, passed.trades[0].maker) == (100, minute(2), True)
    assert touched.status is OrderStatus.FILLED  # the ask is at 99, where nobody may rest who buys
    assert beyond.status is OrderStatus.NEW


def test_nothing_is_filled_in_a_halt(
    plain_floor: Callable[..., TradingFloor], limit: Limit, minute: Callable[[int], int]
) -> None:
    floor = plain_floor([100, 90, 90, 80], volume=1e9)
    account = floor.open_account("k", {}, Decimal(1_000))
    order = resting(floor, account, limit, bid="95")
    floor.halt("perp", "BTCUSDT", halted=True)
    floor.advance(minute(3))
    assert order.status is OrderStatus.NEW
    floor.halt("perp", "BTCUSDT", halted=False)
    floor.advance(minute(4))
    assert order.status is OrderStatus.FILLED


@pytest.mark.pitfall("P09")
def test_a_late_match_stands_as_new_until_it_is_filled_or_cancelled(
    floor: TradingFloor, rich: Rich, limit: Limit
) -> None:
    account = rich(floor)
    ask = floor.book("spot", "BTCUSDT").asks[10][0]
    start = floor.venue.now_ms
    late, cancelled = (
        floor.place(account, "spot", limit("BUY", "0.1", ask, client_id=name), late_ms=700)
        for name in ("late", "cancelled")
    )
    assert (late.status, late.locked) == ("NEW", Decimal("0.1") * Decimal(ask))
    floor.cancel(account, "spot", "BTCUSDT", client_id="cancelled")
    floor.advance(start + 699)
    assert late.status == "NEW"
    floor.advance(start + 5_000)
    assert (late.status, late.update_ms) == ("FILLED", start + 700)
    assert (cancelled.status, cancelled.executed) == ("CANCELED", 0)
    assert account.spot["USDT"].locked == 0


def test_a_late_post_only_order_that_would_match_by_then_expires(
    plain_floor: Callable[..., TradingFloor], limit: Limit, minute: Callable[[int], int]
) -> None:
    floor = plain_floor([100, 90, 100])
    account = floor.open_account("k", {"USDT": Decimal(1_000)}, Decimal(0))
    order = floor.place(account, "spot", limit("BUY", "1", "100", post_only=True), late_ms=90_000)
    floor.advance(minute(3))
    assert (order.status, order.executed, account.spot["USDT"].locked) == ("EXPIRED", 0, 0)


@pytest.mark.parametrize(("tif", "status"), [("IOC", "EXPIRED"), ("GTC", "PARTIALLY_FILLED")])
def test_a_part_can_be_all_that_is_filled_at_once(
    floor: TradingFloor, rich: Rich, limit: Limit, tif: str, status: str
) -> None:
    account = rich(floor)
    ask = floor.book("perp", "BTCUSDT").asks[20][0]
    entry = limit("BUY", "0.1", ask, tif)
    order = floor.place(account, "perp", entry, fill_fraction=Decimal("0.305"))
    assert (order.status, order.executed) == (status, Decimal("0.030"))


def test_a_dead_mans_countdown_cancels_the_perpetuals_orders_of_one_market(
    floor: TradingFloor, rich: Rich, limit: Limit
) -> None:
    account = rich(floor)
    price = floor.book("perp", "BTCUSDT").bids[40][0]
    perp = floor.place(account, "perp", limit("BUY", "0.1", price, "GTC"))
    spot = floor.place(account, "spot", limit("BUY", "0.1", price, "GTC"))
    start = floor.venue.now_ms
    floor.set_countdown(account, "BTCUSDT", 1_000)
    floor.advance(start + 900)
    floor.set_countdown(account, "BTCUSDT", 1_000)
    floor.advance(start + 1_899)
    assert perp.status is OrderStatus.NEW
    floor.advance(start + 2_000)
    assert (perp.status, perp.update_ms, spot.status) == ("CANCELED", start + 1_900, "NEW")
    again = floor.place(account, "perp", limit("BUY", "0.1", price, "GTC"))
    floor.set_countdown(account, "BTCUSDT", 1_000)
    floor.set_countdown(account, "BTCUSDT", 0)
    floor.advance(start + 10_000)
    assert again.status is OrderStatus.NEW


def test_time_goes_back_only_while_nobody_has_traded(
    floor: TradingFloor, rich: Rich, market: Callable[..., OrderEntry]
) -> None:
    now = floor.venue.now_ms
    floor.advance(now - 3_600_000)
    floor.advance(now)
    account = rich(floor)
    floor.place(account, "spot", market("BUY", "0.1"))
    with pytest.raises(VenueError, match="somebody has traded"):
        floor.advance(now - 1)


def test_whoever_listens_is_told_of_everything_in_order(
    floor: TradingFloor, rich: Rich, limit: Limit
) -> None:
    told: list[tuple[EventKind, str, Decimal]] = []

    def listen(event: AccountEvent) -> None:
        done = Decimal(0) if event.order is None else event.order.executed
        told.append((event.kind, event.leg, done))

    floor.listeners.append(listen)
    account = rich(floor)
    price, touch = floor.book("spot", "BTCUSDT").asks[0]
    floor.place(account, "spot", limit("BUY", Decimal(touch) + 1, price))
    assert told == [
        ("NEW", "spot", 0),
        ("TRADE", "spot", Decimal(touch)),
        ("EXPIRED", "spot", Decimal(touch)),
        ("BALANCE", "spot", 0),
    ]
    told.clear()
    floor.transfer(account, "USDT", Decimal(5), "futures")
    assert told == [("BALANCE", "spot", 0), ("BALANCE", "perp", 0)]
    told.clear()
    floor.trade_foreign(account, "perp", "BTCUSDT", Side.SELL, Decimal("0.1"))
    assert floor.orders(account, "perp", "BTCUSDT", open_only=False)[-1].client_id == "web_00000001"
    assert told[0][0] == "NEW"
    assert told[-1][0] == "BALANCE"


def test_history_comes_in_pages(floor: TradingFloor, rich: Rich, market: Callable[..., OrderEntry]) -> None:
    account = rich(floor)
    start = floor.venue.now_ms
    for second in range(5):
        floor.advance(start + 1_000 * second)
        floor.place(account, "perp", market("SELL", "0.001"))
    trades = floor.trades(account, "perp", "BTCUSDT")
    assert len(trades) == 5
    assert floor.trades(account, "perp", "BTCUSDT", limit=2) == trades[-2:]
    assert floor.trades(account, "perp", "BTCUSDT", start + 1_000, limit=2) == trades[1:3]
    assert floor.trades(account, "perp", "BTCUSDT", start + 1_000, start + 2_000) == trades[1:3]
    assert floor.trades(account, "perp", "BTCUSDT", from_id=trades[3].id) == trades[3:]
    assert floor.trades(account, "perp", "BTCUSDT", limit=1, order_id=trades[0].order_id) == trades[:1]
    assert floor.trades(account, "perp", "ETHUSDT") == floor.trades(account, "spot", "BTCUSDT") == []
    incomes = floor.income(account, "COMMISSION", "BTCUSDT", limit=3)
    assert [income.trade_id for income in incomes] == [trade.id for trade in trades[-3:]]
    assert floor.income(account, start_ms=start + 3_000, limit=1)[0].trade_id == trades[3].id

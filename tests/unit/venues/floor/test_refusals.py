"""Every way in which the venue says no."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from carryflow.venues.simulated.refusals import Refusal
from carryflow.venues.simulated.trading.accounts import VenueAccount
from carryflow.venues.simulated.trading.floor import TradingFloor
from carryflow.venues.simulated.trading.orders import OrderEntry, OrderType, Side, TimeInForce

Limit = Callable[..., OrderEntry]
Market = Callable[..., OrderEntry]


@pytest.fixture
def plain(plain_floor: Callable[..., TradingFloor]) -> TradingFloor:
    """Return a floor on which bids are 100, asks 101, and nothing moves."""
    return plain_floor([100, 100])


@pytest.fixture
def account(plain: TradingFloor) -> VenueAccount:
    return plain.open_account("k", {"USDT": Decimal(10_000), "BTC": Decimal(5)}, Decimal(1_000))


@pytest.mark.parametrize(
    ("order", "code", "words"),
    [
        (("BUY", "0", "100"), -1013, "Invalid quantity."),
        (("BUY", "1", "-100"), -1013, "Invalid price."),
        (("BUY", "1", "100.000000001"), -1111, "Precision"),
        (("BUY", "1", "100.5"), -1013, "Filter failure: PRICE_FILTER"),
        (("BUY", "1.0005", "100"), -1013, "Filter failure: LOT_SIZE"),
        (("BUY", "0.0005", "100"), -1013, "Filter failure: LOT_SIZE"),
        (("BUY", "9000001", "100"), -1013, "Filter failure: LOT_SIZE"),
        (("SELL", "1", "501"), -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
        (("BUY", "1", "19"), -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
        (("BUY", "0.049", "100"), -1013, "Filter failure: NOTIONAL"),
        (("BUY", "100", "101"), -2010, "Account has insufficient balance for requested action."),
        (("SELL", "5.001", "100"), -2010, "Account has insufficient balance for requested action."),
    ],
)
def test_spot_refuses_in_binances_words(
    plain: TradingFloor,
    account: VenueAccount,
    limit: Limit,
    order: tuple[str, str, str],
    code: int,
    words: str,
) -> None:
    with pytest.raises(Refusal, match=words) as refused:
        plain.place(account, "spot", limit(*order))
    assert refused.value.code == code
    assert not account.orders


@pytest.mark.parametrize("leg", ["spot", "perp"])
def test_an_order_of_just_the_least_value_is_taken(
    plain_floor: Callable[..., TradingFloor], limit: Limit, leg: str
) -> None:
    floor = plain_floor([100, 100])
    account = floor.open_account("k", {"USDT": Decimal(5)}, Decimal(5))
    qty, price = ("0.05", "100") if leg == "spot" else ("0.1", "50")
    assert floor.place(account, leg, limit("BUY", qty, price, "GTC")).status.open


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (("BUY", "0", "100"), -4003),
        (("BUY", "1", "0"), -4001),
        (("BUY", "1", "100.55"), -1111),
        (("BUY", "1.05", "100"), -1111),
        (("BUY", "1", "100.5"), -4014),
        (("BUY", "9000001", "100"), -4005),
        (("BUY", "1", "106"), -4016),
        (("SELL", "1", "94"), -4024),
        (("BUY", "0.1", "49"), -4164),
        (("BUY", "250", "101"), -2019),
        (("SELL", "250", "100"), -2019),
        (("SELL", "205", "96"), -2019),  # it would be sold at 100, so that 19,680 are 20,500
    ],
)
def test_futures_refuse_with_their_own_codes(
    plain: TradingFloor, account: VenueAccount, limit: Limit, order: tuple[str, str, str], code: int
) -> None:
    with pytest.raises(Refusal) as refused:
        plain.place(account, "perp", limit(*order))
    assert refused.value.code == code
    assert not account.orders


def test_a_lot_of_several_coins_is_not_undercut(
    plain_floor: Callable[..., TradingFloor], limit: Limit, market: Market
) -> None:
    floor = plain_floor([1, 2])
    account = floor.open_account("k", {}, Decimal(1_000))
    assert floor.venue.market("perp", "BTCUSDT").filters.lot == 10
    for qty, code in (("5", -4004), ("15", -1111)):
        with pytest.raises(Refusal) as refused:
            floor.place(account, "perp", limit("SELL", qty, "1"))
        assert refused.value.code == code


def test_a_market_order_is_refused_where_the_book_is_far_from_the_mark(
    plain_floor: Callable[..., TradingFloor], market: Market
) -> None:
    floor = plain_floor([100, 100], marks=[90, 90])
    account = floor.open_account("k", {}, Decimal(1_000))
    with pytest.raises(Refusal, match="-4131"):
        floor.place(account, "perp", market("BUY", "1"))
    floor.place(account, "perp", market("SELL", "1"))


@pytest.mark.parametrize(("leg", "code"), [("spot", -2010), ("perp", -5022)])
def test_a_post_only_order_that_would_match_is_refused(
    plain: TradingFloor, account: VenueAccount, limit: Limit, leg: str, code: int
) -> None:
    tif = "GTX" if leg == "perp" else "GTC"
    with pytest.raises(Refusal) as refused:
        plain.place(account, leg, limit("BUY", "1", "101", tif, post_only=leg == "spot"))
    assert refused.value.code == code
    assert plain.place(account, leg, limit("BUY", "1", "100", tif, post_only=leg == "spot")).status.open


@pytest.mark.pitfall("P10")
def test_an_order_that_may_only_reduce_is_refused_where_it_would_open(
    plain: TradingFloor, account: VenueAccount, limit: Limit
) -> None:
    for side, price in (("BUY", "101"), ("SELL", "100")):
        with pytest.raises(Refusal, match="-2022 ReduceOnly Order is rejected"):
            plain.place(account, "perp", limit(side, "1", price, reduce_only=True))
    plain.place(account, "perp", limit("SELL", "1", "100"))
    with pytest.raises(Refusal, match="-2022"):
        plain.place(account, "perp", limit("SELL", "1", "100", reduce_only=True))


def test_an_order_that_may_only_reduce_needs_no_margin_and_no_least_value(
    plain: TradingFloor, account: VenueAccount, limit: Limit
) -> None:
    plain.place(account, "perp", limit("SELL", "198", "100"))
    with pytest.raises(Refusal, match="-2019"):
        plain.place(account, "perp", limit("SELL", "10", "100"))
    order = plain.place(account, "perp", limit("BUY", "0.1", "49", "GTC", reduce_only=True))
    assert order.status.open


@pytest.mark.pitfall("P11")
@pytest.mark.parametrize(("leg", "code"), [("spot", -2010), ("perp", -4116)])
def test_a_name_is_refused_only_while_its_order_is_open(
    plain: TradingFloor, account: VenueAccount, limit: Limit, leg: str, code: int
) -> None:
    rests = limit("BUY", "1", "100", "GTC", client_id="mine")
    first = plain.place(account, leg, rests)
    with pytest.raises(Refusal, match=r"[Dd]uplicate") as refused:
        plain.place(account, leg, rests)
    assert refused.value.code == code
    plain.cancel(account, leg, "BTCUSDT", client_id="mine")
    second = plain.place(account, leg, rests)
    assert first.order_id != second.order_id
    assert plain.order(account, leg, "BTCUSDT", client_id="mine") is second
    assert plain.order(account, leg, "BTCUSDT", order_id=first.order_id) is first


def test_a_halted_market_takes_no_orders_but_lets_them_be_cancelled(
    plain: TradingFloor, account: VenueAccount, limit: Limit
) -> None:
    rests = plain.place(account, "spot", limit("BUY", "1", "99", "GTC"))
    for leg, code in (("spot", -1013), ("perp", -4108)):
        plain.halt(leg, "BTCUSDT", halted=True)
        with pytest.raises(Refusal, match="closed") as refused:
            plain.place(account, leg, limit("BUY", "1", "101"))
        assert refused.value.code == code
        statuses = [entry["status"] for entry in plain.venue.exchange_info(leg)["symbols"]]
        assert statuses[0] == "BREAK"
    assert plain.cancel(account, "spot", "BTCUSDT", order_id=rests.order_id).status == "CANCELED"
    plain.halt("spot", "BTCUSDT", halted=False)
    assert plain.place(account, "spot", limit("BUY", "1", "101")).status == "FILLED"


def test_what_is_not_there_is_not_found(plain: TradingFloor, account: VenueAccount, limit: Limit) -> None:
    done = plain.place(account, "perp", limit("BUY", "1", "101", client_id="done"))
    with pytest.raises(Refusal, match="-2013 Order does not exist"):
        plain.order(account, "perp", "BTCUSDT", client_id="never")
    with pytest.raises(Refusal, match="-2013"):
        plain.order(account, "spot", "BTCUSDT", order_id=done.order_id)
    for name in ("done", "never"):
        with pytest.raises(Refusal, match="-2011 Unknown order sent"):
            plain.cancel(account, "perp", "BTCUSDT", client_id=name)
    with pytest.raises(Refusal, match="-2015"):
        plain.account("nobody")
    with pytest.raises(Refusal, match="-1121"):
        plain.place(account, "perp", replace(limit("BUY", "1", "101"), symbol="XYZUSDT"))


def test_parameters_that_do_not_go_together_are_refused(
    plain: TradingFloor, account: VenueAccount, limit: Limit, market: Market
) -> None:
    priced = replace(limit("BUY", "1", "100"), type=OrderType.MARKET)
    unpriced = replace(limit("BUY", "1", "100"), price=None)
    for leg, entry, code in (
        ("spot", priced, -1106),
        ("spot", unpriced, -1102),
        ("spot", market("BUY", "1", reduce_only=True), -1106),
        ("spot", limit("BUY", "1", "100", "GTX"), -1115),
        ("perp", limit("BUY", "1", "100", post_only=True), -1116),
        ("perp", limit("BUY", "1", "100", client_id="x" * 37), -1100),
        ("spot", limit("BUY", "1", "100", client_id="two words"), -1100),
    ):
        with pytest.raises(Refusal) as refused:
            plain.place(account, leg, entry)  # type: ignore[arg-type]
        assert refused.value.code == code


def test_transfers_that_cannot_be_are_refused(
    plain: TradingFloor, account: VenueAccount, limit: Limit
) -> None:
    plain.place(account, "perp", limit("SELL", "100", "100"))  # asks for 500 of margin, 5 are fees
    plain.place(account, "spot", limit("BUY", "40", "100", "GTC"))  # locks 4,000
    for asset, amount, to in (
        ("USDT", "6000.01", "futures"),
        ("USDT", "495.01", "spot"),
        ("USDT", "0", "spot"),
        ("USDT", "0.000000001", "spot"),
        ("BTC", "1", "futures"),
    ):
        with pytest.raises(Refusal, match="-5013"):
            plain.transfer(account, asset, Decimal(amount), to)  # type: ignore[arg-type]
    plain.transfer(account, "USDT", Decimal(6_000), "futures")
    plain.transfer(account, "USDT", Decimal(6_495), "spot")
    assert plain.margin(account).available == 0
    assert [moved.amount for moved in plain.transfers(account)] == [6_000, 6_495]


def test_a_leverage_that_no_venue_offers_is_refused(
    plain: TradingFloor, account: VenueAccount, limit: Limit
) -> None:
    with pytest.raises(Refusal, match="-4028 Leverage 126 is not valid"):
        plain.set_leverage(account, "BTCUSDT", 126)
    plain.set_leverage(account, "BTCUSDT", 1)
    with pytest.raises(Refusal, match="-2019"):
        plain.place(account, "perp", limit("BUY", "10", "101"))
    assert plain.place(account, "perp", limit("BUY", "9.9", "101")).status == "FILLED"


def test_a_leverage_that_what_is_held_cannot_have_is_refused_and_changes_nothing(
    plain: TradingFloor, limit: Limit
) -> None:
    account = plain.open_account("leveraged", {}, Decimal(10_000))
    plain.place(account, "perp", limit("SELL", "900", "100"))  # 45 of fees, and 4,500 of margin at 20
    with pytest.raises(Refusal, match="-2028"):
        plain.set_leverage(account, "BTCUSDT", 9)  # 10,000 of margin, and 9,955 are there
    with pytest.raises(Refusal, match="-2027"):
        plain.set_leverage(account, "BTCUSDT", 101)  # only up to 50,000
    assert plain.leverage(account, "BTCUSDT") == 20
    plain.set_leverage(account, "BTCUSDT", 10)
    assert plain.margin(account).position_initial == 9_000
    plain.set_leverage(account, "BTCUSDT", 100)
    assert plain.margin(account).position_initial == 900


def test_an_order_beyond_what_a_leverage_may_carry_is_refused_unless_it_makes_the_position_smaller(
    plain_floor: Callable[..., TradingFloor], limit: Limit, minute: Callable[[int], int]
) -> None:
    floor = plain_floor([100, 104])
    account = floor.open_account("leveraged", {}, Decimal(1_000_000))
    floor.set_leverage(account, "BTCUSDT", 125)  # up to 50,000
    with pytest.raises(Refusal, match="-2027"):
        floor.place(account, "perp", limit("BUY", "501", "100", "GTC"))
    rests = floor.place(account, "perp", limit("BUY", "300", "96", "GTC"))
    with pytest.raises(Refusal, match="-2027"):
        floor.place(account, "perp", limit("BUY", "300", "96", "GTC"))
    floor.cancel(account, "perp", "BTCUSDT", order_id=rests.order_id)
    floor.place(account, "perp", limit("SELL", "500", "100"))
    floor.advance(minute(2))  # it is worth 52,000 by now
    with pytest.raises(Refusal, match="-2027"):
        floor.place(account, "perp", limit("SELL", "0.1", "104"))
    assert floor.place(account, "perp", limit("BUY", "0.1", "105")).status == "FILLED"


def test_an_account_is_not_opened_twice_and_its_key_is_not_repeated(plain: TradingFloor) -> None:
    plain.open_account("a-key-of-ours", {}, Decimal(0))
    with pytest.raises(ValueError, match="another key") as refused:
        plain.open_account("a-key-of-ours", {}, Decimal(0))
    assert "a-key-of-ours" not in str(refused.value)


@pytest.mark.parametrize("dollars", ["0", "-1", "NaN", "Infinity", "1e-9"])
def test_a_quote_coin_of_no_price_is_refused(plain: TradingFloor, dollars: str) -> None:
    with pytest.raises(ValueError, match=r"dollars must be a price from 0\.001 to 1000"):
        plain.set_quote_price(Decimal(dollars))


def test_the_quote_coins_price_is_told_and_cannot_be_traded(
    plain: TradingFloor, account: VenueAccount
) -> None:
    plain.set_quote_price(Decimal("0.97"))
    venue = plain.venue
    told = venue.book_ticker(venue.market("spot", "USDCUSDT"))
    assert venue.price(venue.market("spot", "USDCUSDT"))["price"] == "1.0309"
    assert (told["bidPrice"], told["askPrice"]) == ("1.0309", "1.031")
    assert plain.book("spot", "USDCUSDT").bids[0][0] == "1.0309"
    status = {entry["symbol"]: entry["status"] for entry in venue.exchange_info("spot")["symbols"]}
    assert status["USDCUSDT"] == "TRADING"
    entry = OrderEntry("USDCUSDT", Side.BUY, OrderType.MARKET, TimeInForce.GTC, Decimal(10))
    with pytest.raises(Refusal, match="-2010 This symbol is not permitted"):
        plain.place(account, "spot", entry)
    assert [market.symbol for market in venue.markets("perp")] == ["BTCUSDT"]

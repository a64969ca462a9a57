"""What every trading venue must do, whatever stands behind it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

import pytest

from carryflow.core.costs import CostSettings
from carryflow.core.errors import RejectedError, RetryableError, UnknownTickerError
from carryflow.core.leg import LEGS, Leg
from carryflow.execution.intents import client_order_id
from carryflow.execution.orders import (
    Fill,
    OrderReport,
    OrderRequest,
    OrderStatus,
    Side,
    TimeInForce,
    Wallet,
)
from carryflow.execution.paper.venue import PaperVenue
from carryflow.execution.ports import Clock, MarketView, TradingVenue
from carryflow.market.synthetic import SyntheticSettings
from carryflow.market.timeframe import HOUR_MS
from carryflow.venues.credentials import Credentials
from carryflow.venues.settings import VenueSettings
from carryflow.venues.simulated.server import RunningExchange, start_exchange
from carryflow.venues.simulated.tape import synthetic_tape
from carryflow.venues.simulated.trading.settings import TradingSettings
from carryflow.venues.trading.ccxt_trading import open_trading
from carryflow.venues.trading.market_view import open_market_view

TAPE = synthetic_tape(SyntheticSettings(hours=300), ("BTC", "ETH"))
START_MS = TAPE.end_ms - 100 * HOUR_MS
CASH, MARGIN = Decimal(1_000_000), Decimal(1_000_000)
QTY = Decimal("0.05")
VALID_MS = 3_000
AWAY = Decimal("0.03")

Result = TypeVar("Result")


class SteppingClock:
    """Tell a stepped exchange's time, and step it where somebody waits."""

    def __init__(self, exchange: RunningExchange) -> None:
        self._exchange = exchange

    def now_ms(self) -> int:
        return self._exchange.now_ms

    async def sleep(self, seconds: float) -> None:
        self._exchange.step(max(1, round(seconds * 1000)))


@dataclass(frozen=True)
class Rig:
    """A venue with an empty account of CASH and MARGIN, the market that it trades in, and its clock."""

    venue: TradingVenue
    market: MarketView
    clock: Clock
    run: Callable[[Awaitable[Any]], Any]

    def order(self, leg: Leg, side: Side, nonce: int = 0, **changed: Any) -> OrderRequest:
        """An order that crosses the touch by 20 bp, unless it is told otherwise."""
        bound = Decimal("0.002") * side.sign
        given = {
            "client_id": client_order_id("ab" * 8, leg, nonce),
            "leg": leg,
            "ticker": "BTC",
            "side": side,
            "qty": QTY,
            "price": self.price(leg, 1 + bound),
            "time_in_force": TimeInForce.IOC,
        }
        return OrderRequest(**{**given, **changed})  # type: ignore[arg-type]

    def price(self, leg: Leg, factor: Decimal) -> Decimal:
        mid = self.run(self.market.book(leg, "BTC")).mid
        return self.venue.instrument(leg, "BTC").round_price(mid * factor)

    def submit(self, order: OrderRequest) -> OrderReport:
        report: OrderReport = self.run(self.venue.submit(order, self.clock.now_ms() + VALID_MS))
        return report

    def find(self, order: OrderRequest) -> OrderReport | None:
        found: OrderReport | None = self.run(self.venue.find(order.leg, order.ticker, order.client_id))
        return found

    def fills(self, leg: Leg, since_ms: int = START_MS) -> list[Fill]:
        return list(self.run(self.venue.fills(leg, "BTC", since_ms)))

    def resting(self, leg: Leg, side: Side, nonce: int = 0, **changed: Any) -> OrderRequest:
        """An order so far from the touch that it rests."""
        price = self.price(leg, 1 - AWAY * side.sign)
        return self.order(leg, side, nonce, price=price, time_in_force=TimeInForce.GTC, **changed)


@pytest.fixture(scope="module")
def exchange() -> Iterator[RunningExchange]:
    with start_exchange(TAPE, trading=TradingSettings(), start_ms=START_MS) as running:
        yield running


@pytest.fixture(params=["over HTTP", "on paper"])
def rig(exchange: RunningExchange, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A fresh account at the simulated exchange; or one that is only imagined, on the exchange's market."""
    key, clock = f"key-{request.node.name}", SteppingClock(exchange)
    exchange.open_account(key, "secret", {"USDT": CASH}, MARGIN)
    settings, tickers = VenueSettings(url=exchange.url), ("BTC", "ETH")
    trading = open_trading(settings, tickers, "USDT", Credentials(key, "secret"), sandbox=True, clock=clock)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            market = runner.run(stack.enter_async_context(open_market_view(settings, tickers, "USDT", clock)))
            venue: TradingVenue = runner.run(stack.enter_async_context(trading))
            if request.param == "on paper":
                instruments = {(leg, t): venue.instrument(leg, t) for leg in LEGS for t in tickers}
                costs = CostSettings(fee_in_base=True)
                venue = PaperVenue(market, instruments, costs, clock, "USDT", (CASH, MARGIN))
            yield Rig(venue, market, clock, runner.run)  # type: ignore[arg-type]
        finally:
            runner.run(stack.aclose())


@pytest.mark.parametrize("leg", LEGS)
def test_a_crossing_order_is_filled_within_its_limit(rig: Rig, leg: Leg) -> None:
    order = rig.order(leg, Side.BUY)
    report = rig.submit(order)
    assert (report.status, report.filled, report.qty) == (OrderStatus.FILLED, QTY, QTY)
    assert (report.client_id, report.leg, report.ticker, report.side) == (
        order.client_id,
        leg,
        "BTC",
        Side.BUY,
    )
    fills = rig.fills(leg)
    assert sum(fill.qty for fill in fills) == QTY
    assert all(fill.price <= order.price for fill in fills)
    assert {(fill.client_id, fill.venue_order_id, fill.maker) for fill in fills} == {
        (order.client_id, report.venue_order_id, False)
    }
    assert report.fills in {(), tuple(fills)}


@pytest.mark.parametrize("leg", LEGS)
def test_what_an_order_came_to_is_found_by_its_name(rig: Rig, leg: Leg) -> None:
    order = rig.order(leg, Side.BUY)
    assert rig.find(order) is None
    report = rig.submit(order)
    found = rig.find(order)
    assert found is not None
    assert (found.venue_order_id, found.filled, found.status) == (
        report.venue_order_id,
        report.filled,
        report.status,
    )


@pytest.mark.parametrize("leg", LEGS)
def test_an_order_that_may_not_rest_ends_at_its_limit(rig: Rig, leg: Leg) -> None:
    book = rig.run(rig.market.book(leg, "BTC"))
    qty = book.asks[0][1] * 4
    report = rig.submit(rig.order(leg, Side.BUY, qty=qty - qty % Decimal("0.001"), price=book.asks[0][0]))
    assert report.status is OrderStatus.CANCELED
    assert 0 < report.filled < report.qty
    assert rig.run(rig.venue.open_orders()) == []


@pytest.mark.parametrize("leg", LEGS)
def test_all_or_nothing_is_nothing_where_not_all_is_there(rig: Rig, leg: Leg) -> None:
    book = rig.run(rig.market.book(leg, "BTC"))
    qty = book.asks[0][1] * 4
    order = rig.order(
        leg,
        Side.BUY,
        qty=qty - qty % Decimal("0.001"),
        price=book.asks[0][0],
        time_in_force=TimeInForce.FOK,
    )
    report = rig.submit(order)
    assert (report.status, report.filled) == (OrderStatus.CANCELED, 0)
    assert rig.fills(leg) == []


@pytest.mark.parametrize("leg", LEGS)
def test_a_resting_order_is_open_until_it_is_cancelled(rig: Rig, leg: Leg) -> None:
    order = rig.resting(leg, Side.BUY)
    assert rig.submit(order).status is OrderStatus.OPEN
    (listed,) = rig.run(rig.venue.open_orders())
    assert (listed.client_id, listed.leg, listed.qty) == (order.client_id, leg, QTY)
    ended = rig.run(rig.venue.cancel(leg, "BTC", order.client_id))
    assert (ended.client_id, ended.status, ended.filled) == (order.client_id, OrderStatus.CANCELED, 0)
    assert rig.run(rig.venue.open_orders()) == []
    again = rig.run(rig.venue.cancel(leg, "BTC", order.client_id))
    assert (again.status, again.venue_order_id) == (OrderStatus.CANCELED, ended.venue_order_id)


@pytest.mark.parametrize("leg", LEGS)
def test_an_order_that_does_not_exist_is_neither_found_nor_cancelled(rig: Rig, leg: Leg) -> None:
    assert rig.run(rig.venue.find(leg, "BTC", client_order_id("0" * 16, leg, 9))) is None
    assert rig.run(rig.venue.cancel(leg, "BTC", client_order_id("0" * 16, leg, 9))) is None


@pytest.mark.parametrize("leg", LEGS)
def test_all_orders_of_one_market_are_cancelled_at_once(rig: Rig, leg: Leg) -> None:
    other: Leg = "perp" if leg == "spot" else "spot"
    for nonce in range(3):
        rig.submit(rig.resting(leg, Side.BUY, nonce))
    kept = rig.resting(other, Side.BUY)
    rig.submit(kept)
    rig.run(rig.venue.cancel_all(leg, "BTC"))
    assert [order.client_id for order in rig.run(rig.venue.open_orders())] == [kept.client_id]
    rig.run(rig.venue.cancel_all(leg, "BTC"))


@pytest.mark.parametrize("leg", LEGS)
def test_an_order_that_would_cross_is_refused_if_it_must_not(rig: Rig, leg: Leg) -> None:
    order = rig.order(leg, Side.BUY, time_in_force=TimeInForce.POST_ONLY)
    try:
        assert rig.submit(order).filled == 0
    except RejectedError:
        assert rig.find(order) is None
    assert rig.fills(leg) == []


@pytest.mark.pitfall("P10")
def test_a_close_never_opens(rig: Rig) -> None:
    closing = rig.order("perp", Side.BUY, reduce_only=True)
    with pytest.raises(RejectedError):
        rig.submit(closing)
    rig.submit(rig.order("perp", Side.SELL, 1))
    too_much = rig.order("perp", Side.BUY, 2, qty=QTY * 2, reduce_only=True)
    try:
        assert rig.submit(too_much).filled <= QTY
    except RejectedError:
        rig.submit(rig.order("perp", Side.BUY, 3, reduce_only=True))
    assert rig.run(rig.venue.positions()) == []


def test_a_pair_leaves_coins_in_one_wallet_and_a_short_in_the_other(rig: Rig) -> None:
    bought = rig.submit(rig.order("spot", Side.BUY))
    sold = rig.submit(rig.order("perp", Side.SELL))
    spot, perp = rig.fills("spot"), rig.fills("perp")
    fee_base = sum(fill.fee for fill in spot if fill.fee_asset == "BTC")
    fee_quote = sum(fill.fee for fill in spot + perp if fill.fee_asset == "USDT")
    paid = sum(fill.qty * fill.price for fill in spot)
    has = rig.run(rig.venue.balances())
    assert has.spot["BTC"] == bought.filled - fee_base
    assert has.spot["USDT"] + has.futures == CASH + MARGIN - paid - fee_quote
    (position,) = rig.run(rig.venue.positions())
    assert (position.ticker, position.qty) == ("BTC", -sold.filled)
    mean = sum(fill.qty * fill.price for fill in perp) / sold.filled
    assert abs(position.entry_price - mean) < Decimal("1e-6")
    assert 0 < has.maintenance < has.margin
    assert position.liquidation_price is None or position.liquidation_price > position.entry_price


@pytest.mark.pitfall("P15")
def test_a_fee_in_coins_is_told_in_coins(rig: Rig) -> None:
    report = rig.submit(rig.order("spot", Side.BUY))
    fills = rig.fills("spot")
    assert {fill.fee_asset for fill in fills} == {"BTC"}
    assert 0 < sum(fill.fee for fill in fills) < report.filled / 100
    assert {fill.fee_asset for fill in (rig.submit(rig.order("perp", Side.SELL)), rig.fills("perp"))[1]} == {
        "USDT"
    }


def test_fills_are_told_from_an_instant_on_and_the_oldest_first(rig: Rig) -> None:
    rig.submit(rig.order("spot", Side.BUY))
    rig.run(rig.clock.sleep(10))
    since = rig.clock.now_ms()
    rig.submit(rig.order("spot", Side.SELL, 1, qty=QTY / 2))
    late = rig.fills("spot", since)
    assert {fill.side for fill in late} == {Side.SELL}
    every = rig.fills("spot")
    assert [fill.ts_ms for fill in every] == sorted(fill.ts_ms for fill in every)
    assert every[-len(late) :] == late
    assert rig.fills("spot", 0) == every


def test_money_moves_between_the_wallets_and_none_is_lost(rig: Rig) -> None:
    before = rig.run(rig.venue.balances())
    began = rig.clock.now_ms()
    moved = rig.run(rig.venue.transfer(Decimal("1234.56789"), Wallet.FUTURES))
    back = rig.run(rig.venue.transfer(Decimal("34.5"), Wallet.SPOT))
    after = rig.run(rig.venue.balances())
    assert after.futures == before.futures + Decimal("1200.06789")
    assert after.spot["USDT"] + after.futures == before.spot["USDT"] + before.futures
    told = rig.run(rig.venue.transfers(began))
    assert [(one.transfer_id, one.amount, one.to) for one in told] == [
        (moved.transfer_id, Decimal("1234.56789"), Wallet.FUTURES),
        (back.transfer_id, Decimal("34.5"), Wallet.SPOT),
    ]
    with pytest.raises(RejectedError):
        rig.run(rig.venue.transfer(Decimal(10_000_000), Wallet.SPOT))
    assert rig.run(rig.venue.balances()) == after


def test_what_cannot_be_paid_is_refused_and_nothing_of_it_exists(rig: Rig) -> None:
    for leg in LEGS:
        order = rig.resting(leg, Side.BUY, qty=Decimal(1000))
        with pytest.raises(RejectedError):
            rig.submit(order)
        assert rig.find(order) is None


@pytest.mark.pitfall("P11")
def test_an_order_whose_time_is_over_is_not_accepted(rig: Rig) -> None:
    order = rig.order("spot", Side.BUY)
    with pytest.raises((RetryableError, RejectedError)):
        rig.run(rig.venue.submit(order, rig.clock.now_ms() - 1))
    assert rig.find(order) is None
    assert rig.fills("spot") == []


def test_funding_is_paid_to_the_short_of_a_market_that_is_long(rig: Rig) -> None:
    rig.submit(rig.order("perp", Side.SELL))
    opened = rig.clock.now_ms()
    before = rig.run(rig.venue.balances()).futures
    mark = rig.run(rig.market.mark("BTC"))
    assert mark.next_funding_ms is not None
    rig.run(rig.clock.sleep((mark.next_funding_ms - opened) / 1000 + 60))
    paid = rig.run(rig.venue.funding_payments(opened))
    assert [payment.ticker for payment in paid] == ["BTC"]
    assert opened < paid[0].ts_ms <= rig.clock.now_ms()
    assert rig.run(rig.venue.balances()).futures - before == paid[0].amount != 0
    assert rig.run(rig.venue.funding_payments(opened)) == paid
    assert rig.run(rig.venue.funding_payments(paid[0].ts_ms + 1)) == []


def test_contracts_are_told_in_base_coins_with_their_minima(rig: Rig) -> None:
    for leg in LEGS:
        instrument = rig.venue.instrument(leg, "BTC")
        assert (instrument.ticker, instrument.quote) == ("BTC", rig.venue.quote)
        assert instrument.accepts(QTY, Decimal(50_000))
    with pytest.raises(UnknownTickerError, match="SOL"):
        rig.venue.instrument("spot", "SOL")


def test_the_venues_clock_and_its_switches_answer(rig: Rig) -> None:
    assert rig.run(rig.venue.now_ms()) == rig.clock.now_ms()
    permissions = rig.run(rig.venue.permissions())
    assert permissions is None or (permissions.trade and not permissions.withdraw)
    assert rig.run(rig.venue.arm_dead_man("BTC", 60)) in {True, False}
    assert rig.run(rig.venue.arm_dead_man("BTC", 0)) in {True, False}

"""Trading through ccxt on the simulated exchange: what each failure is called, and what was really done."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from decimal import Decimal, getcontext
from typing import Any

import pytest

from carryflow.core.errors import AmbiguousError, RejectedError, RetryableError, SettingsError, VenueError
from carryflow.core.leg import LEGS, Leg
from carryflow.execution.intents import client_order_id
from carryflow.execution.orders import OrderRequest, OrderStatus, Side, TimeInForce, Wallet
from carryflow.market.synthetic import SyntheticSettings
from carryflow.market.timeframe import HOUR_MS
from carryflow.venues.budget import Priority, RequestBudget
from carryflow.venues.clock import MachineClock, VenueClock, skew_ms
from carryflow.venues.connection import VenueConnection
from carryflow.venues.credentials import Credentials
from carryflow.venues.settings import VenueSettings
from carryflow.venues.simulated.faults import Fault
from carryflow.venues.simulated.server import RunningExchange, start_exchange
from carryflow.venues.simulated.tape import synthetic_tape
from carryflow.venues.simulated.trading.settings import TradingSettings
from carryflow.venues.trading.ccxt_trading import CcxtTradingVenue, open_trading
from carryflow.venues.trading.market_view import RestMarketView, open_market_view

TAPE = synthetic_tape(SyntheticSettings(hours=300), ("BTC", "ETH"))
START_MS = TAPE.end_ms - 100 * HOUR_MS
ORDERS: dict[Leg, str] = {"spot": "/api/v3/order", "perp": "/fapi/v1/order"}
SECRET = "5ecre7-0f-the-4cc0unt"
TIMEOUT = 0.5


WEBSOCKET, HTTP = "websocket", "http"


class SteppingClock:
    """Tell a stepped exchange's time, and step it where somebody waits."""

    def __init__(self, exchange: RunningExchange) -> None:
        self._exchange = exchange

    def now_ms(self) -> int:
        return self._exchange.now_ms

    async def sleep(self, seconds: float) -> None:
        self._exchange.step(max(1, round(seconds * 1000)))


class Desk:
    """An account with the venue that trades it and a view of the market; tests ask in their own loop."""

    def __init__(self, exchange: RunningExchange, key: str, runner: asyncio.Runner, way: str) -> None:
        self.exchange, self.key, self.run = exchange, key, runner.run
        self.clock = SteppingClock(exchange)
        self.settings = VenueSettings(
            url=exchange.url,
            request_timeout_seconds=TIMEOUT,
            backoff_seconds=0,
            orders_over_websocket=way == WEBSOCKET,
        )
        self._stack = AsyncExitStack()
        exchange.open_account(key, SECRET, {"USDT": Decimal(1_000_000)}, Decimal(1_000_000))
        self.venue = self.run(self.open())
        self.market: RestMarketView = self.run(
            self._stack.enter_async_context(open_market_view(self.settings, ("BTC",), "USDT", self.clock))
        )

    async def open(self, key: str | None = None, secret: str = SECRET, **changed: Any) -> CcxtTradingVenue:
        opened = open_trading(
            self.settings.model_copy(update=changed),
            ("BTC", "ETH"),
            "USDT",
            Credentials(key or self.key, secret),
            sandbox=True,
            clock=self.clock,
        )
        return await self._stack.enter_async_context(opened)

    async def open_as_binance(self) -> CcxtTradingVenue:
        """Open the account through all that is done for the real venue, whose limiter is on."""
        settings = self.settings.model_copy(update={"name": "binance"})
        connection = VenueConnection(settings, budget=RequestBudget(8, reserve=2))
        await self._stack.enter_async_context(connection)
        keys = Credentials(self.key, SECRET)
        keys.sign_in(connection.exchange)
        return CcxtTradingVenue(connection, ("BTC", "ETH"), "USDT", keys, self.clock)

    def close(self) -> None:
        self.exchange.clear_faults()
        self.run(self._stack.aclose())

    def order(
        self, leg: Leg = "spot", side: Side = Side.BUY, nonce: int = 0, away: str = "-0.002"
    ) -> OrderRequest:
        """An order that crosses by 20 bp; `away` from the mid instead, if it is positive."""
        mid = self.run(self.market.book(leg, "BTC")).mid
        price = self.venue.instrument(leg, "BTC").round_price(mid * (1 - Decimal(away) * side.sign))
        resting = Decimal(away) > 0
        return OrderRequest(
            client_order_id("cd" * 8, leg, nonce),
            leg,
            "BTC",
            side,
            Decimal("0.01"),
            price,
            TimeInForce.GTC if resting else TimeInForce.IOC,
        )

    def submit(self, order: OrderRequest) -> Any:
        return self.run(self.venue.submit(order, self.clock.now_ms() + 3_000))

    def find(self, order: OrderRequest) -> Any:
        return self.run(self.venue.find(order.leg, "BTC", order.client_id))

    def sent(self, action: Callable[[], Any], path: str) -> int:
        """How many requests to a path an action takes."""
        before = self.exchange.requests[path]
        action()
        return self.exchange.requests[path] - before


@pytest.fixture(scope="module")
def exchange() -> Iterator[RunningExchange]:
    with start_exchange(TAPE, trading=TradingSettings(), start_ms=START_MS) as running:
        yield running


@pytest.fixture
def desk(exchange: RunningExchange, request: pytest.FixtureRequest) -> Iterator[Desk]:
    with asyncio.Runner() as runner:
        made = Desk(exchange, f"key-{request.node.name}", runner, getattr(request, "param", WEBSOCKET))
        yield made
        made.close()


DONE, NOT_DONE = True, False

over_http = pytest.mark.parametrize("desk", [HTTP], indirect=True)
both_ways = pytest.mark.parametrize("desk", [WEBSOCKET, HTTP], indirect=True)


@both_ways
@pytest.mark.pitfall("P11")
@pytest.mark.parametrize("leg", LEGS)
@pytest.mark.parametrize(
    ("fault", "told", "error", "done"),
    [
        (Fault.RESET, {}, AmbiguousError, NOT_DONE),
        (Fault.LOST_ANSWER, {}, AmbiguousError, DONE),
        (Fault.SERVER_ERROR, {}, AmbiguousError, NOT_DONE),
        (Fault.ERROR_AFTER, {}, AmbiguousError, DONE),
        (Fault.TRUNCATED, {}, AmbiguousError, DONE),
        (Fault.DELAYED_ANSWER, {"delay_seconds": 2 * TIMEOUT}, AmbiguousError, DONE),
        (Fault.REFUSED, {"code": -1007}, AmbiguousError, NOT_DONE),
        (Fault.REFUSED, {"code": -1006}, AmbiguousError, NOT_DONE),
        (Fault.TOO_MANY_REQUESTS, {}, RetryableError, NOT_DONE),
        (Fault.REFUSED, {"code": -1003}, RetryableError, NOT_DONE),
        (Fault.REFUSED, {"code": -1015}, RetryableError, NOT_DONE),
        (Fault.REFUSED, {"code": -1021}, RetryableError, NOT_DONE),
        (Fault.REFUSED, {"code": -1022}, RejectedError, NOT_DONE),
        (Fault.REFUSED, {"code": -2010}, RejectedError, NOT_DONE),
        (Fault.REFUSED, {"code": -2015}, RejectedError, NOT_DONE),
        (Fault.REFUSED, {"code": -4164}, RejectedError, NOT_DONE),
        (Fault.BANNED, {"wait_seconds": 2}, RejectedError, NOT_DONE),
    ],
)
def test_a_failed_order_is_called_what_is_known_of_it(
    desk: Desk, leg: Leg, fault: Fault, told: dict[str, Any], error: type[VenueError], done: bool
) -> None:
    order = desk.order(leg)
    desk.exchange.inject(fault, path=ORDERS[leg], method="POST", **told)
    before = desk.exchange.requests[ORDERS[leg]]
    with pytest.raises(error) as failure:
        desk.submit(order)
    assert type(failure.value) is error
    assert desk.exchange.requests[ORDERS[leg]] == before + 1
    desk.run(desk.clock.sleep(3))
    found = desk.find(order)
    assert (found is not None) is done
    if done:
        assert (found.status, found.filled) == (OrderStatus.FILLED, order.qty)


@pytest.mark.parametrize(
    "fault", [Fault.RESET, Fault.LOST_ANSWER, Fault.SERVER_ERROR, Fault.TRUNCATED, Fault.TOO_MANY_REQUESTS]
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda venue: venue.find("perp", "BTC", "cf-0"),
        lambda venue: venue.balances(),
        lambda venue: venue.positions(),
        lambda venue: venue.open_orders(),
        lambda venue: venue.fills("spot", "BTC", START_MS),
        lambda venue: venue.transfers(START_MS),
        lambda venue: venue.funding_payments(START_MS),
        lambda venue: venue.permissions(),
        lambda venue: venue.now_ms(),
    ],
    ids=["find", "balances", "positions", "orders", "fills", "transfers", "funding", "permissions", "clock"],
)
def test_a_failed_question_may_be_asked_again(
    desk: Desk, ask: Callable[[CcxtTradingVenue], Awaitable[Any]], fault: Fault
) -> None:
    desk.exchange.inject(fault)
    with pytest.raises(RetryableError):
        desk.run(ask(desk.venue))  # type: ignore[arg-type]
    desk.exchange.clear_faults()
    desk.run(ask(desk.venue))  # type: ignore[arg-type]


def test_a_question_that_gets_no_answer_is_sent_once(desk: Desk) -> None:
    order = desk.order("spot", away="0.03")
    desk.submit(order)

    def cancel() -> None:
        with pytest.raises(AmbiguousError):
            desk.run(desk.venue.cancel("spot", "BTC", order.client_id))

    desk.exchange.inject(Fault.LOST_ANSWER, path="/api/v3/order", method="DELETE")
    assert desk.sent(cancel, "/api/v3/order") == 1
    assert desk.find(order).status is OrderStatus.CANCELED


@both_ways
@pytest.mark.pitfall("P11")
@pytest.mark.parametrize("leg", LEGS)
def test_an_order_that_comes_too_late_is_refused_by_the_venue_itself(desk: Desk, leg: Leg) -> None:
    order = desk.order(leg)
    desk.exchange.inject(Fault.DELAYED_REQUEST, path=ORDERS[leg], method="POST", delay_seconds=2 * TIMEOUT)
    valid_until_ms = desk.clock.now_ms() + 700
    with pytest.raises(AmbiguousError):
        desk.run(desk.venue.submit(order, valid_until_ms))
    desk.exchange.step(701)
    assert desk.find(order) is None
    time.sleep(1.5 * TIMEOUT)
    assert desk.find(order) is None
    assert desk.exchange.orders(desk.key) == []


@over_http
def test_nothing_is_sent_to_a_venue_that_is_not_there(desk: Desk) -> None:
    order = desk.order()
    desk.venue.connection.exchange.urls["api"]["private"] = "http://127.0.0.1:9/api/v3"
    with pytest.raises(RetryableError, match="nothing was sent"):
        desk.submit(order)
    desk.venue.connection.exchange.urls["api"]["private"] = "http://no-such-host.invalid/api/v3"
    with pytest.raises(RetryableError, match="nothing was sent"):
        desk.submit(order)


def test_orders_go_over_http_while_the_websocket_is_down(desk: Desk) -> None:
    desk.exchange.inject(Fault.RESET, path=ORDERS["spot"], method="POST")
    with pytest.raises(AmbiguousError):
        desk.submit(desk.order())
    desk.exchange.inject(Fault.RESET, 10_000, path="/ws-api")
    again = desk.submit(desk.order(nonce=1))
    assert again.status is OrderStatus.FILLED


@pytest.mark.parametrize("leg", LEGS)
def test_an_order_is_told_alike_both_ways(desk: Desk, leg: Leg) -> None:
    other = desk.run(desk.open(orders_over_websocket=False))
    order = desk.order(leg, nonce=1)
    told = [desk.submit(desk.order(leg)), desk.run(other.submit(order, desk.clock.now_ms() + 3_000))]
    names = {"client_id": "", "venue_order_id": "", "updated_ms": 0, "fills": ()}
    over_websocket, over_http = (replace(report, **names) for report in told)
    assert over_websocket == over_http
    assert over_http.status is OrderStatus.FILLED
    assert {fill.fee_asset for fill in told[0].fills} == {fill.fee_asset for fill in told[1].fills}


@both_ways
def test_nobody_waiting_for_an_answer_leaves_it_unknown(desk: Desk) -> None:
    order = desk.order()
    desk.exchange.inject(Fault.DELAYED_ANSWER, path=ORDERS["spot"], method="POST", delay_seconds=0.3)

    async def give_up() -> None:
        sending = asyncio.ensure_future(desk.venue.submit(order, desk.clock.now_ms() + 3_000))
        await asyncio.sleep(0.1)
        sending.cancel()
        with pytest.raises(AmbiguousError, match="nobody waited"):
            await sending

    desk.run(give_up())
    assert desk.find(order).filled == order.qty


@both_ways
@pytest.mark.pitfall("P11")
@pytest.mark.parametrize("leg", LEGS)
def test_a_name_in_use_means_that_an_earlier_sending_arrived(desk: Desk, leg: Leg) -> None:
    order = desk.order(leg, away="0.03")
    desk.submit(order)
    with pytest.raises(AmbiguousError, match="is there already"):
        desk.submit(order)
    assert desk.find(order).status is OrderStatus.OPEN
    assert len(desk.exchange.orders(desk.key)) == 1


@pytest.mark.parametrize("leg", LEGS)
def test_an_order_that_was_filled_cannot_be_cancelled_and_says_so(desk: Desk, leg: Leg) -> None:
    order = desk.order(leg)
    desk.submit(order)
    told = desk.run(desk.venue.cancel(leg, "BTC", order.client_id))
    assert (told.status, told.filled) == (OrderStatus.FILLED, order.qty)


def test_a_transfer_without_an_answer_is_unknown_and_found_in_the_history(desk: Desk) -> None:
    began = desk.clock.now_ms()
    desk.exchange.inject(Fault.LOST_ANSWER, path="/sapi/v1/asset/transfer", method="POST")
    with pytest.raises(AmbiguousError):
        desk.run(desk.venue.transfer(Decimal("7.125"), Wallet.SPOT))
    (found,) = desk.run(desk.venue.transfers(began))
    assert (found.amount, found.to) == (Decimal("7.125"), Wallet.SPOT)


@pytest.mark.pitfall("P14")
def test_a_fill_that_we_did_not_order_has_no_name_of_ours(desk: Desk) -> None:
    desk.submit(desk.order("perp", Side.SELL))
    desk.run(desk.clock.sleep(1))
    desk.exchange.foreign_order(desk.key, "perp", "BTC", "buy", Decimal("0.004"))
    desk.run(desk.clock.sleep(1))
    desk.exchange.deleverage(desk.key, "BTC", 0.5)
    names = [fill.client_id for fill in desk.run(desk.venue.fills("perp", "BTC", START_MS))]
    assert names[0] == client_order_id("cd" * 8, "perp", 0)
    assert names[-2:] == [None, None]


def test_orders_are_known_by_name_after_a_restart_and_asked_for_once(desk: Desk) -> None:
    for nonce in range(3):
        desk.submit(desk.order("spot", nonce=nonce))
    again = desk.run(desk.open())
    fills = desk.run(desk.venue.fills("spot", "BTC", START_MS))
    assert desk.sent(lambda: desk.run(again.fills("spot", "BTC", START_MS)), ORDERS["spot"]) == 3
    assert desk.sent(lambda: desk.run(again.fills("spot", "BTC", START_MS)), ORDERS["spot"]) == 0
    assert desk.run(again.fills("spot", "BTC", START_MS)) == fills


def test_an_order_that_the_venue_finds_no_more_leaves_its_trades_without_a_name(desk: Desk) -> None:
    for nonce in range(2):
        desk.submit(desk.order("spot", nonce=nonce))
    again = desk.run(desk.open())
    desk.exchange.inject(Fault.REFUSED, path=ORDERS["spot"], method="GET", code=-2013)
    names = {fill.client_id for fill in desk.run(again.fills("spot", "BTC", START_MS))}
    assert len(names) == 2
    assert None in names
    assert None not in {fill.client_id for fill in desk.run(again.fills("spot", "BTC", START_MS))}


def test_what_is_off_the_lot_or_the_tick_is_not_sent_rounded(desk: Desk) -> None:
    order = desk.order()

    def refused() -> None:
        with pytest.raises(RejectedError, match=r"0\.0100000005 is not on the lot of 0\."):
            desk.submit(replace(order, qty=Decimal("0.0100000005")))
        with pytest.raises(RejectedError, match="is not on the tick"):
            desk.submit(replace(order, price=order.price + Decimal("0.01")))

    assert desk.sent(refused, ORDERS["spot"]) == 0


@both_ways
def test_an_order_leaves_our_rounding_as_it_is(desk: Desk) -> None:
    async def send() -> str:
        before = str(getcontext())
        await desk.venue.submit(order, desk.clock.now_ms() + 3_000)
        assert str(getcontext()) == before
        return before

    order = desk.order()
    assert "ROUND_HALF_EVEN" in desk.run(send())


def test_numbers_of_more_digits_than_a_float_has_come_back_whole(
    exchange: RunningExchange, desk: Desk
) -> None:
    cash = Decimal("123456789012.12345678")
    exchange.open_account("rich", SECRET, {"USDT": cash, "BTC": Decimal("0.00000001")}, cash)
    rich = desk.run(desk.open("rich"))
    has = desk.run(rich.balances())
    assert (has.spot, has.futures) == ({"USDT": cash, "BTC": Decimal("0.00000001")}, cash)


@pytest.mark.pitfall("P20")
def test_most_of_a_minutes_weight_is_kept_for_what_is_urgent(desk: Desk) -> None:
    desk.run(desk.clock.sleep(60 - desk.clock.now_ms() / 1000 % 60))
    began, refused = desk.clock.now_ms(), desk.exchange.faults_happened[Fault.TOO_MANY_REQUESTS]
    for _ in range(50):
        desk.run(desk.venue.open_orders())  # 40 of the futures' 2400 each
    assert desk.clock.now_ms() - began == 60_000
    assert desk.exchange.faults_happened[Fault.TOO_MANY_REQUESTS] == refused


@pytest.mark.pitfall("P20")
@pytest.mark.parametrize("to", Wallet)
def test_cash_moves_in_a_minute_that_is_used_up(desk: Desk, to: Wallet) -> None:
    desk.venue.connection.budget.hold(40)
    began = desk.clock.now_ms()
    assert desk.run(desk.venue.transfer(Decimal(5), to)).to is to
    assert desk.clock.now_ms() == began
    desk.run(desk.venue.transfers(began))
    assert desk.clock.now_ms() == began + 40_000


@pytest.mark.pitfall("P20")
def test_a_margin_top_up_does_not_wait_for_a_place(desk: Desk) -> None:
    async def move() -> None:
        budget = desk.venue.connection.budget
        for _ in range(6):
            await budget.take(Priority.QUESTION)
        await asyncio.wait_for(desk.venue.transfer(Decimal(5), Wallet.FUTURES), 2)
        for _ in range(6):
            budget.give_back(Priority.QUESTION)

    desk.run(move())


@both_ways
@pytest.mark.pitfall("P20")
def test_a_ban_stops_every_request_until_it_ends(desk: Desk) -> None:
    desk.exchange.inject(Fault.BANNED, path="/fapi/v3/positionRisk", wait_seconds=120)
    with pytest.raises(RejectedError, match=r"banned this address until .* UTC \(HTTP 418\)"):
        desk.run(desk.venue.positions())

    def refused() -> None:
        with pytest.raises(RejectedError, match="banned"):
            desk.submit(desk.order())

    assert desk.sent(refused, ORDERS["spot"]) == 0
    desk.exchange.step(120_000)
    assert desk.submit(desk.order()).status is OrderStatus.FILLED


@pytest.mark.pitfall("P20")
def test_a_skewed_clock_is_measured(desk: Desk) -> None:
    assert desk.run(skew_ms(desk.venue, desk.clock)) == 0
    desk.exchange.inject(Fault.SKEWED_CLOCK, times=3, skew_ms=750)
    assert desk.run(skew_ms(desk.venue, desk.clock)) == 750


def test_a_clock_that_stands_is_asked_and_one_that_runs_is_kept() -> None:
    async def look(running: RunningExchange, seconds: float) -> int:
        settings = VenueSettings(url=running.url)
        keys = Credentials("key", SECRET)
        async with open_trading(settings, ("BTC",), "USDT", keys, sandbox=True) as venue:
            assert isinstance(venue.clock, VenueClock)
            if not venue.clock.speed:
                threading.Timer(0.05, running.step, (seconds * 1000,)).start()
            await venue.clock.sleep(seconds)
            return venue.clock.now_ms() - running.now_ms

    for speed, bound_ms in ((0.0, 0), (600.0, 600 * 20)):
        with start_exchange(TAPE, trading=TradingSettings(), start_ms=START_MS, speed=speed) as running:
            running.open_account("key", SECRET, {}, Decimal(0))
            began = running.now_ms
            assert abs(asyncio.run(look(running, 60))) <= bound_ms
            assert running.now_ms - began >= 60_000


def test_this_machines_clock_is_utc_in_milliseconds() -> None:
    clock = MachineClock()
    assert abs(clock.now_ms() - time.time() * 1000) < 50
    asyncio.run(clock.sleep(0))


@both_ways
def test_no_secret_is_told_when_a_signature_is_wrong_or_an_answer_is_lost(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(RejectedError) as refused:
        desk.run(desk.open(secret="an-0ther-5ecret"))
    desk.exchange.inject(Fault.RESET, path=ORDERS["spot"], method="GET")
    with pytest.raises(RetryableError) as lost:
        desk.find(desk.order())
    for failure in (refused.value, lost.value):
        assert (failure.__cause__, failure.__context__) == (None, None)
        for secret in (desk.key, SECRET, "an-0ther-5ecret", "signature=0", "signature=a"):
            assert secret not in str(failure)
            assert secret not in caplog.text
    assert "signature=***" in str(lost.value)


def test_an_account_that_keeps_both_sides_of_a_position_is_refused(desk: Desk) -> None:
    answered = desk.venue.connection.exchange.fapiPrivateGetPositionSideDual
    assert desk.run(answered()) == {"dualSidePosition": False}

    async def in_hedge_mode() -> dict[str, bool]:
        return {"dualSidePosition": True}

    desk.venue.connection.exchange.fapiPrivateGetPositionSideDual = in_hedge_mode
    with pytest.raises(SettingsError, match="hedge mode"):
        desk.run(desk.venue.require_usable())


@pytest.mark.parametrize("over", ["its own connection", "the one that trades"])
def test_the_market_is_seen_as_it_was_when_it_was_asked_for(desk: Desk, over: str) -> None:
    trading = RestMarketView(desk.venue.connection, "USDT", desk.clock)
    market = desk.market if over == "its own connection" else trading
    for leg in LEGS:
        book = desk.run(market.book(leg, "BTC"))
        assert (book.seen_ms, book.leg, book.ticker) == (desk.clock.now_ms(), leg, "BTC")
        assert book.bids[0][0] < book.mid < book.asks[0][0]
        assert [price for price, _ in book.bids] == sorted((p for p, _ in book.bids), reverse=True)
        assert [price for price, _ in book.asks] == sorted(p for p, _ in book.asks)
    mark = desk.run(market.mark("BTC"))
    assert mark.next_funding_ms is not None
    assert mark.funding_rate is not None
    assert mark.next_funding_ms > desk.clock.now_ms()
    assert abs(mark.price / desk.run(market.book("perp", "BTC")).mid - 1) < Decimal("0.01")


@pytest.mark.pitfall("P20")
def test_a_quote_coin_that_is_no_dollar_is_seen(desk: Desk) -> None:
    desk.exchange.set_quote_price("0.97")
    try:
        price = desk.run(desk.market.quote_price())
        assert price is not None
        assert abs(price - Decimal("0.97")) < Decimal("0.001")
    finally:
        desk.exchange.set_quote_price(1)


def test_a_market_that_cannot_be_seen_may_be_asked_for_again(desk: Desk) -> None:
    def unseen() -> None:
        for ask in (desk.market.book("spot", "BTC"), desk.market.mark("BTC"), desk.market.quote_price()):
            with pytest.raises(RetryableError, match="could not look at"):
                desk.run(ask)

    desk.exchange.inject(Fault.SERVER_ERROR, times=3)
    assert desk.sent(unseen, "/api/v3/depth") == 2
    assert desk.run(desk.market.book("spot", "BTC")).ticker == "BTC"


@pytest.mark.pitfall("P11")
def test_a_transfer_that_comes_after_a_minute_is_refused(desk: Desk) -> None:
    path, began = "/sapi/v1/asset/transfer", desk.clock.now_ms()
    desk.exchange.inject(Fault.DELAYED_REQUEST, path=path, method="POST", delay_seconds=2 * TIMEOUT)
    with pytest.raises(AmbiguousError):
        desk.run(desk.venue.transfer(Decimal(5), Wallet.SPOT))
    desk.exchange.step(60_000)
    time.sleep(1.5 * TIMEOUT)
    assert desk.run(desk.venue.transfers(began)) == []


def test_every_request_of_a_real_venue_passes_its_limiter(desk: Desk) -> None:
    venue = desk.run(desk.open_as_binance())
    limiter = venue.connection.exchange.throttler
    limiter.config["refillRate"] *= 20  # the same pace, twenty times as fast

    resting, filled = desk.order("spot", away="0.03"), desk.order("perp")

    async def trade() -> None:
        began = desk.clock.now_ms()
        assert (await venue.submit(resting, began + 3_000)).status is OrderStatus.OPEN
        (report,) = await venue.open_orders()
        assert report == await venue.find("spot", "BTC", resting.client_id)
        assert (await venue.cancel("spot", "BTC", resting.client_id)).status is OrderStatus.CANCELED
        assert (await venue.submit(filled, began + 3_000)).filled == filled.qty
        await venue.cancel_all("perp", "BTC")
        assert sum(fill.qty for fill in await venue.fills("perp", "BTC", began)) == filled.qty
        assert [held.qty for held in await venue.positions()] == [filled.qty]
        assert (await venue.balances()).futures > 0
        moved = await venue.transfer(Decimal(5), Wallet.SPOT)
        assert moved.transfer_id in {one.transfer_id for one in await venue.transfers(began)}
        assert await venue.funding_payments(began) == []
        assert await venue.now_ms() >= began
        allowed = await venue.permissions()
        assert allowed is not None
        assert allowed.trade
        assert await venue.arm_dead_man("BTC", 0)
        market = RestMarketView(venue.connection, "USDT", desk.clock)
        assert (await market.book("spot", "BTC")).ticker == "BTC"
        assert (await market.mark("BTC")).price > 0
        assert await market.quote_price() is not None

    desk.run(asyncio.wait_for(trade(), 30))


@pytest.mark.pitfall("P20")
def test_an_order_does_not_queue_behind_a_reconciliation(desk: Desk) -> None:
    venue = desk.run(desk.open_as_binance())
    order = desk.order()

    async def beside() -> int:
        since = desk.clock.now_ms() - 1_000
        asked = [venue.open_orders(), *(venue.fills(leg, t, since) for leg in LEGS for t in ("BTC", "ETH"))]
        questions = [asyncio.ensure_future(question) for question in asked]
        await asyncio.sleep(0)
        await venue.submit(order, desk.clock.now_ms() + 3_000)
        waiting = sum(not question.done() for question in questions)
        for question in questions:
            question.cancel()
        await asyncio.gather(*questions, return_exceptions=True)
        return waiting

    assert desk.run(beside()) >= 4

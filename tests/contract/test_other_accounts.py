"""Accounts at Bybit, OKX and Deribit: what goes out, and what their documented answers are read as.

The answers are written after the shapes that ccxt's source quotes from each venue's API documentation.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt.async_support as ccxt
import pytest
from aiohttp import web

from carryflow.core.errors import (
    AmbiguousError,
    MarketDataError,
    RejectedError,
    RetryableError,
    SettingsError,
)
from carryflow.core.leg import Leg
from carryflow.execution.intents import client_order_id
from carryflow.execution.orders import (
    Balances,
    Fill,
    FundingPayment,
    KeyPermissions,
    OrderRequest,
    OrderStatus,
    Position,
    Side,
    TimeInForce,
    Wallet,
)
from carryflow.venues.credentials import Credentials
from carryflow.venues.settings import VenueName, VenueSettings
from carryflow.venues.trading.ccxt_trading import CcxtTradingVenue, open_trading
from carryflow.venues.trading.market_view import RestMarketView

RECORDED = Path(__file__).parent / "recorded"
T0 = 1_709_276_400_000
NAME = client_order_id("ab" * 8, "perp", 0)
QUOTES: dict[VenueName, str] = {"binance": "USDT", "bybit": "USDT", "okx": "USDT", "deribit": "USDC"}

D = Decimal


class StandingClock:
    def now_ms(self) -> int:
        return T0

    async def sleep(self, seconds: float) -> None:
        return None


class AnsweringVenue:
    """Answer with recorded market lists, and with what a test says for the rest; remember what was asked."""

    def __init__(self, venue: VenueName) -> None:
        self.markets = [json.loads(path.read_text()) for path in sorted((RECORDED / venue).glob("*.json"))]
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, str], Any, dict[str, str]]] = []
        self._loop = asyncio.new_event_loop()
        self._runner = self._loop.run_until_complete(self._listen())
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def _listen(self) -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    async def _answer(self, request: web.Request) -> web.Response:
        text = await request.text()
        body = json.loads(text) if text[:1] in {"{", "["} else text
        query = dict(request.query)
        for path, answer in self.answers.items():
            if request.path.endswith(path):
                self.asked.append((path, query, body, dict(request.headers)))
                told = answer(query) if callable(answer) else answer
                return web.json_response(told)
        for known in self.markets:
            if known["path"] == request.path and known["query"].items() <= query.items():
                return web.json_response(known["answer"])
        return web.json_response({"unexpected": request.path_qs}, status=404)

    def last(self, path: str) -> tuple[dict[str, str], Any, dict[str, str]]:
        return next(asked[1:] for asked in reversed(self.asked) if asked[0] == path)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()


class Desk:
    """A venue opened on an answering server."""

    def __init__(self, name: VenueName, runner: asyncio.Runner) -> None:
        self.server = AnsweringVenue(name)
        self.run = runner.run
        self._stack = AsyncExitStack()
        self._name = name

    def open(self) -> CcxtTradingVenue:
        opened = open_trading(
            VenueSettings(name=self._name, url=self.server.url, retries=0),
            ("BTC",),
            QUOTES[self._name],
            Credentials("the-key", "the-secret", "the-passphrase"),
            sandbox=False,
            clock=StandingClock(),
        )
        return self.run(self._stack.enter_async_context(opened))

    def close(self) -> None:
        self.run(self._stack.aclose())
        self.server.stop()


@pytest.fixture(scope="module", autouse=True)
def _no_waiting() -> Iterator[None]:
    """Ask at once: the pace that ccxt keeps with a venue is not what is tested here."""

    async def at_once(exchange: Any, cost: Any = None) -> None:
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ccxt.Exchange, "throttle", at_once)
        yield


@pytest.fixture
def desk_of() -> Iterator[Callable[[VenueName], Desk]]:
    with asyncio.Runner() as runner:
        made: list[Desk] = []

        def make(name: VenueName) -> Desk:
            made.append(Desk(name, runner))
            return made[-1]

        yield make
        for desk in made:
            desk.close()


def order(leg: Leg, qty: str, price: str, **changed: Any) -> OrderRequest:
    given = (NAME, leg, "BTC", Side.SELL, D(qty), D(price), TimeInForce.IOC)
    return OrderRequest(*given, **changed)


def bybit(result: Any) -> dict[str, Any]:
    return {"retCode": 0, "retMsg": "OK", "result": result, "time": T0}


BYBIT_ORDER = {
    "symbol": "BTCUSDT",
    "orderType": "Limit",
    "orderLinkId": NAME,
    "orderId": "1321",
    "avgPrice": "62000.1",
    "orderStatus": "PartiallyFilledCanceled",
    "price": "62000",
    "qty": "0.020",
    "cumExecQty": "0.013",
    "cumExecValue": "806.0013",
    "cumExecFee": "0.44",
    "side": "Sell",
    "timeInForce": "IOC",
    "reduceOnly": True,
    "createdTime": str(T0),
    "updatedTime": str(T0 + 5),
}


@pytest.mark.pitfall("P11")
def test_bybit_is_told_until_when_it_may_take_an_order_and_then_asked_what_came_of_it(
    desk_of: Callable[[VenueName], Desk],
) -> None:
    desk = desk_of("bybit")
    desk.server.answers["/order/create"] = bybit({"orderId": "1321", "orderLinkId": NAME})
    desk.server.answers["/order/realtime"] = bybit({"list": [BYBIT_ORDER], "category": "linear"})
    venue = desk.open()
    report = desk.run(venue.submit(order("perp", "0.020", "62000", reduce_only=True), T0 + 1_234))
    assert (report.status, report.filled, report.venue_order_id) == (OrderStatus.OPEN, 0, "1321")
    _, body, headers = desk.server.last("/order/create")
    assert headers["X-BAPI-RECV-WINDOW"] == "1234"
    assert {
        name: body[name] for name in ("qty", "price", "side", "orderLinkId", "timeInForce", "reduceOnly")
    } == {
        "qty": "0.02",
        "price": "62000",
        "side": "Sell",
        "orderLinkId": NAME,
        "timeInForce": "IOC",
        "reduceOnly": True,
    }
    found = desk.run(venue.find("perp", "BTC", NAME))
    assert found is not None
    assert (found.status, found.qty, found.filled) == (OrderStatus.CANCELED, D("0.020"), D("0.013"))
    assert desk.server.last("/order/realtime")[0]["orderLinkId"] == NAME
    assert desk.server.last("/order/realtime")[2]["X-BAPI-RECV-WINDOW"] == "5000"


def test_bybit_looks_among_the_ended_orders_before_it_says_that_there_is_none(
    desk_of: Callable[[VenueName], Desk],
) -> None:
    desk = desk_of("bybit")
    desk.server.answers["/order/realtime"] = bybit({"list": []})
    desk.server.answers["/order/history"] = bybit({"list": []})
    venue = desk.open()
    assert desk.run(venue.find("spot", "BTC", NAME)) is None
    assert desk.server.last("/order/history")[0]["category"] == "spot"


def test_bybits_account_is_read_to_the_last_digit(desk_of: Callable[[VenueName], Desk]) -> None:
    desk = desk_of("bybit")
    coin = {"totalPositionMM": "0", "locked": "0.1", "unrealisedPnl": "0"}
    coins = [
        {"coin": "BTC", "walletBalance": "0.123456789012345678", "equity": "0.123456789012345678", **coin},
        {"coin": "USDT", "walletBalance": "1000.5", "equity": "990.25", **coin, "totalPositionMM": "3.25"},
    ]
    desk.server.answers["/account/wallet-balance"] = bybit(
        {"list": [{"accountType": "UNIFIED", "coin": coins}]}
    )
    position = {
        "symbol": "BTCUSDT",
        "side": "Sell",
        "size": "0.020",
        "avgPrice": "62000.1",
        "liqPrice": "90000",
    }
    desk.server.answers["/position/list"] = bybit({"list": [position, position | {"side": "", "size": "0"}]})
    permissions = {"Spot": ["SpotTrade"], "ContractTrade": ["Order", "Position"], "Wallet": ["Withdraw"]}
    desk.server.answers["/user/query-api"] = bybit({"readOnly": 0, "permissions": permissions})
    venue = desk.open()
    assert desk.run(venue.balances()) == Balances(
        spot={"BTC": D("0.123456789012345678")},
        spot_free={"BTC": D("0.023456789012345678")},
        futures=D("1000.5"),
        maintenance=D("3.25"),
        margin=D("990.25"),
        ts_ms=T0,
    )
    assert desk.run(venue.positions()) == [Position("BTC", D("-0.020"), D("62000.1"), D(90000))]
    assert desk.run(venue.permissions()) == KeyPermissions(trade=True, withdraw=True)
    with pytest.raises(RejectedError, match="one wallet"):
        desk.run(venue.transfer(D(1), Wallet.SPOT))


EXECUTION = {
    "symbol": "BTCUSDT",
    "execId": "e-1",
    "execPrice": "62000.1",
    "execQty": "0.013",
    "execValue": "806.0013",
    "execFee": "0.443300715",
    "execTime": str(T0 - 9_000),
    "execType": "Trade",
    "feeCurrency": "",
    "isMaker": False,
    "orderId": "1321",
    "orderLinkId": NAME,
    "side": "Sell",
}


@pytest.mark.pitfall("P14")
def test_bybits_trades_of_liquidations_and_its_funding_are_seen(desk_of: Callable[[VenueName], Desk]) -> None:
    desk = desk_of("bybit")
    trade = EXECUTION
    bust = trade | {
        "execId": "e-2",
        "execType": "BustTrade",
        "orderLinkId": "",
        "side": "Buy",
        "orderId": "77",
    }
    paid = trade | {"execId": "e-3", "execType": "Funding", "execFee": "-0.5", "execTime": str(T0 - 5_000)}

    def executions(query: dict[str, str]) -> Any:
        listed = [paid] if query.get("execType") == "Funding" else [paid, bust, trade]
        return bybit({"list": listed, "nextPageCursor": ""})

    desk.server.answers["/execution/list"] = executions
    venue = desk.open()
    fills = desk.run(venue.fills("perp", "BTC", T0 - 60_000))
    assert [(fill.trade_id, fill.client_id, fill.side) for fill in fills] == [
        ("e-1", NAME, Side.SELL),
        ("e-2", None, Side.BUY),
    ]
    assert (fills[0].fee, fills[0].fee_asset, fills[0].qty) == (D("0.443300715"), "USDT", D("0.013"))
    (payment,) = desk.run(venue.funding_payments(T0 - 60_000))
    assert (payment.ticker, payment.ts_ms) == ("BTC", T0 - 5_000)
    assert payment.amount == D("0.5")  # Bybit tells it as a fee: what was received is negative


@pytest.mark.pitfall("P14")
def test_bybits_pages_that_hold_funding_hide_no_trades(desk_of: Callable[[VenueName], Desk]) -> None:
    desk = desk_of("bybit")
    rows = [
        EXECUTION
        | {
            "execId": f"e-{i}",
            "execType": "Funding" if i % 16 == 5 else "Trade",
            "execTime": str(T0 - 1_000 * (i - (i % 10 == 1))),  # pairs of one instant, also across a page
        }
        for i in range(1, 251)
    ]

    def executions(query: dict[str, str]) -> Any:
        first, last, most = (int(query[name]) for name in ("startTime", "endTime", "limit"))
        inside = [row for row in rows if first <= int(row["execTime"]) <= last]
        return bybit({"list": inside[:most], "nextPageCursor": ""})

    desk.server.answers["/execution/list"] = executions
    venue = desk.open()
    told = [fill.trade_id for fill in desk.run(venue.fills("perp", "BTC", T0 - 3_600_000))]
    assert sorted(told) == sorted(row["execId"] for row in rows if row["execType"] == "Trade")


def okx(*data: Any, code: str = "0") -> dict[str, Any]:
    return {"code": code, "data": list(data), "msg": ""}


OKX_ORDER = {
    "instType": "SWAP",
    "instId": "BTC-USDT-SWAP",
    "ordId": "312",
    "clOrdId": NAME.replace("-", ""),
    "px": "62000",
    "sz": "2",
    "accFillSz": "1.3",
    "avgPx": "62000.1",
    "ordType": "ioc",
    "side": "sell",
    "state": "canceled",
    "fee": "-0.4",
    "feeCcy": "USDT",
    "reduceOnly": "true",
    "cTime": str(T0),
    "uTime": str(T0 + 5),
    "fillTime": str(T0 + 4),
}


@pytest.mark.pitfall("P07")
def test_okx_counts_contracts_and_takes_no_hyphen(desk_of: Callable[[VenueName], Desk]) -> None:
    desk = desk_of("okx")
    arrived = {"clOrdId": OKX_ORDER["clOrdId"], "ordId": "312", "tag": "", "sCode": "0", "sMsg": ""}
    desk.server.answers["/trade/batch-orders"] = okx(arrived)
    desk.server.answers["/trade/order"] = okx(OKX_ORDER)
    venue = desk.open()
    report = desk.run(venue.submit(order("perp", "0.020", "62000"), T0 + 1_234))
    assert (report.status, report.qty, report.client_id) == (OrderStatus.OPEN, D("0.020"), NAME)
    _, (body,), headers = desk.server.last("/trade/batch-orders")
    assert (body["sz"], body["px"], body["ordType"], body["clOrdId"]) == (
        "2",
        "62000",
        "ioc",
        NAME.replace("-", ""),
    )
    assert headers["expTime"] == str(T0 + 1_234)
    found = desk.run(venue.find("perp", "BTC", NAME))
    assert found is not None
    assert (found.qty, found.filled, found.status) == (D("0.02"), D("0.013"), OrderStatus.CANCELED)
    assert "expTime" not in desk.server.last("/trade/order")[2]


def test_okxs_account_is_read_in_base_coins(desk_of: Callable[[VenueName], Desk]) -> None:
    desk = desk_of("okx")
    details = [
        {"ccy": "BTC", "cashBal": "0.5", "availBal": "0.4", "eq": "0.5"},
        {"ccy": "USDT", "cashBal": "1000.5", "availBal": "900", "eq": "990.25", "mmr": "3.25"},
    ]
    desk.server.answers["/account/balance"] = okx({"details": details, "mmr": "4"})
    desk.server.answers["/account/positions"] = okx(
        {"instId": "BTC-USDT-SWAP", "pos": "-2", "avgPx": "62000.1", "liqPx": ""}
    )
    desk.server.answers["/account/config"] = okx({"perm": "read_only,trade"})
    fill = {
        "instId": "BTC-USDT-SWAP",
        "instType": "SWAP",
        "tradeId": "9",
        "billId": "b-9",
        "ordId": "312",
        "clOrdId": NAME.replace("-", ""),
        "fillPx": "62000.1",
        "fillSz": "1.3",
        "side": "sell",
        "fee": "-0.4",
        "feeCcy": "USDT",
        "execType": "M",
        "ts": str(T0 - 1_000),
    }
    desk.server.answers["/trade/fills-history"] = okx(
        fill, fill | {"tradeId": "8", "ordId": "311", "clOrdId": ""}
    )
    bill = {"billId": "b-1", "balChg": "0.25", "pnl": "0.25", "ccy": "USDT", "ts": str(T0 - 500)}
    desk.server.answers["/account/bills-archive"] = okx(bill | {"instId": "BTC-USDT-SWAP", "type": "8"})
    venue = desk.open()
    has = desk.run(venue.balances())
    assert (has.spot, has.spot_free) == ({"BTC": D("0.5")}, {"BTC": D("0.4")})
    assert (has.futures, has.margin, has.maintenance) == (D("1000.5"), D("990.25"), D("3.25"))
    assert desk.run(venue.positions()) == [Position("BTC", D("-0.02"), D("62000.1"), None)]
    assert desk.run(venue.permissions()) == KeyPermissions(trade=True, withdraw=False)
    fills = desk.run(venue.fills("perp", "BTC", T0 - 60_000))
    assert [(one.client_id, one.qty, one.maker, one.fee) for one in fills] == [
        (None, D("0.013"), True, D("0.4")),
        (NAME, D("0.013"), True, D("0.4")),
    ]
    assert desk.run(venue.funding_payments(T0 - 60_000)) == [
        FundingPayment("b-1/BTC/USDT:USDT", "BTC", D("0.25"), T0 - 500)
    ]


DERIBIT_ORDER = {
    "time_in_force": "immediate_or_cancel",
    "reduce_only": False,
    "price": 62000.0,
    "post_only": False,
    "order_type": "limit",
    "order_state": "filled",
    "order_id": "USDC-104",
    "last_update_timestamp": T0 + 5,
    "label": NAME,
    "instrument_name": "BTC_USDC-PERPETUAL",
    "filled_amount": 0.02,
    "direction": "sell",
    "creation_timestamp": T0,
    "commission": 0.62,
    "average_price": 62000.1,
    "api": True,
    "amount": 0.02,
}
DERIBIT_TRADE = {
    "trade_id": "USDC-7",
    "timestamp": T0 + 4,
    "price": 62000.1,
    "order_type": "limit",
    "order_id": "USDC-104",
    "liquidity": "T",
    "label": NAME,
    "instrument_name": "BTC_USDC-PERPETUAL",
    "fee_currency": "USDC",
    "fee": 0.62,
    "direction": "sell",
    "amount": 0.02,
}


@pytest.mark.pitfall("P11")
def test_deribit_knows_an_order_by_its_label_and_until_when_to_take_it(
    desk_of: Callable[[VenueName], Desk],
) -> None:
    desk = desk_of("deribit")
    desk.server.answers["/private/sell"] = {"result": {"order": DERIBIT_ORDER, "trades": [DERIBIT_TRADE]}}
    desk.server.answers["/private/get_order_state_by_label"] = {"result": [DERIBIT_ORDER]}
    venue = desk.open()
    report = desk.run(venue.submit(order("perp", "0.02", "62000"), T0 + 1_234))
    query, _, _ = desk.server.last("/private/sell")
    assert (query["label"], query["valid_until"], query["amount"]) == (NAME, str(T0 + 1_234), "0.02")
    assert query["time_in_force"] == "immediate_or_cancel"
    assert (report.status, report.filled) == (OrderStatus.FILLED, D("0.02"))
    expected = Fill(
        "USDC-7",
        NAME,
        "USDC-104",
        "perp",
        "BTC",
        Side.SELL,
        D("0.02"),
        D("62000.1"),
        D("0.62"),
        "USDC",
        False,
        T0 + 4,
    )
    assert report.fills == (expected,)
    found = desk.run(venue.find("perp", "BTC", NAME))
    assert found is not None
    assert (found.client_id, found.filled) == (NAME, D("0.02"))
    desk.server.answers["/private/get_order_state_by_label"] = {"result": []}
    assert desk.run(venue.find("perp", "BTC", NAME)) is None


def test_deribits_account_is_read(desk_of: Callable[[VenueName], Desk]) -> None:
    desk = desk_of("deribit")
    summaries = [
        {"currency": "BTC", "balance": 0.5, "equity": 0.5, "spot_reserve": 0.1},
        {"currency": "USDC", "balance": 1000.5, "equity": 990.25, "maintenance_margin": 3.25},
    ]
    desk.server.answers["/private/get_account_summaries"] = {"result": {"summaries": summaries}}
    desk.server.answers["/private/get_positions"] = {
        "result": [
            {
                "instrument_name": "BTC_USDC-PERPETUAL",
                "size": -0.02,
                "average_price": 62000.1,
                "estimated_liquidation_price": 90000.0,
            }
        ]
    }
    desk.server.answers["/private/get_user_trades_by_instrument_and_time"] = {
        "result": {"trades": [DERIBIT_TRADE | {"timestamp": T0 - 4}], "has_more": False}
    }
    log = {"id": 9, "instrument_name": "BTC_USDC-PERPETUAL", "interest_pl": 0.25, "timestamp": T0 - 500}
    desk.server.answers["/private/get_transaction_log"] = {"result": {"logs": [log], "continuation": None}}
    venue = desk.open()
    has = desk.run(venue.balances())
    assert (has.spot, has.spot_free) == ({"BTC": D("0.5")}, {"BTC": D("0.4")})
    assert (has.futures, has.margin, has.maintenance) == (D("1000.5"), D("990.25"), D("3.25"))
    assert desk.run(venue.positions()) == [Position("BTC", D("-0.02"), D("62000.1"), D("90000.0"))]
    assert [one.client_id for one in desk.run(venue.fills("perp", "BTC", T0 - 60_000))] == [NAME]
    assert desk.run(venue.funding_payments(T0 - 60_000)) == [
        FundingPayment("9/BTC/USDC:USDC", "BTC", D("0.25"), T0 - 500)
    ]
    assert desk.run(venue.permissions()) is None
    assert desk.run(venue.arm_dead_man("BTC", 60)) is False


@pytest.mark.parametrize(
    ("name", "path", "answer", "error"),
    [
        ("bybit", "/order/create", {"retCode": 10016, "retMsg": "Internal server error"}, AmbiguousError),
        (
            "bybit",
            "/order/create",
            {"retCode": 110072, "retMsg": "OrderLinkedID is duplicate"},
            AmbiguousError,
        ),
        ("bybit", "/order/create", {"retCode": 110007, "retMsg": "ab not enough"}, RejectedError),
        ("bybit", "/order/create", {"retCode": 10006, "retMsg": "Too many visits!"}, RetryableError),
        (
            "okx",
            "/trade/batch-orders",
            okx({"sCode": "51016", "sMsg": "Duplicated"}, code="1"),
            AmbiguousError,
        ),
        (
            "okx",
            "/trade/batch-orders",
            okx({"sCode": "51008", "sMsg": "Insufficient balance"}, code="1"),
            RejectedError,
        ),
        ("deribit", "/private/sell", {"error": {"code": 13888, "message": "timed_out"}}, AmbiguousError),
        (
            "deribit",
            "/private/sell",
            {"error": {"code": 10009, "message": "not_enough_funds"}},
            RejectedError,
        ),
    ],
)
def test_other_venues_refusals_are_called_what_they_are(
    desk_of: Callable[[VenueName], Desk], name: VenueName, path: str, answer: Any, error: type[Exception]
) -> None:
    desk = desk_of(name)
    desk.server.answers[path] = answer
    venue = desk.open()
    with pytest.raises(error) as failure:
        desk.run(venue.submit(order("perp", "0.02", "62000"), T0 + 3_000))
    assert type(failure.value) is error
    assert "the-" not in str(failure.value)


@pytest.mark.pitfall("P11")
@pytest.mark.parametrize(
    ("name", "cancel", "look", "done", "refusal"),
    [
        (
            "okx",
            "/trade/cancel-order",
            "/trade/order",
            okx({"clOrdId": NAME.replace("-", ""), "ordId": "312", "sCode": "0", "sMsg": ""}),
            okx(code="50011"),
        ),
        (
            "bybit",
            "/order/cancel",
            "/order/realtime",
            bybit({"orderId": "1321", "orderLinkId": NAME}),
            {"retCode": 10006, "retMsg": "Too many visits!"},
        ),
        (
            "deribit",
            "/private/cancel_by_label",
            "/private/get_order_state_by_label",
            {"result": 1},
            {"error": {"code": 10028, "message": "too_many_requests"}},
        ),
    ],
)
def test_a_cancel_that_was_done_is_not_told_as_nothing_done_because_the_look_after_it_failed(
    desk_of: Callable[[VenueName], Desk], name: VenueName, cancel: str, look: str, done: Any, refusal: Any
) -> None:
    desk = desk_of(name)
    desk.server.answers |= {cancel: done, look: refusal}
    venue = desk.open()
    with pytest.raises(AmbiguousError, match="ask before sending again"):
        desk.run(venue.cancel("perp", "BTC", NAME))
    assert desk.server.last(cancel)
    desk.server.answers[cancel] = refusal
    with pytest.raises(RetryableError, match="nothing was done"):
        desk.run(venue.cancel("perp", "BTC", NAME))


def test_fees_in_a_third_coin_are_refused_before_anything_is_traded(
    desk_of: Callable[[VenueName], Desk],
) -> None:
    desk = desk_of("binance")
    desk.server.answers["/positionSide/dual"] = {"dualSidePosition": False}
    desk.server.answers["/bnbBurn"] = {"spotBNBBurn": True, "interestBNBBurn": False}
    with pytest.raises(SettingsError, match="spot fees in BNB"):
        desk.open()
    desk.server.answers["/bnbBurn"] = {"spotBNBBurn": False, "interestBNBBurn": False}
    assert desk.open().quote == "USDT"


def test_a_book_around_a_round_price_is_in_order_where_other_numbers_are_texts(
    desk_of: Callable[[VenueName], Desk],
) -> None:
    desk = desk_of("binance")
    desk.server.answers["/positionSide/dual"] = {"dualSidePosition": False}
    desk.server.answers["/bnbBurn"] = {"spotBNBBurn": False}
    desk.server.answers["/api/v3/depth"] = {
        "lastUpdateId": 1,
        "bids": [["100000.00000001", "1"], ["99999.99", "2"]],
        "asks": [["100000.1", "0.12345678"], ["1000000", "4"]],
    }
    venue = desk.open()
    market = RestMarketView(venue.connection, "USDT", venue.clock)
    book = desk.run(market.book("spot", "BTC"))
    assert book.bids == ((D("100000.00000001"), D(1)), (D("99999.99"), D(2)))
    assert book.asks == ((D("100000.1"), D("0.12345678")), (D(1_000_000), D(4)))
    desk.server.answers["/api/v3/depth"] = {"lastUpdateId": 1, "bids": [], "asks": [["1", "1"]]}
    with pytest.raises(MarketDataError, match="empty on one side"):
        desk.run(market.book("spot", "BTC"))


@pytest.mark.pitfall("P07")
def test_okxs_books_are_told_in_base_coins_and_its_marks_apart(desk_of: Callable[[VenueName], Desk]) -> None:
    desk = desk_of("okx")
    level = ["62000.1", "3", "0", "1"]
    desk.server.answers["/market/books"] = okx(
        {"bids": [level], "asks": [["62000.2", *level[1:]]], "ts": str(T0)}
    )
    rate = {
        "instId": "BTC-USDT-SWAP",
        "fundingRate": "0.0001",
        "fundingTime": str(T0 + 1),
        "nextFundingRate": "",
    }
    desk.server.answers["/public/funding-rate"] = okx(rate | {"nextFundingTime": str(T0 + 2)})
    desk.server.answers["/public/mark-price"] = okx(
        {"instId": "BTC-USDT-SWAP", "instType": "SWAP", "markPx": "62000.15", "ts": str(T0)}
    )
    venue = desk.open()
    market = RestMarketView(venue.connection, "USDT", venue.clock)
    book = desk.run(market.book("perp", "BTC"))
    assert (book.bids, book.asks) == (((D("62000.1"), D("0.03")),), ((D("62000.2"), D("0.03")),))
    mark = desk.run(market.mark("BTC"))
    assert (mark.price, mark.funding_rate, mark.next_funding_ms) == (D("62000.15"), D("0.0001"), T0 + 1)
    assert desk.run(market.quote_price()) is None

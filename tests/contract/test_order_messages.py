"""Orders as messages of the websocket APIs: taken, refused and spoilt as over HTTP."""

import asyncio
import hashlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import aiohttp
import httpx
import pytest

from carryflow.core.leg import LEGS, Leg
from carryflow.market.synthetic import SyntheticSettings
from carryflow.market.timeframe import HOUR_MS
from carryflow.venues.simulated.faults import Fault
from carryflow.venues.simulated.server import RunningExchange, start_exchange
from carryflow.venues.simulated.tape import synthetic_tape
from carryflow.venues.simulated.trading.orders import OrderStatus
from carryflow.venues.simulated.trading.settings import TradingSettings

KEY, SECRET = "a-key-of-ours", "a-secret-of-ours"
TAPE = synthetic_tape(SyntheticSettings(hours=400), ("BTC", "ETH"))
START_MS = TAPE.end_ms - 200 * HOUR_MS
SOCKETS: dict[Leg, str] = {"spot": "/ws-api.binance.com/ws-api/v3", "perp": "/ws-fapi.binance.com/ws-fapi/v1"}
PATHS: dict[Leg, str] = {"spot": "/api/v3/order", "perp": "/fapi/v1/order"}
MARKET = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.01"}
CUT = (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.ERROR)


@asynccontextmanager
async def dialled(exchange: RunningExchange, leg: Leg, query: str = "") -> AsyncIterator["Client"]:
    url = exchange.url + SOCKETS[leg] + query
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        yield Client(exchange, socket)


class Client:
    """Sign and send messages as Binance documents it."""

    def __init__(self, exchange: RunningExchange, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.exchange, self.socket = exchange, socket
        self.sent = 0

    def signed(self, secret: str = SECRET, **params: Any) -> dict[str, Any]:
        asked = {"apiKey": KEY, "timestamp": self.exchange.now_ms} | params
        text = "&".join(f"{name}={json.dumps(asked[name]).strip(chr(34))}" for name in sorted(asked))
        return asked | {"signature": hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()}

    async def send(self, params: dict[str, Any], method: Any = "order.place") -> int:
        self.sent += 1
        await self.socket.send_json({"id": self.sent, "method": method, "params": params})
        return self.sent

    async def heard(self) -> aiohttp.WSMessage:
        return await asyncio.wait_for(self.socket.receive(), 5)

    async def ask(self, params: dict[str, Any], method: Any = "order.place") -> dict[str, Any]:
        number = await self.send(params, method)
        answer: dict[str, Any] = json.loads((await self.heard()).data)
        assert answer.pop("id") == number
        assert not any(hidden in str(answer) for hidden in (KEY, SECRET, "signature="))
        return answer

    async def order(self, **more: Any) -> dict[str, Any]:
        return await self.ask(self.signed(**MARKET | more))

    async def refused(self, params: dict[str, Any], method: Any = "order.place") -> tuple[int, int]:
        answer = await self.ask(params, method)
        assert answer["rateLimits"] == []
        return answer["status"], answer["error"]["code"]


@pytest.fixture
def exchange() -> Iterator[RunningExchange]:
    with trading() as running:
        yield running


def trading(**settings: Any) -> RunningExchange:
    running = start_exchange(TAPE, trading=TradingSettings(**settings), start_ms=START_MS)
    running.open_account(KEY, SECRET, {"USDT": Decimal(50_000), "BTC": Decimal(1)}, Decimal(20_000))
    return running


def run(
    exchange: RunningExchange, leg: Leg, part: Callable[[Client], Awaitable[Any]], query: str = ""
) -> Any:
    async def within() -> Any:
        async with asyncio.timeout(20), dialled(exchange, leg, query) as client:
            return await part(client)

    return asyncio.run(within())


def over_http(exchange: RunningExchange, leg: Leg, **params: Any) -> httpx.Response:
    query = urlencode({"timestamp": exchange.now_ms, **params})
    signature = hmac.new(SECRET.encode(), query.encode(), hashlib.sha256).hexdigest()
    headers = {"X-MBX-APIKEY": KEY, "Content-Type": "application/x-www-form-urlencoded"}
    return httpx.post(
        exchange.url + PATHS[leg], content=f"{query}&signature={signature}", headers=headers, timeout=10
    )


def ask_price(exchange: RunningExchange, leg: Leg) -> Decimal:
    book = httpx.get(f"{exchange.url}{PATHS[leg].removesuffix('order')}depth?symbol=BTCUSDT&limit=5").json()
    return Decimal(book["asks"][0][0])


@pytest.mark.parametrize("leg", LEGS)
@pytest.mark.parametrize("kind", ["market", "crossing", "killed", "resting", "reducing", "acknowledged"])
def test_an_order_is_answered_as_over_http(leg: Leg, kind: str) -> None:
    """Two exchanges, one asked over HTTP and one over its socket, tell the same."""

    def tell(exchange: RunningExchange, sent: Callable[[dict[str, Any]], Any]) -> list[Any]:
        ask = ask_price(exchange, leg)
        limit = {"type": "LIMIT", "side": "BUY", "timeInForce": "IOC", "newOrderRespType": "RESULT"}
        orders: dict[str, list[dict[str, Any]]] = {
            "market": [{"newOrderRespType": "FULL"}],
            "crossing": [limit | {"price": str(ask + 20), "newClientOrderId": "cf-1"}],
            "killed": [limit | {"price": str(ask - 50)}],
            "resting": [limit | {"price": str(ask - 50), "timeInForce": "GTC"}],
            "reducing": [{}, limit | {"price": str(ask + 20), "quantity": "0.2", "reduceOnly": True}],
            "acknowledged": [{"newOrderRespType": "ACK"}],
        }
        return [sent(MARKET | order) for order in orders[kind]]

    def over_socket(exchange: RunningExchange) -> Callable[[dict[str, Any]], Any]:
        return lambda asked: run(exchange, leg, lambda client: client.order(**asked))["result"]

    with trading() as one, trading() as other:
        told = tell(one, over_socket(one))
        assert told == tell(other, lambda asked: over_http(other, leg, **in_words(asked)).json())
        assert one.orders(KEY) == other.orders(KEY)
        assert one.floor_statement(KEY) == other.floor_statement(KEY)
        assert len(one.orders(KEY)) == len(told)


def in_words(asked: dict[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in asked.items()}


@pytest.mark.parametrize("written", ["0.0100", '"0.01"'])
def test_numbers_are_signed_as_they_are_written(exchange: RunningExchange, written: str) -> None:
    async def part(client: Client) -> Any:
        params = json.dumps(client.signed(**MARKET | {"quantity": written.strip('"')}))
        text = params.replace(f'"{written}"' if '"' not in written else written, written)
        await client.socket.send_str(f'{{"id": null, "method": "order.place", "params": {text}}}')
        return json.loads((await client.heard()).data)

    answer = run(exchange, "spot", part)
    assert (answer["id"], answer["status"]) == (None, 200)
    assert Decimal(answer["result"]["executedQty"]) == Decimal("0.01")


def test_an_answer_tells_how_much_of_the_limits_is_used(exchange: RunningExchange) -> None:
    async def part(client: Client) -> Any:
        return [await client.order() for _ in range(2)]

    for leg, weights in (("perp", [1, 1]), ("spot", [2, 3])):  # dialling weighs 1; futures' orders nothing
        counts = [
            {limit["rateLimitType"]: limit["count"] for limit in answer["rateLimits"]}
            for answer in run(exchange, leg, part)
        ]
        assert [count["REQUEST_WEIGHT"] for count in counts] == weights
        assert [count["ORDERS"] for count in counts] == [1, 2]


def test_an_answer_tells_nothing_of_the_limits_to_who_wants_it_so(exchange: RunningExchange) -> None:
    async def part(client: Client) -> Any:
        return [await client.order(), await client.order(symbol="XYZUSDT")]

    for answer in run(exchange, "spot", part, "?returnRateLimits=false"):
        assert "rateLimits" not in answer


@pytest.mark.parametrize("leg", LEGS)
def test_only_a_known_key_that_signs_rightly_and_in_time_may_order(
    exchange: RunningExchange, leg: Leg
) -> None:
    async def part(client: Client) -> None:
        now, good = exchange.now_ms, client.signed(**MARKET)
        assert await client.refused(client.signed("not-the-secret", **MARKET)) == (400, -1022)
        assert await client.refused(good | {"quantity": "0.02"}) == (400, -1022)
        assert await client.refused(good | {"signature": "\ud800"}) == (400, -1022)
        assert await client.refused(good | {"signature": None}) == (400, -1102)
        assert await client.refused(client.signed(apiKey="a-key-of-nobody", **MARKET)) == (401, -2015)
        assert await client.refused({n: v for n, v in good.items() if n != "apiKey"}) == (401, -2014)
        assert await client.refused(client.signed(timestamp=now - 5001, **MARKET)) == (400, -1021)
        assert await client.refused(client.signed(timestamp=now + 1000, **MARKET)) == (400, -1021)
        assert await client.refused(client.signed(recvWindow=60_001, **MARKET)) == (400, -1131)
        assert exchange.orders(KEY) == []
        assert (await client.ask(good))["status"] == 200

    run(exchange, leg, part)


@pytest.mark.parametrize(
    ("leg", "changed", "code"),
    [
        ("spot", {"side": "HOLD"}, -1117),
        ("perp", {"type": "LIMIT_MAKER"}, -1116),
        ("spot", {"quantity": ""}, -1102),
        ("spot", {"quantity": None}, -1102),
        ("spot", {"symbol": "XYZUSDT"}, -1121),
        ("spot", {"quantity": "0.000001"}, -1013),
        ("perp", {"quantity": "0.0001"}, -1111),
        ("perp", {"newClientOrderId": "x" * 37}, -1100),
        ("spot", {"quantity": "3"}, -2010),
        ("perp", {"reduceOnly": "true"}, -2022),
    ],
)
def test_a_wrong_order_is_refused_in_binances_words(
    exchange: RunningExchange, leg: Leg, changed: dict[str, Any], code: int
) -> None:
    asked = MARKET | changed
    sent = {name: value for name, value in asked.items() if value is not None}
    answer = run(exchange, leg, lambda client: client.ask(client.signed(**sent)))
    assert (answer["status"], answer["error"]["code"]) == (400, code)
    assert answer["error"] == over_http(exchange, leg, **sent).json()
    assert exchange.orders(KEY) == []


@pytest.mark.parametrize("leg", LEGS)
@pytest.mark.parametrize(
    "text", ["{", "[]", "7", '"order.place"', '{"params": [1]}', '{"params": "a"}', "[" * 9999]
)
def test_what_is_no_message_is_refused_and_the_connection_stays(
    exchange: RunningExchange, leg: Leg, text: str
) -> None:
    async def part(client: Client) -> None:
        await client.socket.send_str(text)
        answer = json.loads((await client.heard()).data)
        assert (answer["id"], answer["status"], answer["error"]["code"]) == (None, 400, -1100)
        assert await client.ask({}, "ping") == {"status": 200, "result": {}, "rateLimits": []}
        assert (await client.ask({}, "time"))["result"] == {"serverTime": exchange.now_ms}
        assert await client.refused({}, "order.dance") == (400, -1000)
        assert await client.refused({}, ["order.place"]) == (400, -1000)

    run(exchange, leg, part)


def test_futures_have_no_subscriptions_of_spot(exchange: RunningExchange) -> None:
    method = "userDataStream.subscribe.signature"
    assert run(exchange, "perp", lambda client: client.refused(client.signed(), method)) == (400, -1000)
    assert "result" in run(exchange, "spot", lambda client: client.ask(client.signed(), method))


def test_each_leg_answers_at_its_own_hosts_only(exchange: RunningExchange) -> None:
    def status(path: str) -> int:
        return httpx.get(exchange.url + path).status_code

    assert status("/ws-api.binance.com/ws-fapi/v1") == status("/ws-fapi.binance.com/ws-api/v3") == 404
    assert status("/stream.binance.com/ws-api/v3") == 404
    assert status("/demo-ws-api.binance.com/ws-api/v3") == status("/ws-fapi.binance.com/ws-fapi/v1") == 400


def test_a_message_hears_of_its_orders_on_the_connection_that_sent_them(exchange: RunningExchange) -> None:
    async def part(client: Client) -> list[Any]:
        await client.ask(client.signed(), "userDataStream.subscribe.signature")
        answer = await client.order(newClientOrderId="cf-told")
        events = [json.loads((await client.heard()).data)["event"] for _ in range(3)]
        return [answer["result"]["orderId"], *(e["i"] for e in events if e["e"] == "executionReport")]

    first, *told = run(exchange, "spot", part)
    assert told
    assert {first} == set(told)


REFUSALS = {
    Fault.TOO_MANY_REQUESTS: (429, -1003),
    Fault.BANNED: (418, -1003),
    Fault.SERVER_ERROR: (503, -1008),
    Fault.REFUSED: (400, -2019),
    Fault.ERROR_AFTER: (503, -1007),
}


@pytest.mark.parametrize("leg", LEGS)
@pytest.mark.parametrize("fault", REFUSALS)
def test_a_fault_that_answers_with_an_error_did_what_its_name_says(
    exchange: RunningExchange, leg: Leg, fault: Fault
) -> None:
    exchange.inject(fault, times=2, path=PATHS[leg], method="post", wait_seconds=7, code=-2019)
    answer = run(exchange, leg, lambda client: client.order())
    assert (answer["status"], answer["error"]["code"]) == REFUSALS[fault]
    now_ms = exchange.now_ms
    waits = {"serverTime": now_ms, "retryAfter": now_ms + 7000} if answer["status"] in (418, 429) else None
    assert answer["error"].pop("data", None) == waits
    assert len(exchange.orders(KEY)) == (fault is Fault.ERROR_AFTER)
    assert answer["error"] == over_http(exchange, leg, **MARKET).json()
    assert exchange.faults_happened == {fault: 2}
    assert exchange.requests[PATHS[leg]] == 2
    assert run(exchange, leg, lambda client: client.order())["status"] == 200


@pytest.mark.parametrize("leg", LEGS)
@pytest.mark.parametrize(("fault", "done"), [(Fault.RESET, 0), (Fault.LOST_ANSWER, 1)])
def test_a_fault_that_cuts_the_connection_does_so_with_or_without_the_order(
    exchange: RunningExchange, leg: Leg, fault: Fault, done: int
) -> None:
    async def part(client: Client) -> Any:
        await client.send(client.signed(**MARKET))
        return (await client.heard()).type

    exchange.inject(fault, path="/order", method="POST")
    assert run(exchange, leg, part) in CUT
    assert len(exchange.orders(KEY)) == done


@pytest.mark.parametrize("fault", [Fault.DELAYED_REQUEST, Fault.DELAYED_ANSWER])
def test_an_order_that_is_held_up_holds_up_no_other(exchange: RunningExchange, fault: Fault) -> None:
    async def part(client: Client) -> list[int]:
        exchange.inject(fault, path="/order", delay_seconds=0.3)
        started = time.monotonic()
        first, second = [await client.send(client.signed(**MARKET)) for _ in range(2)]
        answers = [json.loads((await client.heard()).data) for _ in range(2)]
        assert time.monotonic() - started >= 0.3
        assert [answer["id"] for answer in answers] == [second, first]
        return [answer["result"]["orderId"] for answer in answers]

    told = run(exchange, "perp", part)
    assert told == ([1, 2] if fault is Fault.DELAYED_REQUEST else [2, 1])


def test_an_order_that_was_repeated_is_done_twice_and_answered_once(exchange: RunningExchange) -> None:
    async def part(client: Client) -> list[Any]:
        exchange.inject(Fault.REPEATED, path="/order", times=2)
        resting = {"type": "LIMIT", "timeInForce": "GTC", "price": str(ask_price(exchange, "perp") + 500)}
        first = await client.order()
        named = await client.order(newClientOrderId="cf-twice", **resting)
        assert (await client.ask({}, "ping"))["result"] == {}
        return [first["result"]["orderId"], named["status"], named["result"]["orderId"]]

    assert run(exchange, "perp", part) == [1, 200, 3]
    assert [order.order_id for order in exchange.orders(KEY)] == [
        1,
        2,
        3,
    ]  # the name was taken the second time


def test_half_an_answer_is_half_the_message(exchange: RunningExchange) -> None:
    async def part(client: Client) -> tuple[str, str]:
        params = client.signed(**MARKET)
        exchange.inject(Fault.TRUNCATED, path="/order")
        texts = []
        for _ in range(2):
            await client.socket.send_json({"id": 7, "method": "order.place", "params": params})
            texts.append((await client.heard()).data)
        return texts[0], texts[1]

    half, whole = run(exchange, "perp", part)
    assert len(half) == len(whole) // 2
    assert half[:40] == whole[:40]
    assert len(exchange.orders(KEY)) == 2


def test_an_order_can_be_filled_in_part_or_late(exchange: RunningExchange) -> None:
    async def part(client: Client) -> list[Any]:
        exchange.inject(Fault.PARTIAL_FILL, path="/fapi/v1/order", fraction=0.3)
        exchange.inject(Fault.LATE_FILL, path="/fapi/v1/order", late_ms=5_000)
        asked = {"quantity": "0.1", "newOrderRespType": "RESULT"}
        return [(await client.order(**asked))["result"] for _ in range(2)]

    partly, late = run(exchange, "perp", part)
    assert (partly["status"], partly["executedQty"]) == ("EXPIRED", "0.030")
    assert (late["status"], late["executedQty"]) == ("NEW", "0")
    exchange.step(6_000)
    assert exchange.orders(KEY)[-1].status is OrderStatus.FILLED


def test_orders_over_so_many_in_ten_seconds_are_refused_and_going_on_is_a_ban() -> None:
    async def part(client: Client) -> list[Any]:
        return [await client.order() for _ in range(13)]

    with trading(perp_orders_per_10s=2) as exchange:
        answers = run(exchange, "perp", part)
        now_ms = exchange.now_ms
        assert [answer["status"] for answer in answers] == [200, 200, *[429] * 10, 418]
        assert answers[2]["error"]["code"] == -1015
        until = answers[2]["error"]["data"]["retryAfter"]
        assert until == now_ms + 10_000 - now_ms % 10_000
        banned = answers[-1]["error"]
        assert banned["data"] == {"serverTime": now_ms, "retryAfter": now_ms + 120_000}
        assert str(banned["data"]["retryAfter"]) in banned["msg"]
        assert over_http(exchange, "perp", **MARKET).status_code == 418
        exchange.set_clock(banned["data"]["retryAfter"])
        assert run(exchange, "perp", lambda client: client.order())["status"] == 200
        assert len(exchange.orders(KEY)) == 3


def test_orders_over_the_minutes_weight_are_refused_and_going_on_is_a_ban() -> None:
    async def part(client: Client) -> list[Any]:
        return [await client.order() for _ in range(14)]

    with trading(spot_weight_per_minute=4) as exchange:
        answers = run(exchange, "spot", part)
        assert [answer["status"] for answer in answers] == [*[200] * 3, *[429] * 10, 418]
        now_ms = exchange.now_ms
        refused = answers[3]["error"]
        assert (refused["code"], refused["data"]["serverTime"]) == (-1003, now_ms)
        assert refused["data"]["retryAfter"] == now_ms + 60_000 - now_ms % 60_000
        assert len(exchange.orders(KEY)) == 3


def test_a_venue_under_maintenance_cuts_connections_and_takes_no_orders(exchange: RunningExchange) -> None:
    async def part(client: Client) -> None:
        exchange.inject(Fault.DELAYED_REQUEST, path="/order", delay_seconds=0.1)
        await client.send(client.signed(**MARKET))
        await client.ask({}, "ping")
        exchange.maintain(True)
        assert (await client.heard()).type in CUT
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with dialled(exchange, "perp"):
                pass
        assert refused.value.status == 503
        await asyncio.sleep(0.2)

    run(exchange, "perp", part)
    assert exchange.orders(KEY) == []
    exchange.maintain(False)
    assert run(exchange, "perp", lambda client: client.order())["status"] == 200


def test_an_order_takes_the_venues_latency_and_may_come_too_late() -> None:
    """20 s of the venue's time here: 0.2 s of the machine's."""

    async def part(client: Client) -> list[Any]:
        return [await client.order(), await client.order(recvWindow=100)]

    settings = TradingSettings(latency_ms=20_000)
    with start_exchange(TAPE, trading=settings, start_ms=START_MS, speed=100.0) as exchange:
        exchange.open_account(KEY, SECRET, {"BTC": Decimal(1)}, Decimal(0))
        sent_ms = exchange.now_ms
        filled, late = run(exchange, "spot", part)
        assert filled["result"]["transactTime"] >= sent_ms + 20_000
        assert (late["status"], late["error"]["code"]) == (400, -1021)
        assert len(exchange.orders(KEY)) == 1


@pytest.mark.pitfall("P11")
def test_an_order_that_is_held_up_until_its_time_is_up_is_refused(exchange: RunningExchange) -> None:
    async def part(client: Client) -> tuple[int, int]:
        exchange.inject(Fault.DELAYED_REQUEST, path="/order", delay_seconds=0.2)
        late = asyncio.create_task(client.refused(client.signed(recvWindow=700, **MARKET)))
        await asyncio.sleep(0.1)
        exchange.step(701)
        return await late

    assert run(exchange, "perp", part) == (400, -1021)
    assert exchange.orders(KEY) == []


@pytest.mark.pitfall("P11")
def test_an_order_that_is_held_up_is_matched_though_the_client_has_hung_up(exchange: RunningExchange) -> None:
    async def part(client: Client) -> None:
        await client.send(client.signed(**MARKET))
        await client.ask({}, "ping")

    exchange.inject(Fault.DELAYED_REQUEST, path="/order", delay_seconds=0.3)
    run(exchange, "perp", part)
    assert exchange.orders(KEY) == []
    time.sleep(0.4)
    assert [order.status for order in exchange.orders(KEY)] == [OrderStatus.FILLED]


def test_an_exchange_that_closes_gives_up_what_is_on_its_way(
    exchange: RunningExchange, caplog: pytest.LogCaptureFixture
) -> None:
    async def part(client: Client) -> None:
        await client.send(client.signed(**MARKET))
        await client.ask({}, "ping")
        started = time.monotonic()
        exchange.stop()
        assert time.monotonic() - started < 5
        assert (await client.heard()).type in CUT

    exchange.inject(Fault.DELAYED_REQUEST, path="/order", delay_seconds=60)
    with caplog.at_level(logging.WARNING):
        run(exchange, "perp", part)
    assert exchange.orders(KEY) == []
    assert caplog.records == []


@pytest.mark.parametrize("price", ["1E+999990", "1e-2", "-5", "NaN", "1" * 21])
def test_a_price_that_binance_cannot_read_is_refused_both_ways(exchange: RunningExchange, price: str) -> None:
    wrong = {"type": "LIMIT", "timeInForce": "GTC", "price": price}

    async def part(client: Client) -> list[int]:
        return [(await client.order(**asked))["status"] for asked in (wrong, {})]

    assert run(exchange, "perp", part) == [400, 200]
    told = over_http(exchange, "perp", **MARKET | wrong)
    assert (told.status_code, told.json()["code"]) == (400, -1100)


def test_what_breaks_the_exchange_is_answered_and_logged(
    exchange: RunningExchange, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    async def part(client: Client) -> Any:
        return await client.order()

    monkeypatch.setattr(exchange._desk.floor, "place", break_down)
    answer = run(exchange, "perp", part)
    assert (answer["status"], answer["error"]["code"]) == (500, -1000)
    assert "cannot carry out an order" in caplog.text

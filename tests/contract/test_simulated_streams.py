"""The simulated exchange's websockets: books one can follow, an account's events, and what goes wrong."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import aiohttp
import ccxt.pro
import httpx
import pytest

from carryflow.core.leg import LEGS, Leg
from carryflow.market.synthetic import SyntheticSettings
from carryflow.market.timeframe import HOUR_MS
from carryflow.venues.simulated.faults import Fault
from carryflow.venues.simulated.pace import Pace
from carryflow.venues.simulated.server import RunningExchange, start_exchange
from carryflow.venues.simulated.streams.listen_keys import ListenKeys
from carryflow.venues.simulated.tape import synthetic_tape
from carryflow.venues.simulated.trading.settings import TradingSettings

KEY, SECRET = "a-key-of-ours", "a-secret-of-ours"
TAPE = synthetic_tape(SyntheticSettings(hours=400), ("BTC", "ETH"))
START_MS = TAPE.end_ms - 200 * HOUR_MS
PATHS: dict[Leg, str] = {"spot": "/stream.binance.com/ws/0", "perp": "/fstream.binance.com/public/ws/0"}
BASES: dict[Leg, str] = {"spot": "/api/v3", "perp": "/fapi/v1"}
BOOK = "btcusdt@depth@100ms"
Found = TypeVar("Found")


@pytest.fixture
def exchange() -> Iterator[RunningExchange]:
    with start_exchange(TAPE, trading=TradingSettings(), start_ms=START_MS) as running:
        running.open_account(KEY, SECRET, {"USDT": Decimal(50_000)}, Decimal(20_000))
        yield running


class Socket:
    """Be a client of one websocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def told(self) -> Any:
        return json.loads((await asyncio.wait_for(self.socket.receive(), 5)).data)

    async def ask(self, method: str, params: Any, number: int | str = 1) -> Any:
        await self.socket.send_json({"method": method, "params": params, "id": number})
        return await self.told()

    async def quiet(self) -> bool:
        """Say whether nothing more comes."""
        try:
            await asyncio.wait_for(self.socket.receive(), 0.1)
        except TimeoutError:
            return True
        return False


@asynccontextmanager
async def listening(exchange: RunningExchange, path: str, *streams: str) -> AsyncIterator[Socket]:
    async with aiohttp.ClientSession() as session, session.ws_connect(exchange.url + path) as socket:
        listener = Socket(socket)
        if streams:
            assert await listener.ask("SUBSCRIBE", list(streams)) == {"result": None, "id": 1}
        yield listener


def run(part: Awaitable[Found]) -> Found:
    async def within() -> Found:
        return await asyncio.wait_for(part, 20)

    return asyncio.run(within())


def signed(exchange: RunningExchange, **params: Any) -> str:
    query = urlencode({"timestamp": exchange.now_ms, **params})
    return f"{query}&signature={hmac.new(SECRET.encode(), query.encode(), hashlib.sha256).hexdigest()}"


def order(exchange: RunningExchange, leg: Leg, side: str, qty: str, **more: str) -> Any:
    asked = {"symbol": "BTCUSDT", "side": side, "type": "MARKET", "quantity": qty} | more
    headers = {"X-MBX-APIKEY": KEY, "Content-Type": "application/x-www-form-urlencoded"}
    url = f"{exchange.url}{BASES[leg]}/order"
    return httpx.post(url, content=signed(exchange, **asked), headers=headers).json()


def snapshot(exchange: RunningExchange, leg: Leg) -> Any:
    return httpx.get(f"{exchange.url}{BASES[leg]}/depth?symbol=BTCUSDT&limit=1000").json()


def change(book: dict[str, dict[str, str]], diff: Any) -> None:
    for side, levels in (("bids", diff["b"]), ("asks", diff["a"])):
        book[side].update(dict(levels))
        book[side] = {price: qty for price, qty in book[side].items() if Decimal(qty)}


@pytest.mark.parametrize("leg", LEGS)
def test_a_snapshot_and_the_changes_after_it_are_the_book(exchange: RunningExchange, leg: Leg) -> None:
    """Whatever happens: time passes in small and large steps, bars close, takers take."""

    async def follow() -> None:
        async with listening(exchange, PATHS[leg], BOOK) as listener:
            first = snapshot(exchange, leg)
            book = {side: dict(first[side]) for side in ("bids", "asks")}
            known = first["lastUpdateId"]
            for step_ms in (100, 300, 7_000, HOUR_MS, 100):
                order(exchange, leg, "BUY", "0.2")
                exchange.step(step_ms)
                diff = await listener.told()
                assert (diff["e"], diff["s"], diff["U"]) == ("depthUpdate", "BTCUSDT", known + 1)
                if leg == "perp":
                    assert diff["pu"] == known
                change(book, diff)
                known = diff["u"]
                now = snapshot(exchange, leg)
                assert known == now["lastUpdateId"]
                assert book == {side: dict(now[side]) for side in ("bids", "asks")}
                assert len(diff["b"]) < 20 or step_ms > 1000

    run(follow())


def test_nobody_hears_what_they_did_not_ask_for(exchange: RunningExchange) -> None:
    async def follow() -> None:
        async with listening(exchange, PATHS["perp"], BOOK, "xyzusdt@depth", "btcusdt@weather") as listener:
            assert (await listener.ask("LIST_SUBSCRIPTIONS", []))["result"] == [BOOK]
            exchange.step(100)
            assert (await listener.told())["s"] == "BTCUSDT"
            await listener.ask("UNSUBSCRIBE", [BOOK])
            exchange.step(100)
            assert await listener.quiet()
            assert (await listener.ask("DANCE", []))["error"]["code"] == 2

    run(follow())


def test_marks_touches_trades_and_bars_are_told_as_rest_tells_them(exchange: RunningExchange) -> None:
    streams = [f"btcusdt@{kind}" for kind in ("markPrice@1s", "bookTicker", "aggTrade", "kline_1h")]

    async def follow() -> list[Any]:
        async with listening(exchange, PATHS["perp"], *streams) as listener:
            exchange.step(HOUR_MS)
            return [await listener.told() for _ in range(5)]

    told = {}
    for message in run(follow()):
        told.setdefault(message["e"], []).append(message)
    rest = httpx.get(f"{exchange.url}/fapi/v1/premiumIndex?symbol=BTCUSDT").json()
    [mark] = told["markPriceUpdate"]
    assert (mark["p"], mark["i"], mark["r"], mark["T"]) == tuple(
        rest[name] for name in ("markPrice", "indexPrice", "lastFundingRate", "nextFundingTime")
    )
    ticker = httpx.get(f"{exchange.url}/fapi/v1/ticker/bookTicker?symbol=BTCUSDT").json()
    [touch] = told["bookTicker"]
    assert [touch[k] for k in "bBaA"] == [ticker[k] for k in ("bidPrice", "bidQty", "askPrice", "askQty")]
    bars = httpx.get(f"{exchange.url}/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=1").json()
    [bar] = told["kline"]
    assert [bar["k"][k] for k in "tohlcv"] == bars[0][:6]
    assert bar["k"]["x"] is True
    bought, sold = told["aggTrade"]
    assert (bought["p"], bought["m"], sold["p"], sold["m"]) == (touch["a"], False, touch["b"], True)
    assert 2 * float(bought["q"]) == pytest.approx(float(bar["k"]["v"]), rel=0.5)


def test_a_trade_of_ours_is_a_trade_of_the_market(exchange: RunningExchange) -> None:
    async def follow() -> Any:
        async with listening(exchange, PATHS["spot"], "btcusdt@trade") as listener:
            order(exchange, "spot", "BUY", "0.001")
            return await listener.told()

    told = run(follow())
    [ours] = exchange.trades(KEY)
    assert (told["p"], told["q"], told["m"]) == (str(ours.price), str(ours.qty), False)


def test_all_marks_come_in_one_stream_and_combined_streams_are_named(exchange: RunningExchange) -> None:
    async def follow() -> Any:
        path = "/fstream.binance.com/market/stream?streams=!markPrice@arr@1s"
        async with listening(exchange, path) as listener:
            exchange.step(1000)
            return await listener.told()

    told = run(follow())
    assert told["stream"] == "!markPrice@arr@1s"
    assert [mark["s"] for mark in told["data"]] == ["BTCUSDT", "ETHUSDT"]


def test_futures_tell_an_account_of_its_orders_and_balances(exchange: RunningExchange) -> None:
    headers = {"X-MBX-APIKEY": KEY}
    asked: Callable[[], Any] = lambda: httpx.post(f"{exchange.url}/fapi/v1/listenKey", headers=headers)  # noqa: E731
    listen_key = asked().json()["listenKey"]
    assert asked().json()["listenKey"] == listen_key
    assert httpx.put(f"{exchange.url}/fapi/v1/listenKey", headers=headers).status_code == 200
    assert httpx.post(f"{exchange.url}/fapi/v1/listenKey").json()["code"] == -2014

    async def follow() -> list[Any]:
        path = f"/fstream.binance.com/private/ws?listenKey={listen_key}"
        async with listening(exchange, path) as listener:
            await listener.ask("LIST_SUBSCRIPTIONS", [])
            order(exchange, "perp", "SELL", "0.01", newClientOrderId="cf-told")
            told = [await listener.told()]
            while told[-1]["e"] != "ACCOUNT_UPDATE":
                told.append(await listener.told())
            exchange.deleverage(KEY, "BTC", 1)
            while told[-1]["e"] != "ORDER_TRADE_UPDATE" or told[-1]["o"]["x"] != "CALCULATED":
                told.append(await listener.told())
            return told

    told = run(follow())
    orders = [message["o"] for message in told if message["e"] == "ORDER_TRADE_UPDATE"]
    ours = [(o["x"], o["X"]) for o in orders if o["c"] == "cf-told"]
    assert ours == [("NEW", "NEW"), ("TRADE", "FILLED")]
    assert orders[-1]["c"] == "adl_autoclose"
    [balances, *_] = [message["a"] for message in told if message["e"] == "ACCOUNT_UPDATE"]
    assert balances["m"] == "ORDER"
    assert [Decimal(p["pa"]) for p in balances["P"]] == [Decimal("-0.01")]
    assert 19_999 < Decimal(balances["B"][0]["wb"]) < 20_000


def test_a_listen_key_that_was_given_up_opens_nothing(exchange: RunningExchange) -> None:
    headers = {"X-MBX-APIKEY": KEY}
    listen_key = httpx.post(f"{exchange.url}/fapi/v1/listenKey", headers=headers).json()["listenKey"]
    httpx.delete(f"{exchange.url}/fapi/v1/listenKey", headers=headers)
    path = f"{exchange.url}/fstream.binance.com/private/ws?listenKey={listen_key}"
    assert httpx.get(path).json()["code"] == -1125


def test_a_listen_key_expires_an_hour_after_it_was_renewed_and_whoever_hears_it_is_told(
    exchange: RunningExchange,
) -> None:
    url, headers = f"{exchange.url}/fapi/v1/listenKey", {"X-MBX-APIKEY": KEY}
    assert httpx.put(url, headers=headers).json()["code"] == -1125
    listen_key = httpx.post(url, headers=headers).json()["listenKey"]

    async def follow() -> Any:
        path = f"/fstream.binance.com/private/ws?listenKey={listen_key}"
        async with listening(exchange, path) as listener:
            exchange.step(HOUR_MS - 1)
            assert httpx.put(url, headers=headers).json()["listenKey"] == listen_key
            exchange.step(HOUR_MS - 1)
            assert await listener.quiet()
        async with listening(exchange, path) as listener:
            await listener.ask("LIST_SUBSCRIPTIONS", [])
            exchange.step(1)
            told = await listener.told()
            order(exchange, "perp", "SELL", "0.01")
            assert await listener.quiet()
            return told

    told = run(follow())
    assert told == {"e": "listenKeyExpired", "E": exchange.now_ms, "listenKey": listen_key}
    assert httpx.put(url, headers=headers).json()["code"] == -1125
    assert (
        httpx.get(f"{exchange.url}/fstream.binance.com/private/ws?listenKey={listen_key}").status_code == 401
    )
    assert httpx.post(url, headers=headers).json()["listenKey"] != listen_key


def test_in_a_faster_clock_a_listen_key_lives_for_an_hour_of_the_clients() -> None:
    machine = [0.0]
    keys = ListenKeys(Pace(START_MS, TAPE.end_ms, speed=100, machine=lambda: machine[0]))
    listen_key = keys.lend("k")
    machine[0] = 3_599.0
    assert keys.owner(listen_key) == "k"
    machine[0] = 3_600.0
    assert keys.owner(listen_key) is None
    assert keys.take_expired() == {"k": listen_key}
    assert keys.take_expired() == {}


def test_streams_begin_anew_after_the_clock_has_gone_back(exchange: RunningExchange) -> None:
    streams = (BOOK, "btcusdt@aggTrade", "btcusdt@bookTicker")

    async def follow() -> list[Any]:
        async with listening(exchange, PATHS["perp"], *streams) as listener:
            exchange.step(100)
            assert {(await listener.told()).get("e") for _ in range(4)} == {
                "depthUpdate",
                "aggTrade",
                "bookTicker",
            }
            exchange.step(-2 * HOUR_MS)
            assert await listener.quiet()
            exchange.step(100)
            return [await listener.told() for _ in range(4)]

    told: dict[str, Any] = {message["e"]: message for message in run(follow())}
    assert told["depthUpdate"]["pu"] == exchange.now_ms // 100 - 1
    assert Decimal(told["aggTrade"]["q"]) > 0
    assert told["bookTicker"]["E"] == exchange.now_ms


def test_no_trades_are_told_of_a_closed_market(exchange: RunningExchange) -> None:
    async def follow() -> bool:
        async with listening(exchange, PATHS["perp"], "btcusdt@trade") as listener:
            exchange.halt("perp", "BTC")
            exchange.step(60_000)
            return await listener.quiet()

    assert run(follow())


def test_spots_websocket_api_tells_an_account_that_signs_of_its_orders(exchange: RunningExchange) -> None:
    query = f"apiKey={KEY}&timestamp={exchange.now_ms}"
    signature = hmac.new(SECRET.encode(), query.encode(), hashlib.sha256).hexdigest()
    params = {"apiKey": KEY, "timestamp": exchange.now_ms, "signature": signature}
    method = "userDataStream.subscribe.signature"

    async def follow() -> list[Any]:
        async with listening(exchange, "/ws-api.binance.com/ws-api/v3") as listener:
            forged = await listener.ask(method, params | {"signature": "0" * 64}, "a")
            assert (forged["status"], forged["error"]["code"]) == (400, -1022)
            assert SECRET not in str(forged)
            assert (await listener.ask(method, params, "b"))["result"] == {"subscriptionId": 0}
            order(exchange, "spot", "BUY", "0.001", newClientOrderId="cf-told")
            told = [await listener.told()]
            while told[-1]["event"]["e"] != "outboundAccountPosition" or told[-1]["event"]["B"] == []:
                told.append(await listener.told())
            return [message["event"] for message in told]

    told = run(follow())
    reports = [(m["x"], m["X"], m["c"]) for m in told if m["e"] == "executionReport"]
    assert reports[0] == ("NEW", "NEW", "cf-told")
    assert ("TRADE", "FILLED", "cf-told") in reports


@pytest.mark.parametrize(
    ("fault", "heard"),
    [
        (Fault.STREAM_GAP, [2, 3]),
        (Fault.STREAM_DUPLICATE, [1, 1, 2, 3]),
        (Fault.STREAM_REORDER, [2, 1, 3]),
        (Fault.STREAM_SILENCE, []),
    ],
)
def test_a_stream_can_go_wrong(exchange: RunningExchange, fault: Fault, heard: list[int]) -> None:
    """Of three messages these are heard, counted from the first."""

    async def follow() -> list[int]:
        async with listening(exchange, PATHS["perp"], BOOK) as listener:
            exchange.inject(fault, path=f"/0/{BOOK}", delay_seconds=60)
            first = exchange.now_ms // 100
            for _ in range(3):
                exchange.step(100)
            return [(await listener.told())["u"] - first for _ in heard] + [0] * (not await listener.quiet())

    assert run(follow()) == heard


def test_a_connection_that_meets_a_fault_of_requests_is_refused(exchange: RunningExchange) -> None:
    async def follow(fault: Fault) -> None:
        exchange.inject(fault, times=2)  # aiohttp asks again by itself
        with pytest.raises(aiohttp.ClientError):
            async with listening(exchange, PATHS["spot"], BOOK):
                pass

    for fault in (Fault.TRUNCATED, Fault.LOST_ANSWER, Fault.SERVER_ERROR):
        run(follow(fault))
        exchange.clear_faults()


def test_a_silence_ends(exchange: RunningExchange) -> None:
    async def follow() -> bool:
        async with listening(exchange, PATHS["perp"], BOOK) as listener:
            exchange.inject(Fault.STREAM_SILENCE, delay_seconds=0.05)
            exchange.step(100)
            assert await listener.quiet()
            exchange.step(100)
            return bool(await listener.told())

    assert run(follow())


@pytest.mark.parametrize("how", ["fault", "maintenance", "stop"])
def test_a_connection_can_be_cut(exchange: RunningExchange, how: str) -> None:
    async def follow() -> aiohttp.WSMsgType:
        async with listening(exchange, PATHS["spot"], BOOK) as listener:
            if how == "fault":
                exchange.inject(Fault.STREAM_DROP)
                exchange.step(100)
            elif how == "maintenance":
                exchange.maintain(True)
            else:
                exchange.stop()
            return (await asyncio.wait_for(listener.socket.receive(), 5)).type

    assert run(follow()) in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.ERROR)


def test_a_running_clock_tells_books_ten_times_a_second_and_faster_ones_as_often() -> None:
    async def count(exchange: RunningExchange) -> tuple[int, float]:
        async with listening(exchange, PATHS["perp"], BOOK) as listener:
            first, began = (await listener.told())["u"], time.monotonic()
            told = [await listener.told() for _ in range(5)]
            assert [m["pu"] for m in told] == [first, *(m["u"] for m in told[:-1])]
            return told[-1]["u"] - first, time.monotonic() - began

    for speed in (1.0, 720.0):
        with start_exchange(TAPE, trading=TradingSettings(), start_ms=START_MS, speed=speed) as exchange:
            ids, seconds = run(count(exchange))
            assert ids >= 5
            assert ids == pytest.approx(seconds * 10 * speed, rel=0.5)
            assert httpx.get(f"{exchange.url}/fapi/v1/time").headers["X-Carryflow-Speed"] == f"{speed:g}"


def test_ccxts_own_class_follows_books_marks_and_orders(exchange: RunningExchange) -> None:
    def redirected(urls: Any) -> Any:
        if isinstance(urls, dict):
            return {key: redirected(value) for key, value in urls.items()}
        parts, here = urlsplit(urls), exchange.url.removeprefix("http://")
        if parts.scheme.startswith("ws"):
            return f"ws://{here}/{parts.hostname}{parts.path}"
        return f"http://{here}{parts.path}"

    async def soon(part: Awaitable[Any]) -> Any:
        """Let time pass until there is an answer."""
        answer = asyncio.ensure_future(part)
        while not answer.done():
            await asyncio.sleep(0.05)
            exchange.step(1000)
        return await answer

    async def watch() -> None:
        venue: Any = ccxt.pro.binance({"apiKey": KEY, "secret": SECRET, "enableRateLimit": False})
        venue.urls["api"] = redirected(venue.urls["api"])
        venue.milliseconds = lambda: exchange.now_ms
        try:
            await venue.load_markets()
            for symbol, leg in (("BTC/USDT", "spot"), ("BTC/USDT:USDT", "perp")):
                await soon(venue.watch_order_book(symbol))
                await soon(venue.watch_order_book(symbol))
                await asyncio.sleep(0.2)
                book, told = venue.orderbooks[symbol], snapshot(exchange, leg)
                assert book["nonce"] == told["lastUpdateId"]
                assert [level[:2] for level in book["bids"][:5]] == [
                    [float(x) for x in level] for level in told["bids"][:5]
                ]
            mark = await soon(venue.watch_mark_price("BTC/USDT:USDT"))
            assert mark["info"]["r"]
            for symbol, kind in (("BTC/USDT", "spot"), ("BTC/USDT:USDT", "future")):
                watched = asyncio.ensure_future(venue.watch_orders(None, params={"type": kind}))
                await asyncio.sleep(0.2)
                sent = await venue.create_order(symbol, "market", "buy", 0.01)
                orders = await soon(watched)
                assert orders[-1]["id"] == sent["id"]
        finally:
            await venue.close()

    run(watch())

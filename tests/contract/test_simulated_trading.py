"""Trading on the simulated exchange over HTTP: signatures, orders, wallets and limits, in Binance's words."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import ccxt.async_support as ccxt
import httpx
import pytest

from carryflow.core.leg import LEGS, Leg
from carryflow.market.synthetic import SyntheticSettings
from carryflow.market.timeframe import HOUR_MS
from carryflow.venues.connection import redirect
from carryflow.venues.simulated.faults import Fault
from carryflow.venues.simulated.server import RunningExchange, start_exchange
from carryflow.venues.simulated.tape import synthetic_tape
from carryflow.venues.simulated.trading.orders import OrderStatus
from carryflow.venues.simulated.trading.settings import TradingSettings

KEY, SECRET = "a-key-of-ours", "a-secret-of-ours"
TAPE = synthetic_tape(SyntheticSettings(hours=400), ("BTC", "ETH"))
START_MS = TAPE.end_ms - 200 * HOUR_MS
BASES: dict[Leg, str] = {"spot": "/api/v3", "perp": "/fapi/v1"}
RICH = {"USDT": Decimal(50_000), "BTC": Decimal(1)}


class Client:
    """Sign and send requests as Binance documents it; answers are (status, JSON)."""

    def __init__(self, exchange: RunningExchange, key: str = KEY, secret: str = SECRET) -> None:
        self.exchange, self.key, self.secret = exchange, key, secret
        self.http = httpx.Client(base_url=exchange.url, timeout=10)

    def query(self, **params: Any) -> str:
        query = urlencode({"timestamp": self.exchange.now_ms, **params})
        signature = hmac.new(self.secret.encode(), query.encode(), hashlib.sha256).hexdigest()
        return f"{query}&signature={signature}"

    def send(self, method: str, path: str, query: str, key: str | None = None) -> tuple[int, Any]:
        headers = {"X-MBX-APIKEY": key or self.key}
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            answer = self.http.post(path, content=query, headers=headers)
        else:
            answer = self.http.request(method, f"{path}?{query}", headers=headers)
        return answer.status_code, answer.json()

    def get(self, path: str, **params: Any) -> Any:
        return self.send("GET", path, self.query(**params))[1]

    def post(self, path: str, **params: Any) -> Any:
        return self.send("POST", path, self.query(**params))[1]

    def delete(self, path: str, **params: Any) -> Any:
        return self.send("DELETE", path, self.query(**params))[1]

    def order(self, leg: Leg, side: str = "BUY", kind: str = "LIMIT", **more: Any) -> Any:
        timed = {"timeInForce": "IOC"} if kind == "LIMIT" else {}
        asked = {"symbol": "BTCUSDT", "side": side, "type": kind, "quantity": "0.01"} | timed | more
        return self.post(f"{BASES[leg]}/order", **asked)

    def touch(self, leg: Leg) -> tuple[str, str]:
        book = self.http.get(f"{BASES[leg]}/depth?symbol=BTCUSDT&limit=5").json()
        return book["bids"][0][0], book["asks"][0][0]


@pytest.fixture
def exchange() -> Iterator[RunningExchange]:
    with start_exchange(TAPE, trading=TradingSettings(), start_ms=START_MS) as running:
        running.open_account(KEY, SECRET, RICH, Decimal(20_000))
        yield running


@pytest.fixture
def client(exchange: RunningExchange) -> Iterator[Client]:
    client = Client(exchange)
    yield client
    client.http.close()


def test_only_a_known_key_that_signs_rightly_and_in_time_is_answered(client: Client) -> None:
    path, now = "/api/v3/account", client.exchange.now_ms
    good = client.query()
    forged = Client(client.exchange, secret="not-the-secret").query()
    late, early = client.query(timestamp=now - 5001), client.query(timestamp=now + 1000)
    wide = client.query(recvWindow=60_001)
    assert client.send("GET", path, good)[0] == 200
    assert client.send("GET", path, good, key="a-key-of-nobody") == refusal(-2015, 401)
    assert client.send("GET", path, forged) == refusal(-1022)
    assert client.send("GET", path, good.replace("timestamp=17", "timestamp=18")) == refusal(-1021)
    assert client.send("GET", path, good + "&recvWindow=1") == refusal(-1022)
    assert client.send("GET", path, late) == refusal(-1021)
    assert client.send("GET", path, early) == refusal(-1021)
    assert client.send("GET", path, client.query(timestamp=now - 5001, recvWindow=6000))[0] == 200
    assert client.send("GET", path, wide) == refusal(-1131)
    assert client.send("GET", path, urlencode({"timestamp": now})) == refusal(-1102)
    assert client.http.get(path).json()["code"] == -2014


class refusal:
    """Equal any answer with this status and code whose words repeat no secret."""

    def __init__(self, code: int, status: int = 400) -> None:
        self.code, self.status = code, status

    def __eq__(self, answer: object) -> bool:
        assert isinstance(answer, tuple)
        status, body = answer
        secrets = (KEY, SECRET, "a-key-of-nobody", "signature=")
        assert not any(secret in str(body) for secret in secrets)
        return (status, body["code"]) == (self.status, self.code)

    def __hash__(self) -> int:
        return hash((self.code, self.status))

    def __repr__(self) -> str:
        return f"{self.status} {self.code}"


def test_a_spot_purchase_is_filled_at_the_book_and_its_fee_shrinks_the_coins(client: Client) -> None:
    bid, ask = client.touch("spot")
    bought = client.order("spot", price=str(Decimal(ask) * 10), quantity="0.5", timeInForce="IOC")
    assert bought["code"] == -1013  # further from the market than may be
    bought = client.order("spot", price=str(Decimal(ask) + 50), quantity="0.5", newClientOrderId="cf-1")
    assert (bought["status"], bought["clientOrderId"]) == ("FILLED", "cf-1")
    fills = bought["fills"]
    assert sum(Decimal(f["qty"]) for f in fills) == Decimal("0.5")
    assert [f["price"] for f in fills] == sorted(f["price"] for f in fills)
    assert fills[0]["price"] == ask > bid
    fees = sum(Decimal(f["commission"]) for f in fills)
    assert {f["commissionAsset"] for f in fills} == {"BTC"}
    wallet = {b["asset"]: Decimal(b["free"]) for b in client.get("/api/v3/account")["balances"]}
    assert wallet["BTC"] == Decimal("1.5") - fees
    assert wallet["USDT"] == 50_000 - Decimal(bought["cummulativeQuoteQty"])
    told = client.get("/api/v3/myTrades", symbol="BTCUSDT")
    assert [(t["id"], t["commission"]) for t in told] == [(f["tradeId"], f["commission"]) for f in fills]


def test_a_short_shows_as_a_position_with_margin_and_is_closed_reduce_only(client: Client) -> None:
    opened = client.order("perp", "SELL", "MARKET", quantity="0.2", newOrderRespType="RESULT")
    assert (opened["status"], opened["executedQty"]) == ("FILLED", "0.200")
    [held] = client.get("/fapi/v3/positionRisk")
    assert Decimal(held["positionAmt"]) == Decimal("-0.2")
    account = client.get("/fapi/v3/account")
    initial = Decimal(held["notional"]).copy_abs() / 20
    assert Decimal(account["totalPositionInitialMargin"]) == initial == Decimal(held["initialMargin"])
    assert Decimal(account["totalMaintMargin"]) > 0
    assert Decimal(held["liquidationPrice"]) > Decimal(held["markPrice"])
    assert client.order("perp", "SELL", "MARKET", reduceOnly="true")["code"] == -2022
    closed = client.order("perp", "BUY", "MARKET", quantity="5", reduceOnly="true", newOrderRespType="RESULT")
    assert Decimal(closed["executedQty"]) == Decimal("0.2")
    assert client.get("/fapi/v3/positionRisk") == []
    kinds = {entry["incomeType"] for entry in client.get("/fapi/v1/income")}
    assert kinds == {"COMMISSION", "REALIZED_PNL"}


@pytest.mark.parametrize("leg", LEGS)
def test_an_order_rests_is_found_by_its_name_and_is_cancelled_once(client: Client, leg: Leg) -> None:
    bid, _ = client.touch(leg)
    price = str(Decimal(bid) - 500)
    placed = client.order(leg, price=price, timeInForce="GTC", newClientOrderId="cf-rest")
    order, named = f"{BASES[leg]}/order", {"symbol": "BTCUSDT", "origClientOrderId": "cf-rest"}
    assert placed["status"] == "NEW"
    found = client.get(order, **named)
    assert (found["orderId"], found["status"], found["executedQty"]) == (placed["orderId"], "NEW", "0")
    assert [o["clientOrderId"] for o in client.get(f"{BASES[leg]}/openOrders")] == ["cf-rest"]
    again = client.order(leg, price=price, timeInForce="GTC", newClientOrderId="cf-rest")
    assert again["code"] == (-2010 if leg == "spot" else -4116)
    assert client.delete(order, **named)["status"] == "CANCELED"
    assert client.delete(order, **named)["code"] == -2011
    assert client.get(order, **named)["status"] == "CANCELED"
    assert client.get(order, symbol="BTCUSDT", origClientOrderId="cf-never")["code"] == -2013
    assert client.get(f"{BASES[leg]}/openOrders") == []
    assert [o["orderId"] for o in client.get(f"{BASES[leg]}/allOrders", symbol="BTCUSDT")] == [
        placed["orderId"]
    ]


@pytest.mark.parametrize(("leg", "path"), [("spot", "/api/v3/myTrades"), ("perp", "/fapi/v1/userTrades")])
def test_the_trades_of_an_order_are_found_however_short_the_page(client: Client, leg: Leg, path: str) -> None:
    placed = [client.order(leg, kind="MARKET")["orderId"] for _ in range(2)]
    pages = [client.get(path, symbol="BTCUSDT", orderId=number, limit=1) for number in placed]
    assert [[trade["orderId"] for trade in page] for page in pages] == [[number] for number in placed]


@pytest.mark.parametrize("leg", LEGS)
def test_all_orders_of_a_market_are_cancelled_at_once(client: Client, leg: Leg) -> None:
    bid, _ = client.touch(leg)
    path = f"{BASES[leg]}/{'openOrders' if leg == 'spot' else 'allOpenOrders'}"
    for away in (500, 600):
        client.order(leg, price=str(Decimal(bid) - away), timeInForce="GTC")
    cancelled = client.delete(path, symbol="BTCUSDT")
    assert cancelled["code"] == 200 if leg == "perp" else len(cancelled) == 2
    assert client.get(f"{BASES[leg]}/openOrders", symbol="BTCUSDT") == []
    assert client.delete(path, symbol="BTCUSDT") == (
        {"code": 200, "msg": "The operation of cancel all open order is done."}
        if leg == "perp"
        else {"code": -2011, "msg": "Unknown order sent."}
    )


@pytest.mark.parametrize(
    ("leg", "changed", "code"),
    [
        ("spot", {"side": "HOLD"}, -1117),
        ("spot", {"kind": "STOP_LOSS"}, -1116),
        ("perp", {"kind": "LIMIT_MAKER"}, -1116),
        ("spot", {"timeInForce": "GTX"}, -1115),
        ("spot", {"quantity": ""}, -1102),
        ("spot", {"price": "cheap"}, -1100),
        ("spot", {"price": "NaN"}, -1100),
        ("spot", {"symbol": "XYZUSDT"}, -1121),
        ("spot", {"quantity": "0.000001"}, -1013),
        ("perp", {"quantity": "0.0001"}, -1111),
        ("spot", {"newClientOrderId": "a name with spaces"}, -1100),
        ("perp", {"newClientOrderId": "x" * 37}, -1100),
        ("spot", {"quantity": "3"}, -2010),
        ("perp", {"quantity": "900"}, -2019),
    ],
)
def test_a_wrong_order_is_refused_in_binances_words(
    client: Client, leg: Leg, changed: dict[str, str], code: int
) -> None:
    asked = {"price": client.touch(leg)[1], "timeInForce": "GTC"} | changed
    assert client.order(leg, **asked)["code"] == code
    assert client.exchange.orders(KEY) == []


def test_the_answer_is_as_long_as_was_asked_for(client: Client) -> None:
    asked = {"kind": "MARKET", "quantity": "0.01"}
    assert "status" not in client.order("spot", **asked, newOrderRespType="ACK")
    assert "fills" not in client.order("spot", **asked, newOrderRespType="RESULT")
    assert "fills" in client.order("spot", **asked)
    acknowledged = client.order("perp", **asked)
    assert (acknowledged["status"], acknowledged["executedQty"]) == ("NEW", "0")
    assert client.order("perp", **asked, newOrderRespType="RESULT")["status"] == "FILLED"


def test_coins_move_between_the_wallets_and_are_never_made_or_lost(client: Client) -> None:
    moved = client.post("/sapi/v1/asset/transfer", asset="USDT", amount="1500.5", type="MAIN_UMFUTURE")
    back = client.post("/sapi/v1/asset/transfer", asset="USDT", amount="500", type="UMFUTURE_MAIN")
    too_much = client.post("/sapi/v1/asset/transfer", asset="USDT", amount="1000000", type="MAIN_UMFUTURE")
    assert too_much["code"] == -5013
    there, and_back = (
        client.get("/sapi/v1/asset/transfer", type=way)["rows"] for way in ("MAIN_UMFUTURE", "UMFUTURE_MAIN")
    )
    assert [(t["tranId"], t["amount"]) for t in there] == [(moved["tranId"], "1500.5")]
    assert [t["tranId"] for t in and_back] == [back["tranId"]]
    [futures] = client.get("/fapi/v3/balance")
    assert Decimal(futures["balance"]) == Decimal("21000.5")
    wallet = {
        b["asset"]: b["free"] for b in client.get("/api/v3/account", omitZeroBalances="true")["balances"]
    }
    assert wallet == {"BTC": "1", "USDT": "48999.5"}


def test_settings_of_the_account_are_told_and_kept(client: Client) -> None:
    client.exchange.open_account("withdrawing", SECRET, {}, Decimal(0), withdraw=True)
    restrictions = "/sapi/v1/account/apiRestrictions"
    assert client.get(restrictions)["enableWithdrawals"] is False
    assert Client(client.exchange, "withdrawing").get(restrictions)["enableWithdrawals"] is True
    assert client.get("/fapi/v1/positionSide/dual") == {"dualSidePosition": False}
    assert client.post("/fapi/v1/marginType", symbol="BTCUSDT", marginType="CROSSED")["code"] == -4046
    assert client.post("/fapi/v1/leverage", symbol="BTCUSDT", leverage=5)["leverage"] == 5
    assert client.post("/fapi/v1/leverage", symbol="BTCUSDT", leverage=500)["code"] == -4028
    [brackets] = client.get("/fapi/v1/leverageBracket", symbol="ETHUSDT")
    assert brackets["brackets"][1]["maintMarginRatio"] == 0.005
    assert client.http.get("/sapi/v1/system/status").json()["status"] == 0
    armed = client.post("/fapi/v1/countdownCancelAll", symbol="BTCUSDT", countdownTime=30_000)
    assert armed == {"symbol": "BTCUSDT", "countdownTime": "30000"}


def test_a_dead_mans_countdown_cancels_what_rests_when_it_runs_out(client: Client) -> None:
    price = str(Decimal(client.touch("perp")[0]) - 500)
    client.order("perp", price=price, timeInForce="GTC", newClientOrderId="cf-left")
    client.post("/fapi/v1/countdownCancelAll", symbol="BTCUSDT", countdownTime=30_000)
    client.exchange.step(29_000)
    assert len(client.get("/fapi/v1/openOrders")) == 1
    client.exchange.step(2_000)
    assert client.get("/fapi/v1/openOrders") == []


def test_requests_over_the_minutes_weight_are_refused_and_going_on_is_a_ban() -> None:
    limited = TradingSettings(spot_weight_per_minute=40)
    with start_exchange(TAPE, trading=limited, start_ms=START_MS) as exchange:
        ask: Callable[[], httpx.Response] = lambda: httpx.get(f"{exchange.url}/api/v3/exchangeInfo")  # noqa: E731
        assert [ask().status_code for _ in range(2)] == [200, 200]
        refused = ask()
        assert (refused.status_code, refused.json()["code"]) == (429, -1003)
        exchange.step(1000 * int(refused.headers["Retry-After"]))
        assert ask().headers["X-MBX-USED-WEIGHT-1M"] == "20"
        ask()
        assert [ask().status_code for _ in range(10)] == [429] * 10
        banned = ask()
        assert banned.status_code == 418
        assert httpx.get(f"{exchange.url}/fapi/v1/time").status_code == 418
        exchange.step(1000 * int(banned.headers["Retry-After"]))
        assert ask().status_code == 200


def test_orders_over_so_many_in_ten_seconds_are_refused() -> None:
    with start_exchange(TAPE, trading=TradingSettings(perp_orders_per_10s=2), start_ms=START_MS) as exchange:
        exchange.open_account(KEY, SECRET, {}, Decimal(10_000))
        client = Client(exchange)
        codes = [client.order("perp", kind="MARKET").get("code") for _ in range(3)]
        assert codes == [None, None, -1015]
        exchange.step(10_000)
        assert "orderId" in client.order("perp", kind="MARKET")


def test_a_venue_under_maintenance_answers_nobody_but_says_so(client: Client) -> None:
    client.exchange.maintain(True)
    assert client.send("GET", "/api/v3/account", client.query()) == refusal(-1016, 503)
    assert client.http.get("/sapi/v1/system/status").json()["status"] == 1
    client.exchange.maintain(False)
    assert client.get("/api/v3/account")["accountType"] == "SPOT"


def test_a_halted_market_takes_no_orders_and_says_so(client: Client) -> None:
    client.exchange.halt("spot", "BTC")
    assert client.order("spot", kind="MARKET")["code"] == -1013
    listed = client.http.get("/api/v3/exchangeInfo").json()["symbols"]
    assert {s["symbol"]: s["status"] for s in listed}["BTCUSDT"] == "BREAK"
    client.exchange.halt("spot", "BTC", on=False)
    assert client.order("spot", kind="MARKET")["status"] == "FILLED"


def test_what_the_quote_coin_is_worth_is_a_market_of_its_own(client: Client) -> None:
    client.exchange.set_quote_price("0.97")
    price = client.http.get("/api/v3/ticker/price?symbol=USDCUSDT").json()["price"]
    assert float(price) == pytest.approx(1 / 0.97, rel=1e-3)


def test_an_order_travels_to_its_match_for_the_venues_latency() -> None:
    slow = TradingSettings(latency_ms=20_000)
    with start_exchange(TAPE, trading=slow, start_ms=START_MS, speed=100.0) as exchange:
        exchange.open_account(KEY, SECRET, {"USDT": Decimal(10_000)}, Decimal(0))
        sent_ms, started = exchange.now_ms, time.monotonic()
        filled = Client(exchange).order("spot", kind="MARKET")
        assert filled["transactTime"] >= sent_ms + 20_000
        assert time.monotonic() - started >= 0.2
        assert exchange.now_ms > sent_ms


@pytest.mark.pitfall("P11")
def test_an_order_whose_time_is_up_when_it_arrives_never_was() -> None:
    """Within its window when it came in, and outside of it at the match: 10 s of the venue's time here."""
    slow = TradingSettings(latency_ms=20_000)
    with start_exchange(TAPE, trading=slow, start_ms=START_MS, speed=100.0) as exchange:
        exchange.open_account(KEY, SECRET, {"USDT": Decimal(10_000)}, Decimal(0))
        assert Client(exchange).order("spot", kind="MARKET", recvWindow=100)["code"] == -1021
        assert exchange.orders(KEY) == []


def test_ccxts_own_class_trades_both_legs(exchange: RunningExchange) -> None:
    async def trade() -> list[Any]:
        venue: Any = ccxt.binance({"apiKey": KEY, "secret": SECRET, "enableRateLimit": False})
        venue.urls["api"] = redirect(venue.urls["api"], exchange.url)
        venue.milliseconds = lambda: exchange.now_ms
        try:
            await venue.load_markets()
            spot = await venue.create_order("BTC/USDT", "market", "buy", 0.1, None, {"clientOrderId": "cf-s"})
            perp = await venue.create_order("BTC/USDT:USDT", "market", "sell", 0.1)
            found = await venue.fetch_order(None, "BTC/USDT", {"clientOrderId": "cf-s"})
            await venue.transfer("USDT", 10, "spot", "future")
            held = await venue.fetch_positions_risk()
            wallets = await venue.fetch_balance(), await venue.fetch_balance({"type": "swap"})
            fills = await venue.fetch_my_trades("BTC/USDT:USDT")
            with pytest.raises(ccxt.OrderNotFound):
                await venue.fetch_order("77", "BTC/USDT")
            return [spot, perp, found, held, wallets, fills]
        finally:
            await venue.close()

    spot, perp, found, held, wallets, fills = asyncio.run(trade())
    assert (spot["status"], spot["filled"], perp["filled"]) == ("closed", 0.1, 0.1)
    assert found["id"] == spot["id"]
    assert [(p["symbol"], p["side"], p["contracts"]) for p in held] == [("BTC/USDT:USDT", "short", 0.1)]
    assert wallets[0]["BTC"]["total"] == pytest.approx(1.0999)
    assert wallets[1]["USDT"]["total"] < 20_010
    assert sum(fill["amount"] for fill in fills) == pytest.approx(0.1)
    assert {order.status for order in exchange.orders(KEY)} == {OrderStatus.FILLED}


def test_faults_of_the_delivery_do_or_do_not_reach_the_match(client: Client) -> None:
    """What happened at the venue is as each fault's name says, whatever the client was told."""

    def filled(fault: Fault, **how: Any) -> tuple[int | None, int]:
        before = len(client.exchange.orders(KEY))
        client.exchange.inject(fault, path="/api/v3/order", method="post", **how)
        status: int | None = None
        try:
            asked = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
            status = client.send("POST", "/api/v3/order", client.query(**asked))[0]
        except httpx.RemoteProtocolError:
            pass
        return status, len(client.exchange.orders(KEY)) - before

    assert filled(Fault.RESET) == (None, 0)
    assert filled(Fault.SERVER_ERROR) == (503, 0)
    assert filled(Fault.REFUSED, code=-2010) == (400, 0)
    assert filled(Fault.LOST_ANSWER) == (None, 1)
    assert filled(Fault.ERROR_AFTER) == (503, 1)
    assert filled(Fault.REPEATED) == (200, 2)
    for late in (Fault.DELAYED_REQUEST, Fault.DELAYED_ANSWER):
        started = time.monotonic()
        assert filled(late, delay_seconds=0.1) == (200, 1)
        assert time.monotonic() - started >= 0.1
    assert client.get("/api/v3/order", symbol="BTCUSDT", orderId=1)["status"] == "FILLED"


@pytest.mark.pitfall("P11")
def test_an_order_that_is_held_up_is_matched_though_the_client_has_hung_up(client: Client) -> None:
    client.exchange.inject(Fault.DELAYED_REQUEST, path="/order", delay_seconds=0.3)
    client.http.timeout = httpx.Timeout(0.1)
    with pytest.raises(httpx.ReadTimeout):
        client.order("perp", kind="MARKET")
    client.http.close()
    assert client.exchange.orders(KEY) == []
    time.sleep(0.4)
    assert [order.status for order in client.exchange.orders(KEY)] == [OrderStatus.FILLED]


def test_an_order_can_be_filled_in_part_or_late(client: Client) -> None:
    ask = str(Decimal(client.touch("perp")[1]) + 100)
    asked = {"price": ask, "quantity": "0.1", "newOrderRespType": "RESULT"}
    client.exchange.inject(Fault.PARTIAL_FILL, fraction=0.3)
    client.exchange.inject(Fault.LATE_FILL, late_ms=5_000)
    part = client.order("perp", **asked)
    assert (part["status"], Decimal(part["executedQty"])) == ("EXPIRED", Decimal("0.03"))
    waiting = client.order("perp", **asked, newClientOrderId="cf-late")
    assert (waiting["status"], waiting["executedQty"]) == ("NEW", "0")
    client.exchange.step(6_000)
    late = client.get("/fapi/v1/order", symbol="BTCUSDT", origClientOrderId="cf-late")
    assert late["status"] == "FILLED"


def test_faults_of_match_and_delivery_meet_the_same_order(client: Client) -> None:
    client.exchange.inject(Fault.PARTIAL_FILL, fraction=0.5)
    client.exchange.inject(Fault.LOST_ANSWER, path="/fapi/v1/order", method="POST")
    with pytest.raises(httpx.RemoteProtocolError):
        client.order("perp", price=client.touch("perp")[1], quantity="0.01")
    [order] = client.exchange.orders(KEY)
    assert order.executed == Decimal("0.005")


def test_the_book_of_before_can_be_told_again(client: Client) -> None:
    path = "/fapi/v1/depth?symbol=BTCUSDT&limit=5"
    before = client.http.get(path).json()
    client.exchange.step(500)
    client.exchange.inject(Fault.STALE_BOOK)
    assert client.http.get(path).json() == before != client.http.get(path).json()


def test_faults_that_are_due_can_be_forgotten_and_those_that_happened_are_counted(client: Client) -> None:
    client.exchange.inject(Fault.SERVER_ERROR, times=3)
    assert client.http.get("/api/v3/time").status_code == 503
    client.exchange.clear_faults()
    assert client.http.get("/api/v3/time").status_code == 200
    assert client.exchange.faults_happened == {Fault.SERVER_ERROR: 1}


def test_the_clock_does_not_go_back_once_somebody_has_traded(client: Client) -> None:
    client.exchange.set_clock(START_MS - HOUR_MS)
    client.exchange.set_clock(START_MS)
    client.order("spot", kind="MARKET")
    with pytest.raises(Exception, match="back"):
        client.exchange.set_clock(START_MS - HOUR_MS)
    assert client.exchange.now_ms == START_MS

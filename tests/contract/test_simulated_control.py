"""The simulated exchange's control port, and what it does to an exchange in another process."""

import asyncio
import hashlib
import hmac
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from carryflow.core.errors import SettingsError, VenueError
from carryflow.market.synthetic import SyntheticSettings
from carryflow.market.timeframe import HOUR_MS
from carryflow.venues.simulated.pace import Pace
from carryflow.venues.simulated.server import RunningExchange, start_exchange
from carryflow.venues.simulated.tape import synthetic_tape
from carryflow.venues.simulated.trading.settings import TradingSettings

KEY, SECRET = "a-key-of-ours", "a-secret-of-ours"
TAPE = synthetic_tape(SyntheticSettings(hours=400), ("BTC", "ETH"))
START_MS = TAPE.end_ms - 200 * HOUR_MS


@pytest.fixture
def exchange() -> Iterator[RunningExchange]:
    trading = TradingSettings()
    with start_exchange(TAPE, trading=trading, start_ms=START_MS, control_port=0) as running:
        yield running


@pytest.fixture
def control(exchange: RunningExchange) -> Iterator[httpx.Client]:
    assert exchange.control_url is not None
    with httpx.Client(base_url=exchange.control_url) as client:
        account = {"key": KEY, "secret": SECRET, "spot": {"USDT": "50000"}, "futures": "20000"}
        assert client.post("/accounts", json=account).status_code == 200
        yield client


def sell(exchange: RunningExchange) -> Any:
    asked = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.1"}
    query = urlencode({"timestamp": exchange.now_ms, **asked})
    signature = hmac.new(SECRET.encode(), query.encode(), hashlib.sha256).hexdigest()
    url = f"{exchange.url}/fapi/v1/order?{query}&signature={signature}"
    return httpx.post(url, headers={"X-MBX-APIKEY": KEY}).json()


def test_an_account_that_was_opened_trades_and_its_history_is_told(
    exchange: RunningExchange, control: httpx.Client
) -> None:
    assert sell(exchange)["status"] == "NEW"
    query = {"key": KEY}
    [order] = control.get("/orders", params=query).json()
    assert (order["leg"], order["status"], Decimal(order["executedQty"])) == (
        "perp",
        "FILLED",
        Decimal("0.1"),
    )
    trades = control.get("/trades", params=query).json()
    assert {trade["orderId"] for trade in trades} == {order["orderId"]}
    assert control.get("/statement", params=query).json() == exchange.floor_statement(KEY)
    assert {entry["incomeType"] for entry in control.get("/incomes", params=query).json()} == {"COMMISSION"}
    assert control.get("/transfers", params=query).json() == []
    assert SECRET not in control.get("/statement", params=query).text


def test_the_clock_is_set_and_stepped(exchange: RunningExchange, control: httpx.Client) -> None:
    assert control.get("/clock").json() == {"now_ms": START_MS}
    assert control.post("/clock", json={"step_ms": 500}).json() == {"now_ms": START_MS + 500}
    assert control.post("/clock", json={"now_ms": START_MS + HOUR_MS}).json()["now_ms"] == exchange.now_ms
    sell(exchange)
    refused = control.post("/clock", json={"now_ms": START_MS})
    assert (refused.status_code, exchange.now_ms) == (400, START_MS + HOUR_MS)


def test_faults_are_injected_counted_and_forgotten(exchange: RunningExchange, control: httpx.Client) -> None:
    fault = {"fault": "TOO_MANY_REQUESTS", "times": 2, "path": "/order", "wait_seconds": 7}
    control.post("/faults", json=fault)
    assert sell(exchange)["code"] == -1003
    assert control.get("/faults").json() == {"TOO_MANY_REQUESTS": 1}
    assert control.delete("/faults").status_code == 200
    assert "orderId" in sell(exchange)
    assert control.get("/requests").json() == {"/fapi/v1/order": 2}


def test_what_happens_to_people_happens_on_demand(exchange: RunningExchange, control: httpx.Client) -> None:
    by_hand = {"key": KEY, "leg": "perp", "ticker": "BTC", "side": "sell", "qty": "0.2"}
    assert control.post("/foreign-orders", json=by_hand).json()["clientOrderId"].startswith("web_")
    control.post("/deleverage", json={"key": KEY, "ticker": "BTC", "fraction": 0.5})
    statement = control.get("/statement", params={"key": KEY}).json()
    assert Decimal(statement["positions"]["BTCUSDT"]["qty"]) == Decimal("-0.1")
    control.post("/halts", json={"leg": "perp", "ticker": "BTC", "on": True})
    assert sell(exchange)["code"] == -4108
    control.post("/halts", json={"leg": "perp", "ticker": "BTC", "on": False})
    control.post("/maintenance", json={"on": True})
    assert sell(exchange)["code"] == -1016
    control.post("/maintenance", json={"on": False})
    assert "orderId" in sell(exchange)
    control.post("/quote-price", json={"dollars": "0.97"})
    price = httpx.get(f"{exchange.url}/api/v3/ticker/price?symbol=USDCUSDT").json()["price"]
    assert float(price) == pytest.approx(1 / 0.97, rel=1e-3)


@pytest.mark.parametrize(
    ("path", "asked", "words"),
    [
        ("/faults", {"fault": "GREMLINS"}, "there are TOO_MANY_REQUESTS"),
        ("/faults", {"fault": "RESET", "when": "now"}, "when"),
        ("/halts", {"leg": "both", "ticker": "BTC", "on": True}, "there are spot, perp"),
        ("/halts", {"leg": "spot", "ticker": "BTC", "on": "yes"}, "true or false"),
        ("/accounts", {"key": KEY, "secret": SECRET}, "another key"),
        ("/accounts", {"secret": SECRET}, "key"),
        ("/accounts", {"key": "k", "secret": SECRET, "spot": ["USDT"]}, "amounts by coin"),
        ("/accounts", {"key": "k", "secret": SECRET, "spot": {"USDT": "-1"}}, "USDT must be a number from 0"),
        ("/accounts", {"key": "k", "secret": SECRET, "futures": "NaN"}, "futures must be a number"),
        ("/accounts", {"key": "k", "secret": SECRET, "withdraw": "no"}, "true or false"),
        ("/quote-price", {"dollars": "much"}, "dollars must be a number from 0, was 'much'"),
        ("/quote-price", {"dollars": 0}, "dollars must be a price from 0.001 to 1000, was 0"),
        ("/quote-price", {"dollars": "-1"}, "dollars must be a number from 0, was '-1'"),
        ("/quote-price", {}, "'dollars' is missing"),
        ("/faults", {"fault": "PARTIAL_FILL", "fraction": "half"}, "fraction must be a number, was 'half'"),
        ("/faults", {"fault": "PARTIAL_FILL", "fraction": 1.5}, "from 0 to 1"),
        ("/faults", {"fault": "RESET", "times": 0}, "times must be a whole number from 1"),
        ("/faults", {"fault": "RESET", "times": True}, "times must be a whole number"),
        ("/faults", {"fault": "RESET", "path": 7}, "path must be a text"),
        ("/clock", {"step_ms": "soon"}, "step_ms must be a whole number, was 'soon'"),
        ("/deleverage", {"key": KEY, "ticker": "BTC", "fraction": 2}, "from 0 to 1"),
        ("/halts", [1], "JSON object"),
        (
            "/foreign-orders",
            {"key": KEY, "leg": "spot", "ticker": "XYZ", "side": "buy", "qty": "1"},
            "symbol",
        ),
        (
            "/foreign-orders",
            {"key": "nobody", "leg": "spot", "ticker": "BTC", "side": "buy", "qty": "1"},
            "key",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_with_words(
    control: httpx.Client, path: str, asked: Any, words: str
) -> None:
    refused = control.post(path, json=asked)
    assert 400 <= refused.status_code < 500
    assert words in refused.json()["msg"]
    assert SECRET not in refused.text


def test_what_is_no_json_is_refused_and_not_repeated(control: httpx.Client) -> None:
    refused = control.post("/accounts", content=f'{{"key": "k", "secret": "{SECRET}')
    assert (refused.status_code, "JSON object" in refused.json()["msg"]) == (400, True)
    assert SECRET not in refused.text


def test_a_control_port_is_never_open_to_other_machines() -> None:
    with pytest.raises(SettingsError, match=r"exchange.host=127\.0\.0\.1"):
        start_exchange(TAPE, host="0.0.0.0", trading=TradingSettings(), control_port=0)  # noqa: S104
    with pytest.raises(SettingsError, match="leave it out"):
        start_exchange(TAPE, control_port=0)


def test_without_trading_nobody_trades_and_the_public_endpoints_are_as_they_were() -> None:
    with start_exchange(TAPE) as exchange:
        with pytest.raises(VenueError, match="TradingSettings"):
            exchange.open_account(KEY, SECRET, {}, Decimal(0))
        assert httpx.get(f"{exchange.url}/api/v3/account").json()["code"] == -5000
        assert httpx.get(f"{exchange.url}/stream.binance.com/ws").status_code == 404
        book = httpx.get(f"{exchange.url}/api/v3/depth?symbol=BTCUSDT").json()
        assert book["lastUpdateId"] == exchange.now_ms == TAPE.end_ms


def test_a_clock_runs_at_its_speed_and_stops_where_the_tape_ends() -> None:
    machine = [100.0]
    pace = Pace(START_MS, START_MS + 60_000, speed=30, machine=lambda: machine[0])
    assert (pace.now_ms(), pace.seconds(3000), pace.slowness) == (START_MS, 0.1, 30)
    machine[0] += 1.5
    assert pace.now_ms() == START_MS + 45_000
    pace.set(START_MS + 50_000)
    machine[0] += 0.125
    assert pace.now_ms() == START_MS + 53_750
    machine[0] += 10
    assert pace.now_ms() == START_MS + 60_000


def test_a_running_clock_begins_a_day_before_the_end_unless_it_is_told_when() -> None:
    with start_exchange(TAPE, speed=1) as exchange:
        assert 0 <= exchange.now_ms - (TAPE.end_ms - 24 * HOUR_MS) < 60_000
    with start_exchange(TAPE, speed=1, start_ms=START_MS) as exchange:
        assert 0 <= exchange.now_ms - START_MS < 60_000


def test_an_exchange_that_has_stopped_still_tells_what_was_traded(exchange: RunningExchange) -> None:
    exchange.open_account("another", SECRET, {"USDT": Decimal(5)}, Decimal(0))
    exchange.stop()
    assert exchange.floor_statement("another")["spot"]["USDT"]["free"] == "5"
    assert exchange.orders("another") == exchange.trades("another") == []
    with pytest.raises(httpx.ConnectError):
        asyncio.run(httpx.AsyncClient().get(exchange.url))

"""Binance's public protocol, as a client without ccxt sees it."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from carryflow.core.errors import VenueError
from carryflow.market.coins import COINS
from carryflow.market.schema import BAR_MS
from carryflow.market.synthetic import SyntheticSettings
from carryflow.venues.simulated.server import RunningExchange, start_exchange
from carryflow.venues.simulated.tape import synthetic_tape

TAPE = synthetic_tape(SyntheticSettings(hours=2000))
PERP = TAPE.tables["perp", "BTC"]
STAMPS = PERP["timestamp"].dt.epoch("ms").to_list()


@pytest.fixture(scope="module")
def exchange() -> Iterator[RunningExchange]:
    with start_exchange(TAPE) as running:
        yield running


def get(exchange: RunningExchange, path: str) -> tuple[int, Any]:
    try:
        with urlopen(exchange.url + path, timeout=10) as answer:  # noqa: S310 - our own loopback server
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v3/klines?interval=1h", 400, -1102),
        ("/api/v3/klines?symbol=BTCUSDT", 400, -1102),
        ("/api/v3/klines?symbol=XYZUSDT&interval=1h", 400, -1121),
        ("/fapi/v1/fundingRate?symbol=XYZUSDT", 400, -1121),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1w", 400, -1120),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=1501", 400, -1130),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1h&startTime=yesterday", 400, -1100),
        ("/fapi/v1/depth?symbol=BTCUSDT&limit=7", 400, -4021),
        ("/fapi/v1/nothing", 404, -5000),
    ],
)
def test_a_wrong_request_is_refused_in_binances_words(
    exchange: RunningExchange, path: str, status: int, code: int
) -> None:
    answered, body = get(exchange, path)
    assert (answered, body["code"]) == (status, code)
    assert body["msg"]


def test_pages_are_cut_at_binances_limits(exchange: RunningExchange) -> None:
    assert len(get(exchange, "/api/v3/klines?symbol=BTCUSDT&interval=1h")[1]) == 500
    assert len(get(exchange, "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=5000")[1]) == 1000
    assert len(get(exchange, "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=1500")[1]) == 1500
    assert len(get(exchange, "/fapi/v1/fundingRate?symbol=BTCUSDT")[1]) == 100
    assert len(get(exchange, "/fapi/v1/fundingRate?symbol=BTCUSDT&limit=1000")[1]) == 250


def test_a_page_begins_at_its_start_or_ends_at_its_end(exchange: RunningExchange) -> None:
    base = "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=3"
    opens = lambda query: [bar[0] for bar in get(exchange, base + query)[1]]  # noqa: E731
    assert opens("") == STAMPS[-3:]
    assert opens(f"&startTime={STAMPS[5]}") == STAMPS[5:8]
    assert opens(f"&startTime={STAMPS[5] + 1}") == STAMPS[6:9]
    assert opens(f"&endTime={STAMPS[5]}") == STAMPS[3:6]
    assert opens(f"&startTime={STAMPS[5]}&endTime={STAMPS[6] - 1}") == STAMPS[5:6]
    assert opens(f"&startTime={STAMPS[-1] + BAR_MS}") == []


@pytest.mark.pitfall("P01")
def test_settlements_are_stamped_a_few_milliseconds_late(exchange: RunningExchange) -> None:
    history = get(exchange, f"/fapi/v1/fundingRate?symbol=BTCUSDT&startTime={STAMPS[0]}&limit=1000")[1]
    late = [entry["fundingTime"] - stamp for entry, stamp in zip(history, STAMPS[::8], strict=True)]
    assert min(late) >= 0
    assert 0 < max(late) < 1000
    assert [float(e["fundingRate"]) for e in history] == PERP["funding_rate"].drop_nulls().to_list()
    assert [float(e["markPrice"]) for e in history] == PERP["mark_open"].to_list()[::8]


@pytest.mark.pitfall("P16")
def test_nothing_later_than_the_venues_clock_is_told(exchange: RunningExchange) -> None:
    now = STAMPS[100] + BAR_MS // 2
    exchange.set_clock(now)
    try:
        bars = get(exchange, "/fapi/v1/klines?symbol=BTCUSDT&interval=1h")[1]
        opened = PERP["open"][100]
        assert bars[-1][0] == STAMPS[100]
        assert {float(x) for x in bars[-1][1:5]} == {opened}
        assert float(bars[-1][5]) == 0
        assert float(bars[-2][4]) == PERP["close"][99]
        assert (
            get(exchange, "/fapi/v1/fundingRate?symbol=BTCUSDT")[1][-1]["fundingTime"] // BAR_MS
            == STAMPS[96] // BAR_MS
        )
        premium = get(exchange, "/fapi/v1/premiumIndex?symbol=BTCUSDT")[1]
        assert float(premium["markPrice"]) == PERP["mark_close"][99]
        assert premium["nextFundingTime"] == STAMPS[104]
        assert float(get(exchange, "/fapi/v1/ticker/price?symbol=BTCUSDT")[1]["price"]) == PERP["close"][99]
    finally:
        exchange.set_clock(TAPE.end_ms)


def test_the_book_starts_at_the_recorded_touch(exchange: RunningExchange) -> None:
    book = get(exchange, "/fapi/v1/depth?symbol=BTCUSDT&limit=20")[1]
    assert float(book["bids"][0][0]) == PERP["bid"][-1]
    assert float(book["asks"][0][0]) == PERP["ask"][-1]
    assert len(book["bids"]) == len(book["asks"]) == 20
    touch = get(exchange, "/api/v3/ticker/bookTicker")[1]
    assert {t["symbol"] for t in touch} == {f"{coin}USDT" for coin in COINS}


def test_a_port_in_use_is_a_one_line_error_that_names_it(exchange: RunningExchange) -> None:
    port = int(exchange.url.rsplit(":", 1)[1])
    with pytest.raises(VenueError, match=f"port {port} on 127.0.0.1 is in use") as caught:
        start_exchange(TAPE, port=port)
    assert "\n" not in str(caught.value)


def test_a_stopped_exchange_frees_its_port() -> None:
    first = start_exchange(TAPE)
    port = int(first.url.rsplit(":", 1)[1])
    first.stop()
    first.stop()
    with start_exchange(TAPE, port=port) as second:
        assert get(second, "/api/v3/ping") == (200, {})

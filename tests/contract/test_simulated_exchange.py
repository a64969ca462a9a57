"""Binance's public protocol, as a client without ccxt sees it."""

import asyncio
import json
from collections.abc import Iterator
from http.client import RemoteDisconnected
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import ccxt.async_support as ccxt
import numpy as np
import polars as pl
import pytest

from carryflow.core.errors import VenueError
from carryflow.core.leg import LEGS, Leg
from carryflow.market.coins import COINS
from carryflow.market.premium import settled_rate
from carryflow.market.schema import BAR_MS, TIMESTAMP
from carryflow.market.synthetic import SyntheticSettings
from carryflow.market.timeframe import Timeframe, bar_ms
from carryflow.venues.connection import redirect
from carryflow.venues.simulated.faults import Fault
from carryflow.venues.simulated.server import RunningExchange, start_exchange
from carryflow.venues.simulated.tape import Tape, synthetic_tape

TAPE = synthetic_tape(SyntheticSettings(hours=2000))
PERP, SPOT = TAPE.tables["perp", "BTC"], TAPE.tables["spot", "BTC"]
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
        ("/fapi/v1/markPriceKlines?symbol=BTCUSDT&interval=30m", 400, -1120),
        ("/fapi/v1/indexPriceKlines?symbol=BTCUSDT&interval=1h", 400, -1102),
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


@pytest.mark.parametrize("interval", ["2h", "4h", "6h", "8h", "12h", "1d"])
@pytest.mark.parametrize("leg", LEGS)
def test_longer_bars_are_the_tapes_bars_joined_where_their_length_divides_the_time(
    exchange: RunningExchange, leg: Leg, interval: Timeframe
) -> None:
    base = {"spot": "/api/v3", "perp": "/fapi/v1"}[leg]
    query = f"/klines?symbol=BTCUSDT&interval={interval}&limit=1000&startTime={STAMPS[0]}"
    answered = get(exchange, base + query)[1]
    joined = (
        TAPE.tables[leg, "BTC"]
        .group_by_dynamic("timestamp", every=interval)
        .agg(pl.first("open"), pl.max("high"), pl.min("low"), pl.last("close"), pl.sum("volume"))
    )
    assert [bar[0] for bar in answered] == joined["timestamp"].dt.epoch("ms").to_list()[:1000]
    for i, column in enumerate(("open", "high", "low", "close", "volume"), start=1):
        assert [float(bar[i]) for bar in answered] == pytest.approx(joined[column].to_list()[:1000])
    assert {bar[6] - bar[0] for bar in answered} == {bar_ms(interval) - 1}


def test_a_tape_of_minutes_plays_minutes_and_everything_longer() -> None:
    hours = {key: table.head(120) for key, table in TAPE.tables.items() if key[1] == "BTC"}
    stamps = pl.Series(STAMPS[0] + 60_000 * np.arange(120)).cast(TIMESTAMP)
    minutes = {key: table.with_columns(timestamp=stamps) for key, table in hours.items()}
    end = STAMPS[0] + 120 * 60_000
    with start_exchange(Tape("minutes", minutes, end, bar_ms=60_000)) as running:
        pages = [
            get(running, f"/api/v3/klines?symbol=BTCUSDT&interval={interval}")[1]
            for interval in ("1m", "3m", "5m", "15m", "30m", "1h", "2h")
        ]
        assert [len(page) for page in pages] == [120, 40, 24, 8, 4, 2, 1]
        hour = get(running, "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1")[1][0]
        assert float(hour[4]) == hours["spot", "BTC"]["close"][119]


@pytest.mark.pitfall("P06")
def test_index_and_premium_are_prices_of_their_own(exchange: RunningExchange) -> None:
    def ask(path: str) -> Any:
        bars = get(exchange, f"/fapi/v1/{path}&interval=1h&limit=50&startTime={STAMPS[0]}")[1]
        return np.array([[float(x) for x in bar[1:5]] for bar in bars])

    spot, perp = (leg.head(50) for leg in (SPOT, PERP))
    assert ask("indexPriceKlines?pair=BTCUSDT").tolist() == [
        list(row) for row in spot.select("open", "high", "low", "close").iter_rows()
    ]
    premium = ask("premiumIndexKlines?symbol=BTCUSDT")
    assert premium[:, 3] == pytest.approx((perp["close"] / spot["close"] - 1).to_numpy(), abs=1e-8)
    assert (premium[:, 1] == np.maximum(premium[:, 0], premium[:, 3])).all()
    assert np.abs(premium).max() < 0.01
    marks = ask("markPriceKlines?symbol=BTCUSDT")
    assert marks[:, 3].tolist() == perp["mark_close"].to_list()


@pytest.mark.pitfall("P06")
def test_an_index_and_a_prediction_that_were_recorded_are_played_instead() -> None:
    seen = pl.col("timestamp").rank("ordinal") > 40
    perp = PERP.head(50).with_columns(
        index_open=pl.when(seen).then(pl.col("open") * 1.01),
        index_close=pl.when(seen).then(pl.col("close") * 1.01),
        predicted_rate=pl.when(seen).then(0.000321),
    )
    tables: dict[tuple[Leg, str], pl.DataFrame] = {("spot", "BTC"): SPOT.head(50), ("perp", "BTC"): perp}
    with start_exchange(Tape("recorded", tables, STAMPS[50])) as running:
        query = "/fapi/v1/indexPriceKlines?pair=BTCUSDT&interval=1h"
        closes = [float(bar[4]) for bar in get(running, query)[1]]
        assert closes == [*SPOT["close"][:40], *perp["index_close"][40:]]
        told = get(running, "/fapi/v1/premiumIndex?symbol=BTCUSDT")[1]
        assert (float(told["lastFundingRate"]), float(told["indexPrice"])) == (0.000321, closes[-1])
        running.set_clock(STAMPS[40])
        told = get(running, "/fapi/v1/premiumIndex?symbol=BTCUSDT")[1]
        assert float(told["lastFundingRate"]) != 0.000321


@pytest.mark.pitfall("P06")
def test_while_spot_is_halted_there_is_no_index_and_a_perpetual_alone_has_none() -> None:
    tables: dict[tuple[Leg, str], pl.DataFrame] = {
        ("spot", "BTC"): SPOT.head(40),
        ("perp", "BTC"): PERP.head(50),
        ("perp", "ETH"): TAPE.tables["perp", "ETH"].head(50),
    }
    with start_exchange(Tape("halted", tables, STAMPS[50])) as running:
        for symbol, bars in {"BTCUSDT": 40, "ETHUSDT": 0}.items():
            index = get(running, f"/fapi/v1/indexPriceKlines?pair={symbol}&interval=1h")[1]
            assert len(index) == bars
            told = get(running, f"/fapi/v1/premiumIndex?symbol={symbol}")[1]
            assert told["indexPrice"] == told["lastFundingRate"] == ""


@pytest.mark.pitfall("P16")
def test_of_a_day_that_is_not_over_only_the_closed_hours_are_told(exchange: RunningExchange) -> None:
    exchange.set_clock(STAMPS[30] + BAR_MS // 2)  # half past six on the second day
    try:
        days = get(exchange, "/fapi/v1/klines?symbol=BTCUSDT&interval=1d")[1]
        closed = PERP[24:30]
        assert [day[0] for day in days] == STAMPS[:48:24]
        assert float(days[1][1]) == closed["open"][0]
        assert float(days[1][2]) == max(closed["high"].max(), PERP["open"][30])  # type: ignore[type-var]
        assert float(days[1][4]) == PERP["open"][30]
        assert float(days[1][5]) == pytest.approx(closed["volume"].sum())
    finally:
        exchange.set_clock(TAPE.end_ms)


@pytest.mark.pitfall("P04")
@pytest.mark.parametrize("hours_after", [1, 3, 7])
def test_the_predicted_rate_is_what_the_premium_since_the_last_settlement_leads_to(
    exchange: RunningExchange, hours_after: int
) -> None:
    premium = (PERP["close"] / SPOT["close"] - 1).to_numpy()
    exchange.set_clock(STAMPS[800 + hours_after])
    try:
        told = get(exchange, "/fapi/v1/premiumIndex?symbol=BTCUSDT")[1]
    finally:
        exchange.set_clock(TAPE.end_ms)
    by_hand = float(settled_rate(premium[800 : 800 + hours_after]))
    assert float(told["lastFundingRate"]) == pytest.approx(by_hand, abs=1e-8)
    assert told["nextFundingTime"] == STAMPS[808]


@pytest.mark.pitfall("P04")
def test_the_predicted_rate_comes_close_to_the_rate_that_then_settles(exchange: RunningExchange) -> None:
    settlements = range(16, 2000, 8)
    predicted = []
    try:
        for row in settlements:
            exchange.set_clock(STAMPS[row] - BAR_MS // 2)
            told = get(exchange, "/fapi/v1/premiumIndex?symbol=BTCUSDT")[1]
            predicted.append(float(told["lastFundingRate"]))
    finally:
        exchange.set_clock(TAPE.end_ms)
    settled = PERP["funding_rate"].to_numpy()[list(settlements)]
    before = PERP["funding_rate"].to_numpy()[[row - 8 for row in settlements]]
    assert np.abs(predicted - settled).mean() < 0.5 * np.abs(before - settled).mean()
    assert np.abs(predicted - settled).max() > 0  # the last hour's premium is not known yet


@pytest.mark.pitfall("P07")
def test_ccxt_reads_contract_size_steps_and_smallest_orders(exchange: RunningExchange) -> None:
    async def markets() -> tuple[Any, Any, Any]:
        spot = ccxt.binance({"options": {"fetchMarkets": {"types": ["spot"]}}})
        perp = ccxt.binanceusdm()
        try:
            for one in (spot, perp):
                one.urls["api"] = redirect(one.urls["api"], exchange.url)
                await one.load_markets()
            intervals = await perp.fetch_funding_intervals()
            return spot.markets["BTC/USDT"], perp.markets["BTC/USDT:USDT"], intervals
        finally:
            await spot.close()
            await perp.close()

    spot, perp, intervals = asyncio.run(markets())
    assert (spot["spot"], spot["precision"]["price"], spot["precision"]["amount"]) == (True, 0.1, 1e-06)
    assert (perp["linear"], perp["contractSize"], perp["settle"]) == (True, 1.0, "USDT")
    assert (perp["precision"]["price"], perp["precision"]["amount"]) == (0.1, 0.0001)
    assert [m["limits"]["cost"]["min"] for m in (spot, perp)] == [5.0, 5.0]
    assert [m["limits"]["amount"]["min"] for m in (spot, perp)] == [1e-06, 0.0001]
    assert perp["created"] == STAMPS[0]
    assert intervals["BTC/USDT:USDT"]["interval"] == "8h"


def test_a_venue_that_is_asked_too_often_says_how_long_to_wait(exchange: RunningExchange) -> None:
    for fault, status in {Fault.TOO_MANY_REQUESTS: 429, Fault.BANNED: 418}.items():
        exchange.inject(fault, wait_seconds=7)
        with pytest.raises(HTTPError) as refused:
            urlopen(exchange.url + "/fapi/v1/ping", timeout=10)  # noqa: S310
        assert refused.value.code == status
        assert refused.value.headers["Retry-After"] == "7"
        body = json.load(refused.value)
        assert body["code"] == -1003
        assert (str(exchange.now_ms + 7000) in body["msg"]) == (fault is Fault.BANNED)
        assert get(exchange, "/fapi/v1/ping") == (200, {})


def test_a_fault_happens_as_often_as_asked_and_only_where_asked(exchange: RunningExchange) -> None:
    exchange.inject(Fault.SERVER_ERROR, times=2, path="/klines")
    klines = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1"
    assert get(exchange, "/api/v3/ping")[0] == 200
    assert [get(exchange, klines)[0] for _ in range(3)] == [503, 503, 200]


def test_an_answer_can_be_cut_in_half_or_never_come(exchange: RunningExchange) -> None:
    klines = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=10"
    exchange.inject(Fault.TRUNCATED)
    with pytest.raises(json.JSONDecodeError):
        get(exchange, klines)
    exchange.inject(Fault.RESET)
    with pytest.raises((RemoteDisconnected, ConnectionResetError)):
        get(exchange, klines)
    assert len(get(exchange, klines)[1]) == 10


def test_a_skewed_clock_is_told_to_those_who_ask_for_the_time(exchange: RunningExchange) -> None:
    exchange.inject(Fault.SKEWED_CLOCK, skew_ms=-90_000)
    assert get(exchange, "/fapi/v1/ping") == (200, {})
    told = [get(exchange, "/fapi/v1/time")[1]["serverTime"] for _ in range(2)]
    assert told == [exchange.now_ms - 90_000, exchange.now_ms]


def test_requests_are_counted_by_path_whatever_the_answer(exchange: RunningExchange) -> None:
    before = exchange.requests
    exchange.inject(Fault.SERVER_ERROR)
    get(exchange, "/api/v3/time")
    get(exchange, "/api/v3/time")
    get(exchange, "/fapi/v1/klines?symbol=XYZUSDT&interval=1h")
    assert exchange.requests - before == {"/api/v3/time": 2, "/fapi/v1/klines": 1}

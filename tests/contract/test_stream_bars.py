"""Bars as they close, asked of the simulated exchange over HTTP: what streams equals what a fetch stores."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from carryflow.core.errors import CoverageError, RetryableError, SettingsError
from carryflow.core.leg import LEGS
from carryflow.env.feed import stream_feed
from carryflow.env.settings import EnvSettings
from carryflow.env.streaming import StreamingCryptoEnv
from carryflow.features.frame import build_frame
from carryflow.features.scaling import Scaler
from carryflow.features.spec import FeatureSettings
from carryflow.features.stream import FeatureStream
from carryflow.market.closed_bars import ClosedBar, recorded_bars
from carryflow.market.data import DataSettings
from carryflow.market.schema import BAR_MS
from carryflow.market.store import read_leg
from carryflow.market.synthetic import SyntheticSettings
from carryflow.venues.ccxt_market import VenueSettings, fetch_market
from carryflow.venues.connection import VenueConnection
from carryflow.venues.simulated.faults import Fault
from carryflow.venues.simulated.server import RunningExchange, start_exchange
from carryflow.venues.simulated.tape import Tape, synthetic_tape
from carryflow.venues.stream.blocking import blocking_bars
from carryflow.venues.stream.closed_bars import ClosedBars

HOURS = 216
TAPE = synthetic_tape(SyntheticSettings(hours=HOURS), ["BTC", "ETH"])
DATA = DataSettings(tickers=("BTC", "ETH"))
LIVE = 24
"""Hours that are streamed; those before are fetched."""


class ExchangeClock:
    """Live in the exchange's time: to wait is to let it pass there."""

    def __init__(self, exchange: RunningExchange) -> None:
        self._exchange = exchange

    def now_ms(self) -> int:
        return self._exchange.now_ms

    async def sleep(self, seconds: float) -> None:
        self._exchange.set_clock(self._exchange.now_ms + round(seconds * 1000))


@pytest.fixture(scope="module")
def shared_exchange() -> Iterator[RunningExchange]:
    with start_exchange(TAPE) as running:
        yield running


@pytest.fixture
def exchange(shared_exchange: RunningExchange) -> RunningExchange:
    shared_exchange.set_clock(hour(HOURS - LIVE))
    return shared_exchange


def hour(index: int, tape: Tape = TAPE) -> int:
    return tape.end_ms - (HOURS - index) * BAR_MS


def asking(exchange: RunningExchange) -> VenueSettings:
    return VenueSettings(url=exchange.url, retries=1, backoff_seconds=0.01)


async def brought(
    exchange: RunningExchange, data: DataSettings, first: int, last: int
) -> tuple[list[dict[str, ClosedBar]], list[dict[str, str]]]:
    """Stream from one hour to another; give the bars and what was missing, instant by instant."""
    async with VenueConnection(asking(exchange)) as connection:
        bars = ClosedBars(connection, data, ExchangeClock(exchange), hour(first), hour(last))
        found, missing = [], []
        async for one in bars:
            found.append(one)
            missing.append(bars.missing)
        return found, missing


@pytest.mark.pitfall("P18")
def test_features_streamed_are_those_of_the_batch_of_these_hours_to_the_last_bit(
    exchange: RunningExchange, tmp_path: Path
) -> None:
    streams = {ticker: FeatureStream(ticker, DATA) for ticker in DATA.tickers}
    fetch_market(tmp_path, asking(exchange), DATA)
    legs = {t: tuple(read_leg(tmp_path, leg, t) for leg in LEGS) for t in DATA.tickers}
    due = {t: streams[t].prime(*legs[t]) for t in DATA.tickers}
    assert set(due.values()) == {datetime.fromtimestamp(hour(HOURS - LIVE) / 1000, UTC)}

    async def stream() -> dict[str, list[pl.DataFrame]]:
        rows: dict[str, list[pl.DataFrame]] = {ticker: [] for ticker in DATA.tickers}
        async with VenueConnection(asking(exchange)) as connection:
            async for bars in ClosedBars(
                connection, DATA, ExchangeClock(exchange), hour(HOURS - LIVE), hour(HOURS - LIVE + 10)
            ):
                await asyncio.to_thread(fetch_market, tmp_path, asking(exchange), DATA)  # as each hour does
                for ticker, bar in bars.items():
                    row = streams[ticker].push(bar.spot, bar.perp)
                    assert row is not None
                    rows[ticker].append(row)
        return rows

    streamed = asyncio.run(stream())
    for ticker in DATA.tickers:
        spot, perp = (read_leg(tmp_path, leg, ticker) for leg in LEGS)
        batch = build_frame(spot, perp, ticker, DATA).tail(10)
        assert batch["Spread"].null_count() == 0
        assert pl.concat(streamed[ticker]).equals(batch)


def test_a_bar_comes_with_what_settled_at_its_close_and_the_next_one_says_it_again(
    exchange: RunningExchange,
) -> None:
    found, _ = asyncio.run(brought(exchange, DATA, HOURS - LIVE, HOURS - 1))
    played = recorded_bars(TAPE.tables["spot", "BTC"], TAPE.tables["perp", "BTC"])
    recorded = list(played)[HOURS - LIVE : HOURS - 1]
    assert [bars["BTC"].settlement for bars in found] == [bar.settlement for bar in recorded]
    assert [i for i, bars in enumerate(found) if bars["BTC"].settlement] == [7, 15]
    assert found[8]["BTC"].perp["funding_rate"] == found[7]["BTC"].settlement.rate
    assert [bars["BTC"].final for bars in found] == [False] * (LIVE - 2) + [True]


def test_bars_that_closed_before_come_at_once_and_without_the_books_of_now(exchange: RunningExchange) -> None:
    exchange.set_clock(hour(HOURS - 1) + 2_000)
    before = exchange.requests
    found, _ = asyncio.run(brought(exchange, DATA, HOURS - LIVE, HOURS - 1))
    asked = exchange.requests - before
    assert (asked["/api/v3/klines"], asked["/fapi/v1/fundingRate"]) == (2, 2)
    assert exchange.now_ms == hour(HOURS - 1) + 2_000
    tape = {row["timestamp"]: row for row in TAPE.tables["spot", "ETH"].to_dicts()}
    for bars in found:
        spot = bars["ETH"].spot
        assert spot is not None
        assert spot["close"] == tape[spot["timestamp"]]["close"]
    assert ["bid" in bars["ETH"].perp for bars in found] == [False] * (LIVE - 2) + [True]


@pytest.mark.pitfall("P05")
def test_what_the_venue_lacks_is_left_out_and_named_and_a_halt_of_spot_is_a_halt() -> None:
    at = HOURS - LIVE + 4
    index = pl.int_range(pl.len())
    perp, spot = TAPE.tables["perp", "BTC"], TAPE.tables["spot", "ETH"]
    unpaid = TAPE.tables["perp", "ETH"].with_columns(
        pl.when(index != HOURS - LIVE + 8).then("funding_rate").alias("funding_rate")
    )
    holed = {("perp", "BTC"): perp.filter(index != at), ("spot", "ETH"): spot.filter(index != at)}
    tables = dict(TAPE.tables) | holed
    with start_exchange(replace(TAPE, tables=tables)) as running:
        running.set_clock(hour(HOURS - LIVE))
        found, missing = asyncio.run(brought(running, DATA, HOURS - LIVE, HOURS - LIVE + 6))
    assert [sorted(bars) for bars in found] == [["BTC", "ETH"]] * 4 + [["ETH"]] + [["BTC", "ETH"]]
    assert missing[:4] == [{}] * 4
    assert "BTC: the venue has nothing of the perpetual of the bar of 2025-01-09 04:00" in missing[4]["BTC"]
    assert [bars["ETH"].spot is None for bars in found] == [False] * 4 + [True] + [False]
    with start_exchange(replace(TAPE, tables=dict(TAPE.tables) | {("perp", "ETH"): unpaid})) as running:
        running.set_clock(hour(HOURS - LIVE))
        found, missing = asyncio.run(brought(running, DATA, HOURS - LIVE, HOURS - LIVE + 9))
    assert [sorted(bars) for bars in found][7] == ["BTC"]
    assert "ETH: the venue has nothing of the settlement at the close" in missing[7]["ETH"]
    assert found[8]["ETH"].settlement is None


def test_an_instant_that_failed_is_asked_for_again(exchange: RunningExchange) -> None:
    async def stream() -> list[int]:
        opened = []
        async with VenueConnection(asking(exchange)) as connection:
            data = DataSettings(tickers=("BTC",))
            bars = ClosedBars(connection, data, ExchangeClock(exchange), hour(HOURS - LIVE))
            for _ in range(3):
                exchange.inject(Fault.SERVER_ERROR, times=2, path="/fapi/v1/klines")
                with pytest.raises(RetryableError, match="did not answer"):
                    await anext(bars)
                opened.append(to_hour(await anext(bars)))
        return opened

    assert asyncio.run(stream()) == [HOURS - LIVE, HOURS - LIVE + 1, HOURS - LIVE + 2]


def to_hour(bars: dict[str, ClosedBar]) -> int:
    opened = bars["BTC"].perp["timestamp"].timestamp() * 1000
    return HOURS - (TAPE.end_ms - round(opened)) // BAR_MS


def test_bars_longer_than_an_hour_are_refused(exchange: RunningExchange) -> None:
    connection = VenueConnection(asking(exchange))
    with pytest.raises(SettingsError, match="4h"):
        ClosedBars(connection, DataSettings(timeframe="4h"), ExchangeClock(exchange), 0)


def test_the_streaming_environment_lives_on_bars_that_close_at_a_venue(
    exchange: RunningExchange, tmp_path: Path
) -> None:
    fetch_market(tmp_path, asking(exchange), DATA)
    spot, perp = (read_leg(tmp_path, leg, "BTC") for leg in LEGS)
    awaited, _ = asyncio.run(brought(exchange, DATA, HOURS - LIVE, HOURS - 1))
    exchange.set_clock(hour(HOURS - LIVE))
    settings = EnvSettings()

    def lived(bars: Iterator[ClosedBar]) -> list[tuple[float, float]]:
        stream = FeatureStream(
            "BTC", DATA, FeatureSettings(lookback=4, names=("basis_bp", "funding_last_apr"))
        )
        stream.prime(spot, perp)
        scaler = Scaler(center=(0.0, 0.0), scale=(1.0, 1.0))
        env = StreamingCryptoEnv(stream_feed(stream, bars, scaler), settings)
        env.reset(seed=1)
        told, over = [], False
        while not over:
            _, reward, terminated, truncated, info = env.step(np.array([1.0], np.float32))
            told.append((reward, info["equity"]))
            over = terminated or truncated
        return told

    with blocking_bars(
        asking(exchange), DATA, ExchangeClock(exchange), hour(HOURS - LIVE), hour(HOURS - 1)
    ) as bars:
        streamed = lived(bars["BTC"])
    assert len(streamed) == LIVE - 1 - 4
    assert streamed == lived(bars["BTC"] for bars in awaited)


def test_each_ticker_has_its_own_blocking_iterator_and_loses_no_bar_to_the_others(
    exchange: RunningExchange,
) -> None:
    first, last = hour(HOURS - LIVE), hour(HOURS - LIVE + 3)
    with blocking_bars(asking(exchange), DATA, ExchangeClock(exchange), first, last) as bars:
        btc = [bar.perp["timestamp"] for bar in bars["BTC"]]
        eth = [bar.perp["timestamp"] for bar in bars["ETH"]]
        assert next(bars["ETH"], None) is None
    assert btc == eth == TAPE.tables["perp", "BTC"]["timestamp"][HOURS - LIVE : HOURS - LIVE + 3].to_list()


def test_a_feature_stream_whose_bar_was_left_out_says_so(exchange: RunningExchange, tmp_path: Path) -> None:
    fetch_market(tmp_path, asking(exchange), DATA)
    stream = FeatureStream("BTC", DATA)
    stream.prime(*(read_leg(tmp_path, leg, "BTC") for leg in LEGS))
    first, last = hour(HOURS - LIVE + 1), hour(HOURS - LIVE + 2)
    with blocking_bars(asking(exchange), DATA, ExchangeClock(exchange), first, last) as bars:
        bar = next(bars["BTC"])
    with pytest.raises(CoverageError, match="was due"):
        stream.push(bar.spot, bar.perp)

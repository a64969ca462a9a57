"""Fetching a market into the store, against asking the same of ccxt and throwing the answers away."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from carryflow.market.data import DataSettings
from carryflow.market.timeframe import Timeframe, bar_ms
from carryflow.venues.ccxt_market import VenueSettings, fetch_market

TICKERS = ("BTC", "ETH")
HOURS = 30_000
IN_FLIGHT = 8
PAGE = 1_000

SERVER = f"""
from carryflow.market.synthetic import SyntheticSettings
from carryflow.venues.simulated.server import serve_exchange
from carryflow.venues.simulated.tape import synthetic_tape
tape = synthetic_tape(SyntheticSettings(hours={HOURS}), {TICKERS})
serve_exchange(tape, "127.0.0.1", 0, lambda url: print(url, tape.end_ms, flush=True))
"""

Venue = tuple[str, int]


@pytest.fixture(scope="module")
def venue() -> Iterator[Venue]:
    """Address and clock of a simulated exchange in a process of its own."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url, end = server.stdout.readline().split()
        yield url, int(end)
        server.terminate()


def bare_ccxt(venue: Venue, tickers: tuple[str, ...], timeframe: Timeframe, folder: Path) -> None:
    """Ask for the same bars, marks, indices and settlements, eight at a time, and keep nothing."""
    import ccxt.async_support as ccxt

    from carryflow.venues.connection import redirect

    async def ask() -> int:
        exchange = ccxt.binance(
            {"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot", "linear"]}}}
        )
        exchange.urls["api"] = redirect(exchange.urls["api"], venue[0])
        await exchange.load_markets()
        places = asyncio.Semaphore(IN_FLIGHT)
        start, step = venue[1] - HOURS * 3_600_000, PAGE * bar_ms(timeframe)

        async def bars(symbol: str, since: int, price: dict[str, str]) -> int:
            async with places:
                until = {"until": min(since + step, venue[1]) - 1}
                return len(await exchange.fetch_ohlcv(symbol, timeframe, since, PAGE, price | until))

        async def funding(symbol: str, since: int) -> int:
            async with places:
                return len(await exchange.fetch_funding_rate_history(symbol, since, PAGE))

        jobs = []
        for ticker in tickers:
            perp = f"{ticker}/USDT:USDT"
            jobs += [funding(perp, at) for at in range(start, venue[1], PAGE * 8 * 3_600_000)]
            for since in range(start, venue[1], step):
                jobs.append(bars(f"{ticker}/USDT", since, {}))
                jobs += [bars(perp, since, p) for p in ({}, {"price": "mark"}, {"price": "index"})]
        found = await asyncio.gather(*jobs)
        await exchange.close()
        return sum(found)

    asyncio.run(ask())


def into_the_store(venue: Venue, tickers: tuple[str, ...], timeframe: Timeframe, folder: Path) -> None:
    data = DataSettings(tickers=tickers, timeframe=timeframe)
    snapshot = fetch_market(folder, VenueSettings(url=venue[0], requests_in_flight=IN_FLIGHT), data)
    assert snapshot.rows_new == 2 * len(tickers) * HOURS * 3_600_000 // bar_ms(timeframe)


@pytest.mark.benchmark(group="ingest of 2 tickers, 30 000 hours, 8 in flight, writing included")
@pytest.mark.parametrize("fetch", [bare_ccxt, into_the_store])
def test_ingest(
    fetch: Callable[[Venue, tuple[str, ...], Timeframe, Path], None],
    venue: Venue,
    benchmark: BenchmarkFixture,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    def fresh() -> tuple[tuple[object, ...], dict[str, object]]:
        return (venue, TICKERS, "1h", tmp_path_factory.mktemp("market")), {}

    benchmark.pedantic(fetch, setup=fresh, rounds=3, warmup_rounds=1)

"""From a decision to two acknowledged legs, against two bare orders that are sent at once."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

import ccxt.async_support as ccxt
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from carryflow.core.leg import Leg
from carryflow.execution.engine import Engine
from carryflow.execution.intents import Decision
from carryflow.execution.journal.journal import Journal
from carryflow.execution.journal.records import Identity, Mode
from carryflow.execution.limits.kill import KillSwitch
from carryflow.execution.market import Book, Mark
from carryflow.execution.orders import OrderReport, OrderRequest
from carryflow.execution.settings import ExecutionSettings, LimitSettings
from carryflow.venues.connection import redirect
from carryflow.venues.credentials import Credentials
from carryflow.venues.settings import VenueSettings
from carryflow.venues.trading.ccxt_trading import CcxtTradingVenue, open_trading
from carryflow.venues.trading.market_view import RestMarketView

ROUNDS = 150
WARM_UP = 160
"""More rounds than are measured, so that the journal's log has its size, as after the first minutes."""

SLOWEST = 1.3
CAPITAL = Decimal(20_000)
QTY = 0.15
KEYS = {"ours": "our-secret", "bare": "bare-secret"}

SERVER = f"""
import sys
from decimal import Decimal
from carryflow.market.synthetic import SyntheticSettings
from carryflow.venues.simulated.server import start_exchange
from carryflow.venues.simulated.tape import synthetic_tape
from carryflow.venues.simulated.trading.settings import TradingSettings
tape = synthetic_tape(SyntheticSettings(hours=48), ["BTC"])
plenty = TradingSettings(
    spot_orders_per_10s=10**9, perp_orders_per_10s=10**9,
    spot_weight_per_minute=10**9, perp_weight_per_minute=10**9,
)
start_ms = tape.end_ms - 7_200_000 + 60_000
with start_exchange(tape, trading=plenty, start_ms=start_ms, speed=1.0) as exchange:
    for key, secret in {KEYS!r}.items():
        exchange.open_account(key, secret, {{"USDT": Decimal(100_000), "BTC": Decimal(1)}}, Decimal(100_000))
    print(exchange.url, flush=True)
    sys.stdin.read()
"""


class HeldView:
    """Show what was seen last, as a feed does: from memory."""

    def __init__(self, view: RestMarketView) -> None:
        self._view = view
        self._seen: dict[str, Any] = {}

    async def look(self) -> None:
        """Look anew."""
        for leg in ("spot", "perp"):
            self._seen[leg] = await self._view.book(leg, "BTC")
        self._seen["mark"] = await self._view.mark("BTC")

    async def book(self, leg: Leg, ticker: str) -> Book:
        """Return the order book."""
        assert ticker == "BTC"
        book: Book = self._seen[leg]
        return book

    async def mark(self, ticker: str) -> Mark:
        """Return mark and funding."""
        assert ticker == "BTC"
        mark: Mark = self._seen["mark"]
        return mark

    async def quote_price(self) -> Decimal | None:
        """Return nothing: no market tells."""
        return None


class Timed:
    """Note when the venue has answered an order; all else is the venue's."""

    def __init__(self, venue: CcxtTradingVenue) -> None:
        self._venue = venue
        self.acknowledged = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._venue, name)

    async def submit(self, order: OrderRequest, valid_until_ms: int) -> OrderReport:
        """Send an order."""
        report = await self._venue.submit(order, valid_until_ms)
        self.acknowledged = time.perf_counter()
        return report


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Address of a simulated exchange in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()


@asynccontextmanager
async def bare_exchange(url: str, now_ms: Any) -> AsyncIterator[Any]:
    """Lend ccxt's own class, with nothing of ours between."""
    exchange = ccxt.binance({"apiKey": "bare", "secret": KEYS["bare"], "enableRateLimit": False})
    exchange.urls["api"] = redirect(exchange.urls["api"], url)
    exchange.options |= {"fetchCurrencies": False, "fetchMargins": False, "adjustForTimeDifference": False}
    exchange.options["fetchMarkets"] = {"types": ["spot", "linear"]}
    exchange.milliseconds = now_ms
    try:
        await exchange.load_markets()
        yield exchange
    finally:
        await exchange.close()


async def bare_pair(exchange: Any, view: HeldView, opens: bool) -> float:
    """Send both legs at once; return the seconds until both are acknowledged."""
    spot, perp = ("buy", "sell") if opens else ("sell", "buy")
    at = {
        leg: float((await view.book(leg, "BTC")).mid) * (1.002 if side == "buy" else 0.998)
        for leg, side in (("spot", spot), ("perp", perp))
    }
    begun = time.perf_counter()
    await asyncio.gather(
        exchange.create_order("BTC/USDT", "limit", spot, QTY, at["spot"], {"timeInForce": "IOC"}),
        exchange.create_order(
            "BTC/USDT:USDT",
            "limit",
            perp,
            QTY,
            at["perp"],
            {"timeInForce": "IOC", "reduceOnly": not opens},
        ),
    )
    return time.perf_counter() - begun


async def race(url: str, folder: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Let both open and close pairs in turns; return the seconds of each."""
    settings = ExecutionSettings(
        capital_quote=float(CAPITAL),
        reconcile_seconds=3_600.0,
        limits=LimitSettings(max_orders_per_minute=10**6, max_daily_loss=1.0),
    )
    connection = VenueSettings(name="simulated", url=url)
    credentials = Credentials("ours", KEYS["ours"])
    ours, bare = [], []
    async with open_trading(connection, ("BTC",), "USDT", credentials, sandbox=True) as venue:
        venue.connection.budget.hold = lambda _: None  # type: ignore[method-assign]  # not for a minute's end
        clock, timed = venue.clock, Timed(venue)
        view = HeldView(RestMarketView(venue.connection, "USDT", clock))
        identity = Identity(Mode.SANDBOX, "simulated", "USDT", ("BTC",), CAPITAL, 0.5, clock.now_ms())
        with Journal.open(folder / "journal.db", identity) as journal:
            await view.look()
            kill = KillSwitch(folder / "kill.json")
            engine = Engine(timed, view, journal, settings, ("BTC",), clock, print, kill)
            await engine.start()
            async with bare_exchange(url, clock.now_ms) as exchange:
                for number in range(rounds):
                    if number == WARM_UP:
                        await engine.reconcile()
                    opens = number % 2 == 0
                    await view.look()
                    now_ms = clock.now_ms()
                    fraction = 0.8 if opens else 0.0
                    decision = Decision(f"{number:016x}", "BTC", fraction, now_ms, now_ms + 60_000, "bench")
                    begun = time.perf_counter()
                    outcome = await engine.apply(decision)
                    assert outcome.action is not None, outcome.words
                    ours.append(timed.acknowledged - begun)
                    await view.look()
                    bare.append(await bare_pair(exchange, view, opens))
    return ours[WARM_UP:], bare[WARM_UP:]


@pytest.mark.benchmark(group="from a decision to two acknowledged legs, the journal's fsyncs included")
def test_a_hedged_pair_takes_hardly_longer_than_two_bare_orders_at_once(
    url: str, tmp_path: Path, benchmark: BenchmarkFixture
) -> None:
    if benchmark.disabled:
        asyncio.run(race(url, tmp_path, 12))
        pytest.skip("speeds are compared by make bench")
    ours, bare = asyncio.run(race(url, tmp_path, ROUNDS + WARM_UP))
    ratio = median(ours) / median(bare)
    for name, taken in (("the engine", ours), ("two bare orders at once", bare)):
        print(f"{name:28} {median(taken) * 1e3:8.3f} ms")  # noqa: T201
    print(f"{'ratio':28} {ratio:8.2f}")  # noqa: T201
    benchmark.extra_info["ratio"] = round(ratio, 2)
    benchmark.pedantic(lambda: None, rounds=1)
    assert ratio <= SLOWEST

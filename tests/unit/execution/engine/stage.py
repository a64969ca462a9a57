"""An engine on the simulated exchange over HTTP, whose clock moves only when somebody waits or steps it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from carryflow.core.costs import CostSettings
from carryflow.core.leg import LEGS
from carryflow.execution.engine import Engine
from carryflow.execution.intents import Decision
from carryflow.execution.journal.journal import Journal
from carryflow.execution.journal.records import Alert, Identity, Mode, Severity
from carryflow.execution.limits.kill import KillSwitch
from carryflow.execution.outcome import Outcome
from carryflow.execution.paper.venue import PaperVenue
from carryflow.execution.settings import ExecutionSettings
from carryflow.market.schema import PERP_COLUMNS, SPOT_COLUMNS, TIMESTAMP
from carryflow.venues.credentials import Credentials
from carryflow.venues.settings import VenueSettings
from carryflow.venues.simulated.server import RunningExchange
from carryflow.venues.simulated.tape import Tape
from carryflow.venues.trading.ccxt_trading import open_trading
from carryflow.venues.trading.market_view import RestMarketView

KEY, SECRET = "a-key-of-ours", "a-secret-of-ours"
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
FIRST_MS = 1_700_006_400_000
CAPITAL = Decimal(20_000)
PRICES = {"BTC": 50_000.0, "ETH": 2_000.0}


def tape_of(minutes: Sequence[float], basis: float = 0.0, flow_quote: float = 40e6) -> Tape:
    """Return minutes of both coins whose closes are these multiples of their first price, without funding.

    The perpetual stands apart from spot by `basis` (fraction of spot); `flow_quote` is traded in a minute.
    """
    tables = {}
    for ticker, price in PRICES.items():
        closes = [round(price * multiple, 1) for multiple in minutes]
        opens = [closes[0], *closes[:-1]]
        stamps = [FIRST_MS + i * MINUTE_MS for i in range(len(closes))]
        table = pl.DataFrame(
            {
                "timestamp": pl.Series(stamps, dtype=pl.Int64).cast(TIMESTAMP),
                "open": opens,
                "high": [max(pair) for pair in zip(opens, closes, strict=True)],
                "low": [min(pair) for pair in zip(opens, closes, strict=True)],
                "close": closes,
                "volume": [flow_quote / price] * len(closes),
                "bid": [close - 0.1 for close in closes],
                "ask": [close + 0.1 for close in closes],
                "bid_depth": [2e6] * len(closes),
                "ask_depth": [2e6] * len(closes),
            }
        )
        tables["spot", ticker] = _whole(table, SPOT_COLUMNS)
        prices = ("open", "high", "low", "close", "bid", "ask")
        apart = table.with_columns((pl.col(name) * (1 + basis)).round(1) for name in prices)
        marked = apart.with_columns(mark_open=pl.col("open"), mark_close=pl.col("close"))
        tables["perp", ticker] = _whole(marked, PERP_COLUMNS)
    return Tape("staged", tables, FIRST_MS + len(minutes) * MINUTE_MS, "USDT", MINUTE_MS)


def _whole(table: pl.DataFrame, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    missing = [pl.lit(None, dtype=kind).alias(name) for name, kind in columns.items() if name not in table]
    return table.with_columns(missing).select(*columns)


class SteppedClock:
    """Let the exchange's clock move by as much as somebody waits."""

    def __init__(self, exchange: RunningExchange) -> None:
        self.ahead_ms = 0
        self._exchange = exchange

    def now_ms(self) -> int:
        """Return the exchange's clock, or an earlier or later one."""
        return self._exchange.now_ms + self.ahead_ms

    async def sleep(self, seconds: float) -> None:
        """Step the exchange."""
        until_ms = self._exchange.now_ms + round(seconds * 1_000)
        await asyncio.sleep(0.001)
        self._exchange.step(max(until_ms - self._exchange.now_ms, 0))


@dataclass(slots=True)
class Stage:
    """Hold an engine that has started, and what it stands on."""

    engine: Engine
    venue: Any
    journal: Journal
    exchange: RunningExchange
    clock: SteppedClock
    kill: KillSwitch
    settings: ExecutionSettings
    view: Any
    alerts: list[Alert] = field(default_factory=list)
    decided: int = 0

    def when_it_waits(self, act: Callable[[], None]) -> None:
        """Do something when the engine next waits in its clock, as for an order that rests."""
        sleep, clock = self.clock.sleep, self.clock

        async def interrupted(seconds: float) -> None:
            clock.sleep = sleep  # type: ignore[method-assign]
            act()
            await sleep(seconds)

        clock.sleep = interrupted  # type: ignore[method-assign]

    async def decide(self, fraction: float, ticker: str = "BTC", valid_ms: int = HOUR_MS) -> Outcome:
        """Let the engine follow a new decision."""
        return await self.engine.apply(self.decision(fraction, ticker, valid_ms))

    def decision(self, fraction: float, ticker: str = "BTC", valid_ms: int = HOUR_MS) -> Decision:
        """Return a new decision."""
        now_ms = self.clock.now_ms()
        self.decided = number = max(self.decided, len(self.journal.decisions())) + 1
        return Decision(f"{number:016x}", ticker, fraction, now_ms, now_ms + valid_ms, "a test")

    @property
    def statement(self) -> dict[str, Any]:
        """Return what the exchange says there is."""
        return self.exchange.floor_statement(KEY)

    @property
    def calls(self) -> list[str]:
        """Return what persons were called for."""
        return [alert.words for alert in self.alerts if alert.severity is Severity.CRITICAL]

    def pair(self, ticker: str = "BTC") -> Any:
        """Return where a pair stands."""
        return next(pair for pair in self.engine.status().pairs if pair.ticker == ticker)

    def require_exact(self) -> None:
        """Hold the books to the exchange's statement, to the last unit."""
        there, books = self.statement, self.engine.books
        coins = {coin: Decimal(has["free"]) + Decimal(has["locked"]) for coin, has in there["spot"].items()}
        for ticker, book in books.pairs.items():
            assert book.spot_qty == coins.get(ticker, 0)
            position = there["positions"].get(ticker + "USDT")
            assert book.perp_qty == (0 if position is None else Decimal(position["qty"]))
        given = self.journal.opening()
        assert given is not None
        spot, futures = (sum(shares, Decimal(0)) for shares in zip(*given.allotment.values(), strict=True))
        assert books.spot_cash + given.balances.spot["USDT"] - spot == coins["USDT"]
        wallet = books.futures_wallet + float(given.balances.futures - futures)
        assert abs(wallet - float(there["futures"])) < 1e-8


@asynccontextmanager
async def staged(
    exchange: RunningExchange, folder: Path, settings: ExecutionSettings, tickers: tuple[str, ...] = ("BTC",)
) -> AsyncIterator[Stage]:
    """Start an engine on the journal of a folder; at the end let go of everything."""
    clock = SteppedClock(exchange)
    identity = Identity(
        Mode.SANDBOX, "simulated", "USDT", tickers, CAPITAL, settings.spot_share, clock.now_ms()
    )
    connection = VenueSettings(name="simulated", url=exchange.url, retries=0, request_timeout_seconds=1.0)
    async with open_trading(
        connection, tickers, "USDT", Credentials(KEY, SECRET), sandbox=True, clock=clock
    ) as venue:
        view = RestMarketView(venue.connection, "USDT", clock)
        with Journal.open(folder / "journal.db", identity) as journal:
            kill, alerts = KillSwitch(folder / "kill.json"), list[Alert]()
            engine = Engine(venue, view, journal, settings, tickers, clock, alerts.append, kill)
            stage = Stage(engine, venue, journal, exchange, clock, kill, settings, view, alerts)
            await engine.start()
            yield stage


@asynccontextmanager
async def staged_on_paper(
    exchange: RunningExchange, folder: Path, settings: ExecutionSettings
) -> AsyncIterator[Stage]:
    """Start an engine whose orders are filled on paper, by the books that the exchange shows."""
    clock = SteppedClock(exchange)
    identity = Identity(
        Mode.PAPER, "simulated", "USDT", ("BTC",), CAPITAL, settings.spot_share, clock.now_ms()
    )
    connection = VenueSettings(name="simulated", url=exchange.url, retries=0)
    async with open_trading(
        connection, ("BTC",), "USDT", Credentials(KEY, SECRET), sandbox=True, clock=clock
    ) as real:
        view = RestMarketView(real.connection, "USDT", clock)
        instruments = {(leg, "BTC"): real.instrument(leg, "BTC") for leg in LEGS}
        with Journal.open(folder / "journal.db", identity) as journal:
            costs = CostSettings(fee_in_base=True)
            venue = PaperVenue.resume(journal, view, instruments, costs, clock)
            kill, alerts = KillSwitch(folder / "kill.json"), list[Alert]()
            engine = Engine(venue, view, journal, settings, ("BTC",), clock, alerts.append, kill, costs=costs)
            stage = Stage(engine, venue, journal, exchange, clock, kill, settings, view, alerts)
            await engine.start()
            yield stage

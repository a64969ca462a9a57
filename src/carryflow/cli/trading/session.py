"""One session of the engine: venue, market, journal and policy put together, and taken apart again."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from carryflow.cli.trading.announcer import Announcer, ToldEngine
from carryflow.cli.trading.decisions import Decider
from carryflow.cli.trading.pace import paced
from carryflow.cli.trading.place import Place
from carryflow.cli.trading.policies import Policy
from carryflow.cli.trading.standings import Standings
from carryflow.core.leg import LEGS
from carryflow.execution.admission import require_clock, require_key
from carryflow.execution.engine import Engine
from carryflow.execution.journal import Journal
from carryflow.execution.kill import KillSwitch
from carryflow.execution.paper import PaperVenue
from carryflow.execution.ports import Clock, TradingVenue
from carryflow.execution.records import Identity, Mode
from carryflow.execution.settings import ExecutionSettings
from carryflow.market.timeframe import bar_ms
from carryflow.venues.accounts.known import ACCOUNTS
from carryflow.venues.ccxt_trading import open_trading
from carryflow.venues.clock import MachineClock, VenueClock, skew_ms
from carryflow.venues.connection import VenueConnection
from carryflow.venues.stream.closed_bars import ClosedBars
from carryflow.venues.stream.feed import VenueFeed, open_feed
from carryflow.venues.terms import contract_terms

if TYPE_CHECKING:
    from pathlib import Path

    from carryflow.settings import Settings
    from carryflow.venues.credentials import Credentials

FEED_SECONDS = 60.0
"""How long books and marks may take to be there (seconds of the machine)."""

REQUESTS_SECONDS = 1.0
"""Pause between two looks at what a person asks of the running engine (seconds of the machine)."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Say what a session is of.

    Attributes:
        settings: as resolved; the venue has an address.
        place: where its books are kept.
        venue_name: the venue as the journal names it.
        credentials: the key to trade with; None: paper, nothing is sent.
        protective: it only closes what there is, for which no clock is too far off.
    """

    settings: "Settings"
    place: Place
    venue_name: str
    credentials: "Credentials | None" = None
    protective: bool = False

    @property
    def tickers(self) -> tuple[str, ...]:
        """Name the coins."""
        return self.settings.data.tickers

    def identity(self, now_ms: int) -> Identity:
        """Return whose books they are, begun at an instant (UTC ms)."""
        settings = self.settings
        return Identity(
            self.place.mode,
            self.venue_name,
            settings.data.quote,
            self.tickers,
            Decimal(str(settings.execution.capital_quote)),
            settings.execution.spot_share,
            now_ms,
        )


@dataclass(frozen=True, slots=True)
class Session:
    """Hold an engine that has started, and what it lives in."""

    terms: Terms
    engine: Engine
    journal: Journal
    clock: Clock
    feed: VenueFeed
    connection: VenueConnection
    switch: KillSwitch


@asynccontextmanager
async def open_session(terms: Terms, announcer: Announcer) -> AsyncIterator[Session]:
    """Lend an engine that has found out what there is, and may trade.

    Raises:
        SettingsError: key, clock or account is not fit to trade, or the journal is of other money.
        VenueError: the venue does not answer, or streams nothing.
    """
    settings, quote = terms.settings, terms.settings.data.quote
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(VenueConnection(settings.venue))
        clock = await VenueClock.of(connection) if settings.venue.name == "simulated" else MachineClock()
        execution = paced(settings.execution, clock.speed)
        journal = stack.enter_context(Journal.open(terms.place.journal, terms.identity(clock.now_ms())))
        prepare = ACCOUNTS[settings.venue.name].enter_sandbox if terms.place.mode is Mode.SANDBOX else None
        feed = await stack.enter_async_context(
            open_feed(settings.venue, terms.tickers, quote, clock, prepare=prepare)
        )
        await feed.ready(FEED_SECONDS)
        venue = await stack.enter_async_context(_venue(terms, connection, feed, journal, clock))
        await _admit(terms, venue, clock, execution)
        switch = KillSwitch(terms.place.kill)
        engine = ToldEngine(
            venue, feed.view, journal, execution, terms.tickers, clock, announcer.alarm, switch,
            settings.env.costs, settings.env.margin,
        ).telling(announcer)  # fmt: skip
        await engine.start()
        yield Session(terms, engine, journal, clock, feed, connection, switch)


async def trade(
    session: Session,
    policy: Policy,
    announcer: Announcer,
    refetch: "Callable[[], Path]",
    first_bar_ms: int | None,
    hours: float | None,
) -> None:
    """Follow a policy until the hours are over or somebody interrupts; positions are kept.

    Args:
        session: the engine.
        policy: decides.
        announcer: tells a person.
        refetch: brings the stored history up to date.
        first_bar_ms: open of the first bar that the policy has not learned yet (UTC ms); None: the newest.
        hours: when to stop, hours of the venue's clock from now; None: never.

    Raises:
        CarryflowError: something is so wrong that nothing more may be sent.
    """
    settings, clock, stop = session.terms.settings, session.clock, asyncio.Event()
    length = bar_ms(settings.data.timeframe)
    opened = clock.now_ms() // length * length - length if first_bar_ms is None else first_bar_ms
    bars = ClosedBars(session.connection, settings.data, clock, opened)
    standings = Standings(session.engine, session.journal)
    decider = Decider(policy, standings.of, clock, length, announcer.held, refetch)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    uninstall = session.switch.install(loop, clock)
    beside = [asyncio.create_task(_serve_requests(session))]
    if hours is not None:
        beside.append(asyncio.create_task(_stop_after(clock, hours, stop)))
    announcer.follow(session)
    try:
        await session.engine.run(decider.decisions(bars), stop)
    finally:
        uninstall()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await announcer.close()


async def _stop_after(clock: Clock, hours: float, stop: asyncio.Event) -> None:
    await clock.sleep(hours * 3600)
    stop.set()


async def _serve_requests(session: Session) -> None:
    """Do what persons ask of the running engine."""
    while True:
        for ticker, reason in session.terms.place.requests():
            if ticker in session.terms.tickers:
                await session.engine.resume(ticker, reason)
        await asyncio.sleep(REQUESTS_SECONDS)


@asynccontextmanager
async def _venue(
    terms: Terms, connection: VenueConnection, feed: VenueFeed, journal: Journal, clock: Clock
) -> AsyncIterator[TradingVenue]:
    """Lend the venue to trade at: an imagined one without a key."""
    settings = terms.settings
    if terms.credentials is None:
        instruments = {
            (leg, ticker): contract_terms(
                connection, connection.symbol(leg, ticker, settings.data.quote), None, clock.now_ms()
            ).instrument
            for ticker in terms.tickers
            for leg in LEGS
        }
        yield PaperVenue.resume(journal, feed.view, instruments, settings.env.costs, clock)
        return
    async with open_trading(
        settings.venue,
        terms.tickers,
        settings.data.quote,
        terms.credentials,
        sandbox=terms.place.mode is Mode.SANDBOX,
        clock=clock,
    ) as venue:
        yield venue


async def _admit(terms: Terms, venue: TradingVenue, clock: Clock, execution: ExecutionSettings) -> None:
    """Refuse a key that can withdraw or cannot trade, and a clock that is off.

    Raises:
        SettingsError: it is.
    """
    require_key(terms.place.mode, await venue.permissions())
    if not terms.protective:
        require_clock(await skew_ms(venue, clock), execution)

"""One session of the engine: venue, market, journal and policy put together, and taken apart again."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from carryflow.cli.trading.announcer import Announcer, ToldEngine
from carryflow.cli.trading.companions import accompany, serve_requests, watch_silence
from carryflow.cli.trading.decisions import Decider
from carryflow.cli.trading.pace import paced
from carryflow.cli.trading.place import Place
from carryflow.cli.trading.policies import Policy
from carryflow.cli.trading.standings import Standings
from carryflow.core.leg import LEGS
from carryflow.execution.alerts import Alarm
from carryflow.execution.engine import Engine
from carryflow.execution.journal.journal import Journal
from carryflow.execution.journal.records import Identity, Mode
from carryflow.execution.limits.admission import require_clock, require_key
from carryflow.execution.limits.kill import KillSwitch
from carryflow.execution.paper.venue import PaperVenue
from carryflow.execution.ports import Clock, MarketView, TradingVenue
from carryflow.execution.settings import ExecutionSettings
from carryflow.market.timeframe import bar_ms
from carryflow.venues.budget import Priority, RequestBudget
from carryflow.venues.clock import CorrectedClock, MachineClock, VenueClock, skew_ms
from carryflow.venues.connection import VenueConnection
from carryflow.venues.stream.backed_view import BackedView
from carryflow.venues.stream.closed_bars import ClosedBars
from carryflow.venues.stream.feed import VenueFeed, open_feed
from carryflow.venues.terms import contract_terms
from carryflow.venues.trading.accounts.known import ACCOUNTS
from carryflow.venues.trading.ccxt_trading import CcxtTradingVenue, open_trading
from carryflow.venues.trading.market_view import RestMarketView

if TYPE_CHECKING:
    from pathlib import Path

    from carryflow.settings import Settings
    from carryflow.venues.credentials import Credentials

FEED_SECONDS = 60.0
"""How long books and marks may take to be there (seconds of the machine)."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Say what a session is of.

    Attributes:
        settings: as resolved; the venue has an address.
        place: where its books are kept.
        venue_name: the venue as the journal names it.
        credentials: the key to trade with; None: paper, nothing is sent.
        protective: it only closes what there is, for which no clock is too far off, and no feed is needed.
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

    @property
    def in_sandbox(self) -> bool:
        """Say whether it is the venue's test network that is traded on."""
        return self.place.mode is Mode.SANDBOX

    @property
    def prepare(self) -> Callable[[Any], None] | None:
        """Return what leads a ccxt exchange to the network that is traded on; None: it is there."""
        return ACCOUNTS[self.settings.venue.name].enter_sandbox if self.in_sandbox else None

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
async def open_session(
    terms: Terms, announcer: Announcer, clock: Clock | None = None
) -> AsyncIterator[Session]:
    """Lend an engine that has found out what there is, and may trade.

    Args:
        terms: what it is of.
        announcer: tells a person.
        clock: ours; by default this machine's, or the simulated exchange's.

    Raises:
        SettingsError: key, clock or account is not fit to trade, or the journal is of other money.
        VenueError: the venue does not answer, or streams nothing.
    """
    settings, quote = terms.settings, terms.settings.data.quote
    async with AsyncExitStack() as stack:
        clock = clock or await _clock(settings)
        if terms.protective:
            clock = await _put_right(terms, clock)
        execution = paced(settings.execution, getattr(clock, "speed", 1.0))
        journal = stack.enter_context(Journal.open(terms.place.journal, terms.identity(clock.now_ms())))
        trading = await stack.enter_async_context(_trading(terms, clock))
        budget = RequestBudget(settings.venue.requests_in_flight)
        if trading is not None:
            budget = trading.connection.budget  # one for all that asks the venue
        connection = await stack.enter_async_context(VenueConnection(settings.venue, budget=budget))
        feed = await stack.enter_async_context(
            open_feed(
                settings.venue,
                terms.tickers,
                quote,
                clock,
                settings=settings.feed,
                prepare=terms.prepare,
                budget=budget,
            )
        )
        if not terms.protective:
            await feed.ready(FEED_SECONDS)
        asked = connection if trading is None else trading.connection
        market = BackedView(
            feed.view,
            RestMarketView(asked, quote, clock, Priority.ORDER),
            clock,
            execution.limits.max_feed_age_seconds,
        )
        venue = trading or _imagined(terms, connection, market, journal, clock, announcer.alarm)
        await _admit(terms, venue, clock, execution)
        switch = KillSwitch(terms.place.kill)
        engine = ToldEngine(
            venue, market, journal, execution, terms.tickers, clock, announcer.alarm, switch,
            settings.env.costs, settings.env.margin,
        ).telling(announcer)  # fmt: skip
        if not terms.protective:
            stack.callback(switch.install(asyncio.get_running_loop(), clock))
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
    works = [serve_requests(session), watch_silence(session, announcer)]
    if hours is not None:
        works.append(clock.sleep(hours * 3600))
    beside = [asyncio.create_task(accompany(work, session, announcer, stop)) for work in works]
    announcer.follow(session)
    try:
        await session.engine.run(decider.decisions(bars), stop)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        for task in beside:
            task.cancel()
        ended = await asyncio.gather(*beside, return_exceptions=True)
        await announcer.close()
    for failure in ended:
        if isinstance(failure, Exception):
            raise failure


async def _clock(settings: "Settings") -> MachineClock | VenueClock:
    """Return the time that the venue lives in: that of a simulated exchange, or this machine's."""
    if settings.venue.name != "simulated":
        return MachineClock()
    async with VenueConnection(settings.venue) as connection:
        return await VenueClock.of(connection)


async def _put_right(terms: Terms, clock: Clock) -> CorrectedClock:
    """Return a clock that agrees with the venue's, by which it takes what is signed.

    Raises:
        VenueError: it did not tell.
    """
    async with VenueConnection(terms.settings.venue, prepare=terms.prepare) as connection:
        return CorrectedClock(clock, await skew_ms(connection, clock))


@asynccontextmanager
async def _trading(terms: Terms, clock: Clock) -> AsyncIterator[CcxtTradingVenue | None]:
    """Lend the venue to trade at; None without a key: it is imagined."""
    if terms.credentials is None:
        yield None
        return
    settings = terms.settings
    async with open_trading(
        settings.venue,
        terms.tickers,
        settings.data.quote,
        terms.credentials,
        sandbox=terms.in_sandbox,
        clock=clock,
    ) as venue:
        yield venue


def _imagined(
    terms: Terms,
    connection: VenueConnection,
    market: MarketView,
    journal: Journal,
    clock: Clock,
    alarm: Alarm,
) -> PaperVenue:
    """Return a venue that fills orders from the books that are seen, as the journal left it."""
    settings = terms.settings
    instruments = {
        (leg, ticker): contract_terms(
            connection, connection.symbol(leg, ticker, settings.data.quote), None, clock.now_ms()
        ).instrument
        for ticker in terms.tickers
        for leg in LEGS
    }
    return PaperVenue.resume(journal, market, instruments, settings.env.costs, clock, alarm)


async def _admit(terms: Terms, venue: TradingVenue, clock: Clock, execution: ExecutionSettings) -> None:
    """Refuse a key that can withdraw or cannot trade, and a clock that is off.

    Raises:
        SettingsError: it is.
    """
    require_key(terms.place.mode, await venue.permissions())
    if not terms.protective:
        require_clock(await skew_ms(venue, clock), execution)

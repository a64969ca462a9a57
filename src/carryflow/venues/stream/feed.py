"""Books, marks and order events as a venue streams them, kept alive."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import numpy as np

from carryflow.core.errors import RetryableError
from carryflow.core.leg import LEGS, Leg
from carryflow.execution.market import Mark
from carryflow.execution.ports import Clock
from carryflow.venues.budget import RequestBudget
from carryflow.venues.credentials import Credentials
from carryflow.venues.settings import VenueSettings
from carryflow.venues.stream.backoff import Backoff
from carryflow.venues.stream.channel import Channel
from carryflow.venues.stream.connection import STREAMS_MARKS, StreamConnection
from carryflow.venues.stream.health import FeedHealth, StreamKind, StreamState
from carryflow.venues.stream.marks import polled_mark, streamed_mark
from carryflow.venues.stream.quote import dollar_market, quote_in_dollars
from carryflow.venues.stream.settings import FeedSettings
from carryflow.venues.stream.silence import watch_silence
from carryflow.venues.stream.tap import Tap
from carryflow.venues.stream.trouble import diagnosis, is_cancelled
from carryflow.venues.stream.view import FeedView

STEADY_SECONDS = 5.0
"""How long a market must have been there for the next loss to count as the first."""

UNDATED_SECONDS = 1.0
"""How long a snapshot without a date, as Binance's of spot are, waits for a message that follows it."""

_DEFAULTS = FeedSettings()

OrderListener = Callable[[str], None]
"""Told our name for an order to which, as the venue says, something happened; what, it must be asked."""


@asynccontextmanager
async def open_feed(
    venue: VenueSettings,
    tickers: Sequence[str],
    quote: str,
    clock: Clock,
    credentials: Credentials | None = None,
    *,
    settings: FeedSettings = _DEFAULTS,
    jitter: np.random.Generator | None = None,
    prepare: Callable[[Any], None] | None = None,
    budget: RequestBudget | None = None,
    on_order: OrderListener | None = None,
) -> "AsyncIterator[VenueFeed]":
    """Lend a feed of both legs of these tickers; it is not there at once: see `VenueFeed.ready`.

    Args:
        venue: which one, and how patiently its REST is asked.
        tickers: coins of which both legs must be listed.
        quote: coin that prices are in.
        clock: the engine's; says when something was seen.
        credentials: the key of an account whose order events are wanted.
        settings: how the feed is kept alive.
        jitter: draws the random part of waits.
        prepare: gets ccxt's exchange as it was made, to lead it to a sandbox, say.
        budget: the requests that are shared with whoever else asks this venue.
        on_order: told of every event of the account's orders; a wake-up, not the truth.

    Raises:
        SettingsError: the venue has no address.
        UnknownTickerError: the venue does not list both legs of a ticker.
        VenueError: it did not answer when its markets were asked for.
    """
    markets = len(tickers) + 1
    async with StreamConnection(venue, settings, markets, prepare=prepare, budget=budget) as connection:
        connection.require_listed(tuple(tickers), quote)
        if credentials is not None:
            credentials.sign_in(connection.exchange)
            connection.exchange.nonce = clock.now_ms  # what is signed carries the venue's time
        generator = np.random.default_rng() if jitter is None else jitter
        feed = VenueFeed(connection, tickers, quote, clock, settings, generator, credentials)
        feed.start(on_order if credentials is not None else None)
        try:
            yield feed
        finally:
            await feed.close()


class VenueFeed:
    """Keep the newest book of both legs, and the mark, of some tickers.

    A book of which a message is missing is not shown again until a new snapshot has come. A connection that
    is lost, or silent, is made anew, later and later; so is whatever the venue refuses. Nothing that goes
    wrong here stops the feed: `health` tells.

    Attributes:
        view: the market as the feed sees it.

    """

    def __init__(
        self,
        connection: StreamConnection,
        tickers: Sequence[str],
        quote: str,
        clock: Clock,
        settings: FeedSettings,
        jitter: np.random.Generator,
        credentials: Credentials | None = None,
    ) -> None:
        """Watch nothing yet; the connection is open. The credentials are kept out of what `health` says."""
        self._connection = connection
        self._exchange = connection.exchange
        self._clock = clock
        self._settings = settings
        self._jitter = jitter
        self._credentials = credentials
        self._tasks: list[asyncio.Task[None]] = []
        self._tap = Tap(self._exchange, self._take)
        self._books = {
            (leg, ticker): Channel(StreamKind.BOOK, leg, ticker, connection.symbol(leg, ticker, quote))
            for ticker in tickers
            for leg in LEGS
        }
        self._marks = {
            ticker: Channel(StreamKind.MARK, "perp", ticker, connection.symbol("perp", ticker, quote))
            for ticker in tickers
        }
        market = dollar_market(self._exchange.markets, quote)
        self._quote = None if market is None else Channel(StreamKind.QUOTE, None, quote, market)
        self._orders: list[Channel] = []
        self.view = FeedView(self._books, self._marks, self._quote, self._sizes())

    def start(self, on_order: OrderListener | None) -> None:
        """Begin to watch, and to listen for order events if somebody wants them."""
        exchange = self._exchange
        for channel in self._books.values():
            self._keep(channel, lambda one: self._tap.watch(one, exchange.watch_order_book, one.symbol))
        for channel in self._marks.values():
            if self._connection.settings.name in STREAMS_MARKS:
                self._keep(channel, self._watch_mark)
            else:
                self._keep(channel, lambda one: self._poll(one, self._ask_mark))
        if self._quote is not None:
            self._keep(self._quote, lambda one: self._poll(one, self._ask_quote))
        if on_order is not None:
            kinds: dict[Leg, str] = {"spot": "spot", "perp": "swap"}
            self._orders = [Channel(StreamKind.ORDERS, leg, "account", kinds[leg]) for leg in LEGS]
            for channel in self._orders:
                self._keep(channel, lambda one: self._listen(one, on_order))
        silence = watch_silence(self._watched(), self._tap, self._clock, self._settings.silence_seconds)
        self._tasks.append(asyncio.create_task(silence, name="feed: silence"))

    async def ready(self, seconds: float) -> None:
        """Return once all books and marks are there.

        Raises:
            RetryableError: some are not after so many seconds (this machine's); they are named.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while waiting := [one for one in self._watched() if one.state is not StreamState.LIVE]:
            if loop.time() > until:
                named = ", ".join(one.name for one in waiting[:3])
                more = f" and {len(waiting) - 3} more" if len(waiting) > 3 else ""
                why = next((health.trouble for one in waiting if (health := one.health()).trouble), "silence")
                raise RetryableError(
                    f"{self._connection.settings.name} streams nothing of {named}{more} after {seconds:g} s "
                    f"({why}); look at the venue's status and at the connection"
                )
            await asyncio.sleep(0.02)

    def health(self) -> FeedHealth:
        """Tell how every market is doing."""
        return FeedHealth(tuple(one.health() for one in (*self._watched(), *self._orders)))

    async def close(self) -> None:
        """Stop watching, close the sockets, and leave no task; a second call does nothing."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in (*self._watched(), *self._orders):
            channel.lose(StreamState.CLOSED, "")
        await self._tap.close()

    def _watched(self) -> list[Channel]:
        quote = [] if self._quote is None else [self._quote]
        return [*self._books.values(), *self._marks.values(), *quote]

    def _sizes(self) -> dict[tuple[Leg, str], Decimal]:
        """Return the base coins that a size of one stands for in each book."""
        counted = self._connection.dialect.sizes_in_contracts
        sizes: dict[tuple[Leg, str], Decimal] = {}
        for (leg, ticker), channel in self._books.items():
            market = self._exchange.market(channel.symbol)
            sizes[leg, ticker] = (
                Decimal(str(market["contractSize"])) if counted and leg == "perp" else Decimal(1)
            )
        return sizes

    def _keep(self, channel: Channel, watch: Callable[[Channel], Awaitable[None]]) -> None:
        name = f"feed: {channel.name}"
        self._tasks.append(asyncio.create_task(self._keep_alive(channel, watch), name=name))

    async def _keep_alive(self, channel: Channel, watch: Callable[[Channel], Awaitable[None]]) -> None:
        """Watch one market for ever: whatever goes wrong, wait a little, and begin again."""
        settings = self._settings
        backoff = Backoff(self._jitter, settings.backoff_seconds, settings.longest_backoff_seconds)
        while True:
            channel.begin(self._clock.now_ms())
            try:
                await watch(channel)
                state, words = StreamState.RECONNECTING, "the venue ended it"
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                state, words = StreamState.RECONNECTING, "the connection was closed"  # ccxt cancels its own
            except Exception as error:
                state, words = diagnosis(error, self._credentials)
            if channel.steady_for(STEADY_SECONDS):
                backoff.reset()
            channel.lose(state, words)
            await asyncio.sleep(backoff.next_seconds())

    def _take(self, channel: Channel, value: Any) -> None:
        """Take what came over a socket."""
        now_ms = self._clock.now_ms()
        if channel.kind is StreamKind.MARK:
            mark = streamed_mark(channel.ticker, value, now_ms)
            channel.take(mark, mark.seen_ms, now_ms)
        elif self._exchange.orderbooks.get(channel.symbol) is not value:
            return  # of a subscription that was given up
        elif value["timestamp"] is None:
            asyncio.get_running_loop().call_later(UNDATED_SECONDS, self._take_undated, channel, value)
        else:
            if (
                len(value["bids"]) > 2 * self._settings.levels
                or len(value["asks"]) > 2 * self._settings.levels
            ):
                value.limit()
            channel.take(value, value["timestamp"], now_ms)

    def _take_undated(self, channel: Channel, book: Any) -> None:
        """Take a snapshot that does not say how old it is, and that no message has moved on since.

        A message that follows it proves that it was new; one that does not is a gap. Where none comes at all,
        it is taken for new.
        """
        untouched = book["timestamp"] is None and self._exchange.orderbooks.get(channel.symbol) is book
        if untouched and self._tasks:
            channel.take(book, None, self._clock.now_ms())

    async def _watch_mark(self, channel: Channel) -> None:
        """Ask for the mark once, and listen from then on."""
        await self._ask(channel, self._ask_mark)
        await self._tap.watch(channel, self._exchange.watch_mark_price, channel.symbol)

    async def _poll(self, channel: Channel, ask: Callable[[Channel], Awaitable[object]]) -> None:
        """Ask over REST, again and again, as time passes by both clocks: limits are kept by the venue's."""
        while True:
            asked_ms = self._clock.now_ms()
            await self._ask(channel, ask)
            await asyncio.sleep(self._settings.poll_seconds)
            while self._clock.now_ms() - asked_ms < self._settings.poll_seconds * 1000:
                await asyncio.sleep(self._settings.poll_seconds)

    async def _ask(self, channel: Channel, ask: Callable[[Channel], Awaitable[object]]) -> None:
        before_ms = self._clock.now_ms()
        value = await ask(channel)
        channel.take(value, before_ms, self._clock.now_ms())

    async def _ask_mark(self, channel: Channel) -> Mark:
        seen_ms = self._clock.now_ms()
        rate = await self._connection.ask(self._exchange.fetch_funding_rate, channel.symbol)
        return polled_mark(channel.ticker, rate, seen_ms, predicts=self._connection.dialect.predicts)

    async def _ask_quote(self, channel: Channel) -> Decimal:
        book = await self._connection.ask(self._exchange.fetch_order_book, channel.symbol, 5)
        return quote_in_dollars(channel.symbol, channel.ticker, book)

    async def _listen(self, channel: Channel, on_order: OrderListener) -> None:
        """Tell of each order of which the venue tells."""
        watch = self._exchange.watch_orders
        while True:
            orders = await self._tap.listen(channel, watch, None, None, None, {"type": channel.symbol})
            channel.take(len(orders), None, self._clock.now_ms())
            for name in dict.fromkeys(order["clientOrderId"] for order in orders):
                if name is not None:
                    on_order(str(name))

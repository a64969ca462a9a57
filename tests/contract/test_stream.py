"""ccxt.pro's own sockets against the simulated exchange: books that are right, or not shown."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from carryflow.core.errors import RetryableError, UnknownTickerError
from carryflow.core.leg import LEGS, Leg
from carryflow.execution.market import Book
from carryflow.execution.ports import Clock
from carryflow.market.synthetic import SyntheticSettings
from carryflow.venues.clock import VenueClock
from carryflow.venues.connection import VenueConnection
from carryflow.venues.credentials import Credentials
from carryflow.venues.settings import VenueSettings
from carryflow.venues.simulated.faults import Fault
from carryflow.venues.simulated.server import RunningExchange, start_exchange
from carryflow.venues.simulated.tape import synthetic_tape
from carryflow.venues.simulated.trading.settings import TradingSettings
from carryflow.venues.stream.backed_view import BackedView
from carryflow.venues.stream.feed import VenueFeed, open_feed
from carryflow.venues.stream.health import StreamHealth, StreamKind, StreamState
from carryflow.venues.stream.settings import FeedSettings
from carryflow.venues.trading.market_view import open_market_view

TAPE = synthetic_tape(SyntheticSettings(hours=300), ["BTC", "ETH"])
START_MS = TAPE.end_ms - 48 * 3_600_000
TICKERS = ("BTC", "ETH")
QUICK = FeedSettings(backoff_seconds=0.02, longest_backoff_seconds=0.2, poll_seconds=0.1)
KEY = Credentials("stream-key", "stream-secret")

Live = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


@pytest.fixture(scope="module")
def standing() -> Iterator[RunningExchange]:
    with start_exchange(TAPE, trading=TradingSettings(), start_ms=START_MS) as exchange:
        yield exchange


@pytest.fixture
def stepped(standing: RunningExchange) -> RunningExchange:
    """An exchange whose clock stands until it is stepped; a minute later, for limits are of minutes."""
    standing.clear_faults()
    standing.step(60_000)
    return standing


@pytest.fixture(scope="module")
def running() -> Iterator[RunningExchange]:
    """An exchange whose clock runs."""
    with run_at(0) as exchange:
        yield exchange


@pytest.fixture
def live() -> Live:
    """Run what a feed goes through; no task may be left, and no error with nobody to hear it."""

    def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        unheard: list[dict[str, Any]] = []

        async def guarded() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, what: unheard.append(what))
            await asyncio.wait_for(main(), 60)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not {task for task in left if "guarded" not in repr(task)}

        asyncio.run(guarded())
        assert not unheard

    return run


@asynccontextmanager
async def feeding(
    exchange: RunningExchange, settings: FeedSettings = QUICK, clock: Clock | None = None, **more: Any
) -> AsyncIterator[VenueFeed]:
    venue = VenueSettings(url=exchange.url, retries=1, backoff_seconds=0.05)
    if clock is None:
        async with VenueConnection(venue) as connection:
            clock = await VenueClock.of(connection)
    jitter = np.random.default_rng(5)
    async with open_feed(venue, TICKERS, "USDT", clock, settings=settings, jitter=jitter, **more) as feed:
        await feed.ready(10)
        yield feed


async def until(so: Callable[[], bool], seconds: float = 8.0) -> None:
    loop = asyncio.get_running_loop()
    late = loop.time() + seconds
    while not so():
        assert loop.time() < late, "it never came"
        await asyncio.sleep(0.01)


def health_of(feed: VenueFeed, leg: Leg = "perp", kind: StreamKind = StreamKind.BOOK) -> StreamHealth:
    return next(one for one in feed.health().streams if (one.kind, one.leg, one.ticker) == (kind, leg, "BTC"))


async def told_over_rest(exchange: RunningExchange, leg: Leg, ticker: str) -> tuple[list[Any], list[Any]]:
    async with VenueConnection(VenueSettings(url=exchange.url)) as connection:
        symbol = connection.symbol(leg, ticker, "USDT")
        book = await connection.exchange.fetch_order_book(symbol, 50)
    bids, asks = (
        [(Decimal(str(p)), Decimal(str(q))) for p, q, *_ in book[side]] for side in ("bids", "asks")
    )
    return bids, asks


async def shown(feed: VenueFeed, leg: Leg = "perp", ticker: str = "BTC") -> Book | None:
    try:
        return await feed.view.book(leg, ticker)
    except RetryableError:
        return None


async def step_and_settle(exchange: RunningExchange, feed: VenueFeed, steps: int, ms: int = 100) -> None:
    """Let time pass at the venue, and wait until all books are of that time."""
    for _ in range(steps):
        exchange.step(ms)
        await asyncio.sleep(0.03)
    books = [one for one in feed.health().streams if one.kind is StreamKind.BOOK]
    newest = exchange.now_ms // 100 * 100

    def settled() -> bool:
        now = [one for one in feed.health().streams if one.kind is StreamKind.BOOK]
        return all(one.state is StreamState.LIVE and (one.seen_ms or 0) >= newest for one in now)

    assert books
    await until(settled)


def test_books_of_both_legs_are_those_that_the_venue_tells_over_rest(
    stepped: RunningExchange, live: Live
) -> None:
    async def main() -> None:
        async with feeding(stepped) as feed:
            await step_and_settle(stepped, feed, 7)
            for leg in LEGS:
                for ticker in TICKERS:
                    book = await shown(feed, leg, ticker)
                    assert book is not None
                    bids, asks = await told_over_rest(stepped, leg, ticker)
                    assert (list(book.bids), list(book.asks)) == (bids, asks)
                    assert (book.leg, book.ticker, book.seen_ms) == (leg, ticker, stepped.now_ms)
            assert feed.health().live
            with pytest.raises(UnknownTickerError, match="SOL"):
                await feed.view.book("perp", "SOL")

    live(main)


@pytest.mark.parametrize(
    ("fault", "gaps"), [(Fault.STREAM_GAP, 1), (Fault.STREAM_DUPLICATE, 0), (Fault.STREAM_REORDER, 1)]
)
def test_a_book_whose_messages_are_lost_repeated_or_swapped_is_right_or_not_shown(
    stepped: RunningExchange, live: Live, fault: Fault, gaps: int
) -> None:
    async def require_right(feed: VenueFeed, leg: Leg, book: Book | None) -> None:
        assert book is not None
        assert (list(book.bids), list(book.asks)) == await told_over_rest(stepped, leg, "BTC")

    async def main() -> None:
        async with feeding(stepped) as feed:
            await step_and_settle(stepped, feed, 2)
            stepped.inject(fault, times=2, path="btcusdt@depth")  # the next message of each leg
            for _ in range(3):
                stepped.step(100)
                await asyncio.sleep(0.05)
                for leg in LEGS:
                    book = await shown(feed, leg)
                    if book is not None and book.seen_ms == stepped.now_ms:
                        await require_right(feed, leg, book)
            await step_and_settle(stepped, feed, 2)
            for leg in LEGS:
                await require_right(feed, leg, await shown(feed, leg))
                assert (health_of(feed, leg).gaps, health_of(feed, leg).resyncs) == (gaps, gaps)
            assert sum(one.gaps for one in feed.health().streams) == 2 * gaps
            assert sum(one.reconnects for one in feed.health().streams) == 0

    live(main)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_goes_wrong_at_random_no_book_that_is_not_the_venues_is_shown_as_new(
    stepped: RunningExchange, live: Live, seed: int
) -> None:
    stream = [fault for fault in Fault if fault.name.startswith("STREAM_")]
    snapshots = [Fault.STALE_BOOK, Fault.SERVER_ERROR, Fault.TRUNCATED, Fault.RESET]
    generator = np.random.default_rng(seed)
    compared = 0

    async def main() -> None:
        nonlocal compared
        settings = QUICK.model_copy(update={"silence_seconds": 0.5})
        async with feeding(stepped, settings, clock=ExchangeClock(stepped)) as feed:
            for _ in range(50):
                if generator.random() < 0.3:
                    kinds, path = ((stream, "@depth"), (snapshots, "/depth"))[generator.integers(2)]
                    fault = kinds[generator.integers(len(kinds))]
                    stepped.inject(fault, times=2, path=path, delay_seconds=0.2)
                stepped.step(100)
                await asyncio.sleep(0.03)
                for leg in LEGS:
                    book = await shown(feed, leg)
                    if book is not None and book.seen_ms == stepped.now_ms:
                        told = stepped._do(lambda leg=leg: told_at_the_desk(stepped, leg))
                        assert ([*book.bids], [*book.asks]) == told
                        compared += 1
            stepped.clear_faults()
            await asyncio.sleep(0.3)
            await step_and_settle(stepped, feed, 3)
            assert sum(one.gaps + one.reconnects for one in feed.health().streams) > 0

    live(main)
    assert compared > 30


def told_at_the_desk(exchange: RunningExchange, leg: Leg) -> tuple[list[Any], list[Any]]:
    """Look at the book itself: whoever asks over REST meets faults, too."""
    book = exchange._desk.floor.book(leg, "BTCUSDT", 50)
    bids, asks = ([(Decimal(p), Decimal(q)) for p, q in side] for side in (book.bids, book.asks))
    return bids, asks


class ExchangeClock:
    """Tell the exchange's time without asking over HTTP."""

    def __init__(self, exchange: RunningExchange) -> None:
        self._exchange = exchange

    def now_ms(self) -> int:
        return self._exchange.now_ms

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def test_a_socket_is_read_on_after_thousands_of_messages_have_piled_up(
    stepped: RunningExchange, live: Live
) -> None:
    async def main() -> None:
        async with feeding(stepped, clock=ExchangeClock(stepped)) as feed:
            before = health_of(feed).updates
            for _ in range(3):
                for _ in range(800):
                    stepped.step(100)  # this loop reads nothing meanwhile
                await asyncio.sleep(0.3)
            await step_and_settle(stepped, feed, 2)
            assert health_of(feed).updates - before >= 2_400
            assert sum(one.gaps + one.reconnects for one in feed.health().streams) == 0

    live(main)


def test_a_connection_that_is_dropped_is_made_anew_and_nothing_old_is_shown_meanwhile(
    running: RunningExchange, live: Live
) -> None:
    async def main() -> None:
        async with feeding(running) as feed:
            running.inject(Fault.STREAM_DROP, path="fstream.binance.com/public/ws")
            await until(lambda: health_of(feed).reconnects == 1)
            lost = health_of(feed)
            assert lost.state is StreamState.RECONNECTING
            with pytest.raises(
                RetryableError, match=r"nothing of BTC perp book at the moment: it is reconnecting"
            ):
                await feed.view.book("perp", "BTC")
            assert health_of(feed, "spot").reconnects == 0
            await until(lambda: feed.health().live)
            assert health_of(feed).updates > lost.updates

    live(main)


def test_where_a_feed_knows_nothing_or_only_what_is_old_the_venue_is_asked(
    stepped: RunningExchange, live: Live
) -> None:
    async def main() -> None:
        clock = ExchangeClock(stepped)
        venue = VenueSettings(url=stepped.url, retries=0)
        async with (
            feeding(stepped, clock=clock) as feed,
            open_market_view(venue, TICKERS, "USDT", clock) as rest,
        ):
            view = BackedView(feed.view, rest, clock, max_age_seconds=5.0)
            asked = stepped.requests.total()
            assert await view.book("perp", "BTC") is await feed.view.book("perp", "BTC")
            assert await view.mark("BTC") == await feed.view.mark("BTC")
            assert stepped.requests.total() == asked
            stepped.inject(Fault.STREAM_SILENCE, path="fstream.binance.com", times=9, delay_seconds=60.0)
            stepped.step(5_100)
            assert (await feed.view.book("perp", "BTC")).seen_ms < stepped.now_ms - 5_000
            book = await view.book("perp", "BTC")
            assert ([*book.bids[:50]], [*book.asks[:50]]) == await told_over_rest(stepped, "perp", "BTC")
            assert book.seen_ms == (await view.mark("BTC")).seen_ms == stepped.now_ms
            stepped.inject(Fault.SERVER_ERROR, path="/depth", times=99)
            old = await view.book("perp", "BTC")
            assert old.seen_ms < stepped.now_ms - 5_000  # who looks at it knows how old it is
            await feed.close()
            with pytest.raises(RetryableError, match="look at BTC/USDT:USDT"):
                await view.book("perp", "BTC")
            stepped.clear_faults()
            assert (await view.book("perp", "BTC")).seen_ms == stepped.now_ms
            assert await view.quote_price() == await rest.quote_price()

    live(main)


def test_a_silent_market_is_asked_for_anew_and_then_over_a_new_connection(
    running: RunningExchange, live: Live
) -> None:
    async def main() -> None:
        async with feeding(running, QUICK.model_copy(update={"silence_seconds": 0.6})) as feed:
            running.inject(Fault.STREAM_SILENCE, path="fstream.binance.com/public/ws", delay_seconds=30.0)
            await until(lambda: health_of(feed).reconnects >= 2)
            assert "nothing was heard of BTC perp book for" in health_of(feed).trouble
            await until(lambda: feed.health().live)
            assert health_of(feed, "spot").reconnects == 0

    live(main)


def test_a_venue_whose_clock_stands_is_not_taken_for_a_silent_one(
    stepped: RunningExchange, live: Live
) -> None:
    async def main() -> None:
        async with feeding(stepped, QUICK.model_copy(update={"silence_seconds": 0.1})) as feed:
            await asyncio.sleep(0.6)
            assert feed.health().live
            assert sum(one.reconnects for one in feed.health().streams) == 0

    live(main)


def run_at(port: int) -> RunningExchange:
    return start_exchange(TAPE, port=port, trading=TradingSettings(), start_ms=START_MS, speed=1.0)


def test_a_venue_that_goes_down_and_comes_back_is_found_again(live: Live) -> None:
    async def main() -> None:
        exchange = await asyncio.to_thread(run_at, 0)
        port = int(exchange.url.rsplit(":", 1)[1])
        try:
            async with feeding(exchange) as feed:
                await asyncio.to_thread(exchange.stop)
                await until(lambda: all(one.state != StreamState.LIVE for one in feed.health().streams))
                with pytest.raises(RetryableError, match="BTC"):
                    await feed.ready(0.1)
                assert feed.health().oldest_ms is not None
                exchange = await asyncio.to_thread(run_at, port)
                await until(lambda: feed.health().live, 20)
        finally:
            await asyncio.to_thread(exchange.stop)

    live(main)


def test_marks_come_with_the_running_rate_and_when_it_settles(stepped: RunningExchange, live: Live) -> None:
    async def main() -> None:
        async with feeding(stepped) as feed:
            stepped.step(2_000)
            await until(lambda: health_of(feed, kind=StreamKind.MARK).seen_ms == stepped.now_ms)
            mark = await feed.view.mark("BTC")
            async with VenueConnection(VenueSettings(url=stepped.url)) as connection:
                told = (await connection.exchange.fetch_funding_rate("BTC/USDT:USDT"))["info"]
            assert mark.price == Decimal(told["markPrice"])
            assert mark.index == Decimal(told["indexPrice"])
            assert mark.funding_rate == Decimal(told["lastFundingRate"])
            assert mark.next_funding_ms == int(told["nextFundingTime"])

    live(main)


@pytest.mark.pitfall("P20")
def test_a_quote_coin_that_loses_its_dollar_is_seen(stepped: RunningExchange, live: Live) -> None:
    async def main() -> None:
        async with feeding(stepped) as feed:
            price = await feed.view.quote_price()
            assert price == pytest.approx(Decimal(1), abs=Decimal("0.001"))
            stepped.set_quote_price(0.97)
            seen = health_of_quote(feed).updates
            stepped.step(1_000)
            await until(lambda: health_of_quote(feed).updates > seen)
            price = await feed.view.quote_price()
            assert price == pytest.approx(Decimal("0.97"), abs=Decimal("0.001"))
            stepped.set_quote_price(1)

    live(main)


def health_of_quote(feed: VenueFeed) -> StreamHealth:
    return next(one for one in feed.health().streams if one.kind is StreamKind.QUOTE)


def health_of_orders(feed: VenueFeed) -> StreamHealth:
    return next(one for one in feed.health().streams if (one.kind, one.leg) == (StreamKind.ORDERS, "perp"))


def test_orders_of_the_account_wake_whoever_waits_for_them_by_our_names(
    running: RunningExchange, live: Live
) -> None:
    running.open_account(KEY.key, KEY.secret, {"USDT": Decimal(100_000)}, Decimal(100_000))
    woken: list[str] = []

    async def main() -> None:
        async with feeding(running, credentials=KEY, on_order=woken.append) as feed:
            await until(lambda: feed.health().live)  # before anything is told of orders

            def sign(exchange: Any) -> None:
                KEY.sign_in(exchange)
                exchange.has["fetchCurrencies"] = False
                exchange.nonce = lambda: running.now_ms

            async with VenueConnection(VenueSettings(url=running.url), prepare=sign) as connection:
                for symbol, name in (("BTC/USDT", "cf-spot"), ("BTC/USDT:USDT", "cf-perp")):
                    await connection.exchange.create_order(
                        symbol, "market", "buy", 0.01, None, {"newClientOrderId": name}
                    )
            await until(lambda: {"cf-spot", "cf-perp"} <= set(woken))
            states = [one for one in feed.health().streams if one.kind is StreamKind.ORDERS]
            assert [one.state for one in states] == [StreamState.LIVE] * 2
            assert KEY.secret not in repr(feed.health())
            running.inject(Fault.STREAM_DROP, path="fstream.binance.com/private/ws")
            running.foreign_order(KEY.key, "perp", "BTC", "sell", Decimal("0.004"))
            await until(lambda: health_of_orders(feed).reconnects == 1)
            await until(lambda: feed.health().live)

    live(main)


def test_a_ticker_that_is_not_listed_is_refused_before_anything_is_watched(
    stepped: RunningExchange, live: Live
) -> None:
    async def main() -> None:
        venue = VenueSettings(url=stepped.url)
        async with VenueConnection(venue) as connection:
            clock = await VenueClock.of(connection)
        with pytest.raises(UnknownTickerError, match="BTX"):
            async with open_feed(venue, ("BTX",), "USDT", clock):
                pass

    live(main)

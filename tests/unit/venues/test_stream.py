import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import ccxt
import ccxt.pro
import numpy as np
import pytest
from aiohttp import web

from carryflow.core.errors import MarketDataError, RetryableError, UnknownTickerError
from carryflow.venues.settings import VenueName, VenueSettings
from carryflow.venues.stream.backoff import Backoff
from carryflow.venues.stream.channel import Channel
from carryflow.venues.stream.connection import StreamConnection
from carryflow.venues.stream.health import FeedHealth, StreamKind, StreamState
from carryflow.venues.stream.marks import polled_mark, streamed_mark
from carryflow.venues.stream.quote import quote_in_dollars
from carryflow.venues.stream.sequence import guard_sequence
from carryflow.venues.stream.settings import FeedSettings
from carryflow.venues.stream.tap import Tap
from carryflow.venues.stream.view import FeedView


def channel(kind: StreamKind = StreamKind.BOOK) -> Channel:
    return Channel(kind, "perp", "BTC", "BTC/USDT:USDT")


def test_waits_double_up_to_the_longest_and_differ_by_chance() -> None:
    waits = [Backoff(np.random.default_rng(seed), 1.0, 8.0) for seed in range(200)]
    drawn = np.array([[one.next_seconds() for _ in range(6)] for one in waits])
    full = np.array([1, 2, 4, 8, 8, 8])
    assert ((drawn >= full / 2) & (drawn <= full)).all()
    assert (drawn.std(axis=0) > full / 10).all()
    waits[0].reset()
    assert waits[0].next_seconds() <= 1.0


def test_what_lay_in_a_buffer_for_long_is_as_old_as_when_the_venue_made_it() -> None:
    one = channel()
    one.take("old", made_ms=1_000, now_ms=4_500)
    assert (one.seen_ms, one.health().lag_ms) == (1_000, 3_500)
    one.take("from a clock that is ahead", made_ms=9_000, now_ms=5_000)
    assert one.seen_ms == 5_000
    one.take("undated", made_ms=None, now_ms=6_000)
    assert (one.seen_ms, one.health().lag_ms) == (6_000, None)


def test_a_market_that_is_lost_is_not_shown_until_it_is_there_again_and_says_why() -> None:
    one = channel()
    with pytest.raises(
        RetryableError, match=r"nothing of BTC perp book at the moment: it is connecting; ask"
    ):
        one.known()
    one.take("book", None, 1)
    assert one.known() == "book"
    one.lose(StreamState.RESYNCING, "a message is missing")
    with pytest.raises(RetryableError, match=r"it is resyncing \(a message is missing\)"):
        one.known()
    one.take("new book", None, 2)
    one.lose(StreamState.RECONNECTING, "closed")
    one.take("newer book", None, 3)
    told = one.health()
    assert (told.gaps, told.resyncs, told.reconnects, told.updates) == (1, 1, 1, 3)
    assert (told.state, told.trouble) == (StreamState.LIVE, "closed")


def test_a_feed_is_as_old_as_its_oldest_market_whatever_its_orders_do() -> None:
    book, mark, orders = channel(), channel(StreamKind.MARK), channel(StreamKind.ORDERS)
    book.take("book", 10, 20)
    unheard = FeedHealth((book.health(), mark.health(), orders.health()))
    assert unheard.oldest_ms is None
    assert not unheard.live
    mark.take("mark", 15, 20)
    assert FeedHealth((book.health(), mark.health(), orders.health())).oldest_ms == 10
    assert FeedHealth((book.health(), mark.health())).live


def test_orders_are_there_once_they_are_subscribed_to_and_again_after_a_loss() -> None:
    orders = channel(StreamKind.ORDERS)
    for lost in (StreamState.RECONNECTING, StreamState.CLOSED):
        orders.subscribe()
        assert (orders.health().state, orders.updates) == (StreamState.LIVE, 0)
        orders.lose(lost, "gone")
    orders.subscribe()
    assert orders.health().state is StreamState.CLOSED


def test_the_connection_that_streams_waits_for_rest_as_long_as_every_other() -> None:
    connection = StreamConnection(VenueSettings(name="binance", request_timeout_seconds=3), FeedSettings(), 2)
    assert connection.exchange.timeout == 3_000


BOOK = {"bids": [[100.1, 3.0], [100.0, 0.30000001]], "asks": [[100.2, 5.0]]}


def view_of(book: Any, size: str = "1") -> tuple[FeedView, Channel]:
    one = channel()
    one.take(book, 7, 8)
    return FeedView({("perp", "BTC"): one}, {}, None, {("perp", "BTC"): Decimal(size)}), one


@pytest.mark.pitfall("P07")
def test_sizes_of_contracts_are_shown_in_base_coins() -> None:
    view, _ = view_of(BOOK, "0.01")
    book = asyncio.run(view.book("perp", "BTC"))
    assert book.bids == ((Decimal("100.1"), Decimal("0.03")), (Decimal("100.0"), Decimal("0.0030000001")))
    assert book.mid == Decimal("100.15")


def test_a_book_is_exact_and_made_anew_only_when_it_changed() -> None:
    view, one = view_of(BOOK)
    first = asyncio.run(view.book("perp", "BTC"))
    assert first.bids[1] == (Decimal("100.0"), Decimal("0.30000001"))
    assert asyncio.run(view.book("perp", "BTC")) is first
    one.take(BOOK | {"asks": [[100.3, 1.0]]}, 9, 9)
    assert asyncio.run(view.book("perp", "BTC")).asks == ((Decimal("100.3"), Decimal("1.0")),)
    one.lose(StreamState.RECONNECTING, "closed")
    with pytest.raises(RetryableError):
        asyncio.run(view.book("perp", "BTC"))


def test_a_book_that_is_empty_on_one_side_and_a_ticker_nobody_watches_are_told_apart() -> None:
    view, _ = view_of(BOOK | {"asks": []})
    with pytest.raises(MarketDataError, match="BTC perp is empty on one side"):
        asyncio.run(view.book("perp", "BTC"))
    with pytest.raises(UnknownTickerError, match="ETH"):
        asyncio.run(view.mark("ETH"))
    assert asyncio.run(view.quote_price()) is None


@pytest.mark.pitfall("P04")
def test_a_streamed_mark_takes_the_running_rate_and_its_time_from_the_venues_own_words() -> None:
    exchange = ccxt.pro.binance()
    told = {  # Binance, "Mark price stream"
        "e": "markPriceUpdate",
        "E": 1562305380000,
        "s": "BTCUSDT",
        "p": "11794.15000000",
        "i": "11784.62659091",
        "P": "11784.25641265",
        "r": "0.00038167",
        "T": 1562306400000,
    }
    mark = streamed_mark("BTC", exchange.parse_ws_ticker(told, "contract"), 1562305380020)
    assert (mark.price, mark.index) == (Decimal("11794.15000000"), Decimal("11784.62659091"))
    assert (mark.funding_rate, mark.next_funding_ms) == (Decimal("0.00038167"), 1562306400000)
    assert mark.seen_ms == 1562305380000
    with pytest.raises(MarketDataError, match="no mark price of BTC"):
        streamed_mark("BTC", exchange.parse_ws_ticker(told | {"p": ""}, "contract"), 1)


@pytest.mark.pitfall("P04")
def test_a_polled_mark_has_no_rate_where_the_venue_predicts_none() -> None:
    told = {"markPrice": 100.5, "indexPrice": None, "fundingRate": 0.0001, "fundingTimestamp": 1_000}
    assert polled_mark("BTC", told, 5, predicts=True).funding_rate == Decimal("0.0001")
    mark = polled_mark("BTC", told, 5, predicts=False)
    assert (mark.price, mark.index, mark.funding_rate, mark.seen_ms) == (Decimal("100.5"), None, None, 5)


def test_what_the_quote_coin_is_worth_needs_both_sides_of_its_market() -> None:
    with pytest.raises(MarketDataError, match="USDC/USDT is empty on one side; what USDT is worth"):
        quote_in_dollars("USDC/USDT", "USDT", {"bids": [], "asks": [[1, 1]]})
    assert quote_in_dollars("USDC/USDT", "USDC", {"bids": [[0.96, 1]], "asks": [[0.98, 1]]}) == Decimal(
        "0.97"
    )


@pytest.mark.parametrize("name", ["binance", "bybit", "okx", "deribit", "simulated"])
def test_every_socket_of_every_venue_is_led_to_the_address_that_is_asked(name: VenueName) -> None:
    settings = VenueSettings(name=name, url="http://127.0.0.1:8700")
    connection = StreamConnection(settings, FeedSettings(), 120)

    def leaves(tree: Any) -> list[str]:
        return [leaf for one in tree.values() for leaf in leaves(one)] if isinstance(tree, dict) else [tree]

    urls = leaves(connection.exchange.urls["api"])
    sockets = [url for url in urls if url.startswith("ws")]
    assert sockets
    assert all(url.startswith(("ws://127.0.0.1:8700/", "http://127.0.0.1:8700")) for url in urls)
    if connection.exchange.id == "binance":
        assert connection.exchange.urls["api"]["ws"]["spot"] == "ws://127.0.0.1:8700/stream.binance.com/ws"
        limits = connection.exchange.options["streamLimits"]
        assert (limits["spot"], limits["future"]) == (3, 3)


def bybit(u: int, kind: str = "delta") -> dict[str, Any]:
    data = {"s": "BTCUSDT", "b": [["100", "1"]], "a": [["101", str(u)]], "u": u, "seq": 9}
    return {"topic": "orderbook.50.BTCUSDT", "type": kind, "ts": 1672304484978, "data": data}


def deribit(change: int, before: int | None = None) -> dict[str, Any]:
    data = {"type": "snapshot" if before is None else "change", "instrument_name": "BTC_USDC-PERPETUAL"}
    data |= {"timestamp": 1554373962454, "bids": [["new", 100.0, 1.0]], "asks": [["new", 101.0, 1.0]]}
    data |= {"change_id": change} | ({} if before is None else {"prev_change_id": before})
    return {"params": {"channel": "book.BTC_USDC-PERPETUAL.100ms", "data": data}}


@pytest.mark.parametrize(
    ("exchange", "good", "bad", "anew", "after"),
    [
        (
            ccxt.pro.bybit,
            [bybit(7, "snapshot"), bybit(8), bybit(9), bybit(1)],
            bybit(3),
            bybit(20, "snapshot"),
            bybit(21),
        ),
        (
            ccxt.pro.deribit,
            [deribit(7), deribit(12, 7), deribit(13, 12)],
            deribit(20, 19),
            deribit(30),
            deribit(31, 30),
        ),
    ],
)
def test_a_message_that_does_not_follow_the_one_before_is_a_gap_also_where_ccxt_does_not_look(
    exchange: Any,
    good: list[dict[str, Any]],
    bad: dict[str, Any],
    anew: dict[str, Any],
    after: dict[str, Any],
) -> None:
    async def main() -> None:
        venue = exchange()
        venue.markets, venue.markets_by_id = {}, {}
        guard_sequence(venue)
        client = venue.client("ws://somewhere/spot")
        with pytest.raises(ccxt.InvalidNonce, match="of another connection"):
            venue.handle_order_book(client, good[1])
        for message in good:
            venue.handle_order_book(client, message)
        with pytest.raises(ccxt.InvalidNonce, match="follows"):
            venue.handle_order_book(client, bad)
        with pytest.raises(ccxt.InvalidNonce, match="follows"):  # nothing follows a gap but a snapshot
            venue.handle_order_book(client, bad)
        venue.handle_order_book(client, anew)
        venue.clients.clear()
        other = venue.client(client.url)  # numbers that go on over a new connection prove nothing
        with pytest.raises(ccxt.InvalidNonce, match="of another connection"):
            venue.handle_order_book(other, after)
        await venue.close()

    asyncio.run(main())


@asynccontextmanager
async def serving(say: Callable[[web.WebSocketResponse], Awaitable[None]]) -> AsyncIterator[str]:
    """Answer websockets with what `say` does."""

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await say(socket)
        return socket

    app = web.Application()
    app.router.add_get("/ws", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}/ws"
    finally:
        await runner.cleanup()


async def nonsense(socket: web.WebSocketResponse) -> None:
    await socket.send_str('{"e": "depthUpdate", "s":')
    await socket.receive()


async def farewell(socket: web.WebSocketResponse) -> None:
    await socket.close()


async def abrupt(socket: web.WebSocketResponse) -> None:
    assert socket._req is not None
    assert socket._req.transport is not None
    socket._req.transport.abort()


@pytest.mark.parametrize(
    ("say", "words"),
    [(nonsense, "cannot be read: JSONDecodeError"), (farewell, "closed"), (abrupt, "closed")],
)
def test_whoever_watches_hears_of_a_connection_that_ends_however_it_ends(
    say: Callable[[web.WebSocketResponse], Awaitable[None]], words: str
) -> None:
    unheard: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: unheard.append(what))
        async with serving(say) as url:
            exchange = ccxt.pro.binance()
            tap = Tap(exchange, lambda *_: None)
            for _ in range(2):  # the second time over a new connection
                with pytest.raises(ccxt.NetworkError, match=words):
                    await asyncio.wait_for(tap.watch(channel(), exchange.watch, url, "hash", None, "hash"), 5)
            await tap.close()
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert not unheard


def test_a_message_that_its_channel_cannot_take_is_an_error_of_its_watcher_alone() -> None:
    async def talk(socket: web.WebSocketResponse) -> None:
        await socket.send_str('{"e": "markPriceUpdate", "E": 1, "s": "BTCUSDT", "p": ""}')
        await socket.receive()

    def refuse(one: Channel, value: Any) -> None:
        raise MarketDataError("no mark price")

    async def main() -> None:
        async with serving(talk) as url:
            exchange = ccxt.pro.binance()
            exchange.markets, exchange.markets_by_id = {}, {}
            tap = Tap(exchange, refuse)
            name = "markPrice:markPrice@BTCUSDT"
            with pytest.raises(MarketDataError, match="no mark price"):
                await asyncio.wait_for(tap.watch(channel(), exchange.watch, url, name, None, name), 5)
            assert not exchange.clients[url].closed()
            await tap.close()

    asyncio.run(main())

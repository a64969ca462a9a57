"""The websocket for orders, against a venue that answers as each test wants."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import ccxt.async_support as ccxt
import pytest
from aiohttp import web

from carryflow.core.errors import RejectedError
from carryflow.venues.budget import Errand, Priority, on_errand
from carryflow.venues.connection import VenueConnection
from carryflow.venues.settings import VenueSettings
from carryflow.venues.trading.order_socket import OrderSocket

Answers = Callable[[web.WebSocketResponse, dict[str, Any]], Awaitable[None]]

WAIT = 0.3


class Venue:
    """Answers messages by `answers`, and connections with `closed_with`, if that is set."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.closed_with: web.Response | None = None
        self.asked: list[dict[str, Any]] = []
        self.dialled = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.dialled += 1
        if self.closed_with is not None:
            return self.closed_with
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            asked = json.loads(message.data)
            self.asked.append(asked)
            await self.answers(socket, asked)
        return socket


@asynccontextmanager
async def socket_to(venue: Venue) -> AsyncIterator[OrderSocket]:
    app = web.Application()
    app.router.add_get("/orders", venue.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    settings = VenueSettings(url=f"http://127.0.0.1:{port}", request_timeout_seconds=WAIT)
    connection = VenueConnection(settings)
    connection.exchange.open()
    try:
        async with OrderSocket(
            connection,
            f"ws://127.0.0.1:{port}/orders",
            "https://api.binance.com/api/v3/order",
            0.2,
            lambda params: params | {"signature": "signed"},
        ) as socket:
            yield socket
    finally:
        await connection.exchange.close()
        await runner.cleanup()


async def ask(socket: OrderSocket, errand: Errand, name: str = "one") -> Any:
    with on_errand(errand):
        return await socket.ask("order.place", {"name": name})


def order() -> Errand:
    return Errand(Priority.ORDER)


async def echo(socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
    await socket.send_json({"id": asked["id"], "status": 200, "result": asked["params"]["name"]})


def refusing(status: int, error: dict[str, Any]) -> Answers:
    async def answers(socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
        await socket.send_json({"id": asked["id"], "status": status, "error": error})

    return answers


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def run(venue: Venue, story: Callable[[OrderSocket], Awaitable[None]]) -> None:
    async def play() -> None:
        loop, unhandled = asyncio.get_running_loop(), list[dict[str, Any]]()
        loop.set_exception_handler(lambda _, told: unhandled.append(told))
        async with socket_to(venue) as socket:
            await story(socket)
        assert not unhandled

    asyncio.run(play())


def test_a_message_is_signed_sent_once_and_answered() -> None:
    venue, errand = Venue(echo), order()

    async def story(socket: OrderSocket) -> None:
        assert await ask(socket, errand) == "one"

    run(venue, story)
    assert venue.asked[0]["method"] == "order.place"
    assert venue.asked[0]["params"] == {"name": "one", "signature": "signed"}
    assert (len(venue.asked), errand.sends, errand.status) == (1, 1, 200)


def test_answers_that_come_in_another_order_find_their_questions() -> None:
    held: list[dict[str, Any]] = []

    async def backwards(socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
        held.append(asked)
        if len(held) == 3:
            for one in reversed(held):
                await echo(socket, one)

    async def story(socket: OrderSocket) -> None:
        names = ["first", "second", "third"]
        assert await asyncio.gather(*(ask(socket, order(), name) for name in names)) == names

    run(Venue(backwards), story)


def test_a_refusal_reads_as_it_does_over_http() -> None:
    errand = order()
    words = "Account has insufficient balance for requested action."

    async def story(socket: OrderSocket) -> None:
        with pytest.raises(ccxt.InsufficientFunds, match="insufficient balance"):
            await ask(socket, errand)

    run(Venue(refusing(400, {"code": -2010, "msg": words})), story)
    assert errand.status == 400
    assert json.loads(errand.body) == {"code": -2010, "msg": words}


def test_the_venues_own_failure_is_no_refusal() -> None:
    async def story(socket: OrderSocket) -> None:
        with pytest.raises(ccxt.ExchangeNotAvailable):
            await ask(socket, order())

    run(Venue(refusing(503, {"code": -1007, "msg": "execution status unknown"})), story)


async def hang_up(socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
    await socket.close()


async def half_an_answer(socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
    await socket.send_str('{"id": "1", "status": 2')


async def nonsense(socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
    await socket.send_str('["id"]')


@pytest.mark.parametrize("answers", [hang_up, half_an_answer, nonsense])
def test_an_answer_that_never_comes_whole_is_none_and_the_venue_is_dialled_again(answers: Answers) -> None:
    venue, errand = Venue(answers), order()

    async def story(socket: OrderSocket) -> None:
        with pytest.raises(ccxt.NetworkError):
            await ask(socket, errand)
        assert not socket.is_open
        venue.answers = echo
        await until(lambda: socket.is_open)
        assert await ask(socket, order(), "two") == "two"

    run(venue, story)
    assert (errand.sends, errand.status) == (1, None)
    assert [asked["params"]["name"] for asked in venue.asked] == ["one", "two"]


def test_an_answer_that_comes_too_late_is_left_alone() -> None:
    async def late(socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
        await asyncio.sleep(WAIT * 1.5)
        await echo(socket, asked)

    venue, errand = Venue(late), order()

    async def story(socket: OrderSocket) -> None:
        with pytest.raises(ccxt.RequestTimeout):
            await ask(socket, errand)
        assert not socket.is_open  # nobody knows whether the line is dead
        venue.answers = echo
        await until(lambda: socket.is_open)
        assert venue.dialled == 2
        assert await ask(socket, order(), "two") == "two"

    run(venue, story)
    assert (errand.sends, errand.status) == (1, None)


def test_who_waits_on_a_line_that_is_given_up_is_still_answered() -> None:
    async def only_the_second(socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
        if asked["params"]["name"] == "two":
            await asyncio.sleep(WAIT * 0.8)
            await echo(socket, asked)

    venue = Venue(only_the_second)

    async def story(socket: OrderSocket) -> None:
        first = asyncio.create_task(ask(socket, order()))
        await asyncio.sleep(WAIT * 0.5)
        second = asyncio.create_task(ask(socket, order(), "two"))
        with pytest.raises(ccxt.RequestTimeout):
            await first
        assert await second == "two"
        assert not socket.is_open
        await until(lambda: socket.is_open)

    run(venue, story)
    assert venue.dialled == 2


def test_a_venue_that_says_it_leaves_answers_what_was_asked_and_is_asked_no_more() -> None:
    async def leave(socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
        await socket.send_json({"event": {"e": "serverShutdown", "E": 1}})
        await asyncio.sleep(0.05)
        await echo(socket, asked)

    venue = Venue(leave)

    async def story(socket: OrderSocket) -> None:
        assert await ask(socket, order()) == "one"
        assert not socket.is_open
        await until(lambda: socket.is_open)

    run(venue, story)
    assert venue.dialled == 2


def test_what_answers_no_message_of_ours_is_left_alone() -> None:
    async def chat(socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
        await socket.send_json({"id": None, "status": 400, "error": {"code": -1100, "msg": "what?"}})
        await socket.send_json({"event": {"e": "balanceUpdate"}})
        await echo(socket, asked)

    async def story(socket: OrderSocket) -> None:
        assert await ask(socket, order()) == "one"
        assert socket.is_open

    run(Venue(chat), story)


def test_a_venue_that_takes_connections_and_drops_them_is_dialled_less_and_less() -> None:
    class Dropping(Venue):
        async def serve(self, request: web.Request) -> web.StreamResponse:
            self.dialled += 1
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.close()
            return socket

    venue = Dropping(echo)

    async def story(_: OrderSocket) -> None:
        await asyncio.sleep(1.5)

    run(venue, story)
    assert 2 <= venue.dialled <= 5


def test_who_gives_up_dialling_leaves_nothing_behind() -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(1)
        return web.Response()

    async def play() -> None:
        venue = Venue(echo)
        venue.serve = slow  # type: ignore[method-assign]
        opening = asyncio.create_task(socket_to(venue).__aenter__())
        await asyncio.sleep(0.15)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        await asyncio.sleep(0)
        assert [task for task in asyncio.all_tasks() if "_keep" in repr(task.get_coro())] == []

    asyncio.run(play())


def test_over_a_closed_socket_nothing_is_sent() -> None:
    venue, errand = Venue(hang_up), order()

    async def story(socket: OrderSocket) -> None:
        with pytest.raises(ccxt.NetworkError):
            await ask(socket, order())
        with pytest.raises(ccxt.ExchangeNotAvailable, match=r"before order\.place was sent"):
            await ask(socket, errand)

    run(venue, story)
    assert errand.sends == 0


def test_a_venue_that_takes_no_connection_is_dialled_again() -> None:
    venue = Venue(echo)
    venue.closed_with = web.Response(status=503)

    async def story(socket: OrderSocket) -> None:
        assert not socket.is_open
        await until(lambda: venue.dialled >= 2)
        venue.closed_with = None
        await until(lambda: socket.is_open)
        assert await ask(socket, order()) == "one"

    run(venue, story)


def test_too_many_requests_pause_everybody_until_the_venue_says() -> None:
    async def story(socket: OrderSocket) -> None:
        loop = asyncio.get_running_loop()
        until_ms = socket._connection.exchange.milliseconds() + 600
        venue.answers = refusing(
            429, {"code": -1003, "msg": "Too many requests", "data": {"retryAfter": until_ms}}
        )
        with pytest.raises(ccxt.DDoSProtection):
            await ask(socket, order())
        venue.answers, begun = echo, loop.time()
        assert await ask(socket, order()) == "one"
        assert loop.time() - begun > 0.5

    venue = Venue(echo)
    run(venue, story)


def test_a_ban_ends_all_asking() -> None:
    venue = Venue(
        refusing(418, {"code": -1003, "msg": "Way too many requests", "data": {"retryAfter": 2**42}})
    )

    async def story(socket: OrderSocket) -> None:
        for _ in range(2):
            with pytest.raises(RejectedError, match="banned"):
                await ask(socket, order())

    run(venue, story)
    assert len(venue.asked) == 1


def test_a_connection_refused_for_a_ban_is_not_dialled_again() -> None:
    venue = Venue(echo)
    venue.closed_with = web.Response(status=418, headers={"Retry-After": "600"})

    async def story(socket: OrderSocket) -> None:
        await asyncio.sleep(1.0)
        assert not socket.is_open

    run(venue, story)
    assert venue.dialled == 1


def test_who_waits_when_it_is_closed_is_told() -> None:
    async def silence(socket: web.WebSocketResponse, asked: dict[str, Any]) -> None:
        """Say nothing."""

    async def play() -> None:
        async with socket_to(Venue(silence)) as socket:
            waiting = asyncio.create_task(ask(socket, order()))
            await asyncio.sleep(0.05)
        with pytest.raises(ccxt.NetworkError):
            await waiting

    asyncio.run(play())

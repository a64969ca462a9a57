"""How each fault looks to a client, however its request came: Binance's own words, statuses and headers."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from aiohttp import web

from carryflow.venues.simulated.exchange import SimulatedVenue
from carryflow.venues.simulated.faults import Fault, FaultBox, Injected
from carryflow.venues.simulated.refusals import Refusal, banned, too_many_requests

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Answer = TypeVar("Answer")

_NOTHING_DONE = frozenset({Fault.TOO_MANY_REQUESTS, Fault.BANNED, Fault.SERVER_ERROR, Fault.REFUSED})
_UNKNOWN = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
_BUSY = "Server is currently overloaded with other requests. Please try again in a few minutes."
_REJECTED = "Account has insufficient balance for requested action."


class Delivery(Protocol[Answer]):
    """Be a request that has come whole; what is returned is sent to the client."""

    async def do(self) -> Answer:
        """Do what is asked for; once more whenever it is called."""

    def refuse(self, refusal: Refusal) -> Answer:
        """Return an answer that says no."""

    def halve(self, answer: Answer) -> Answer:
        """Return the first half of an answer."""

    def hang_up(self) -> Answer:
        """Close the connection; what is returned reaches nobody."""


async def go_wrong(injected: Injected, request: Delivery[Answer], now_ms: int) -> Answer:
    """Answer a request in the way of a fault."""
    if injected.fault in _NOTHING_DONE:
        return request.refuse(_refusal(injected, now_ms))
    if injected.fault is Fault.RESET:
        return request.hang_up()
    if injected.fault is Fault.DELAYED_REQUEST:
        await asyncio.sleep(injected.delay_seconds)
    answer = await request.do()
    match injected.fault:
        case Fault.LOST_ANSWER:
            return request.hang_up()
        case Fault.DELAYED_ANSWER:
            await asyncio.sleep(injected.delay_seconds)
        case Fault.REPEATED:
            await request.do()
        case Fault.ERROR_AFTER:
            return request.refuse(Refusal(-1007, _UNKNOWN, 503))
        case Fault.TRUNCATED:
            return request.halve(answer)
    return answer


def misbehave(venue: SimulatedVenue, faults: FaultBox) -> Any:
    """Return a middleware that lets the faults that are due happen instead of the answer."""
    told: dict[str, str] = {}

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        injected = faults.take(request.path, request.method)
        if injected is not None:
            return await _go_wrong_over_http(injected, request, handler, venue.now_ms, told)
        response = await handler(request)
        if request.path.endswith("/depth") and response.status == 200:
            told[request.path_qs] = _text(response)
        return response

    return middleware


async def _go_wrong_over_http(
    injected: Injected, request: web.Request, handler: Handler, now_ms: int, told: dict[str, str]
) -> web.StreamResponse:
    """Answer a request in the way of a fault; `told` holds the books that were answered with, by URL."""
    asked = _HttpRequest(request, handler)
    if "Upgrade" in request.headers and injected.fault not in _NOTHING_DONE:
        return asked.hang_up()  # of a websocket there is no answer to spoil
    await request.read()  # a request that has come is done even if the client hangs up meanwhile
    response = await go_wrong(injected, asked, now_ms)
    match injected.fault:
        case Fault.SKEWED_CLOCK:
            true = json.loads(_text(response))
            return web.json_response({"serverTime": true["serverTime"] + injected.skew_ms})
        case Fault.STALE_BOOK if request.path_qs in told:
            return web.Response(text=told[request.path_qs], content_type="application/json")
    return response


class _HttpRequest:
    """Be a request over HTTP."""

    def __init__(self, request: web.Request, handler: Handler) -> None:
        self._request = request
        self._handler = handler

    async def do(self) -> web.StreamResponse:
        return await self._handler(self._request)

    def refuse(self, refusal: Refusal) -> web.StreamResponse:
        return refused(refusal)

    def halve(self, answer: web.StreamResponse) -> web.StreamResponse:
        text = _text(answer)
        return web.Response(text=text[: len(text) // 2], content_type="application/json")

    def hang_up(self) -> web.StreamResponse:
        if self._request.transport is not None:
            self._request.transport.abort()
        return web.Response()


def _refusal(injected: Injected, now_ms: int) -> Refusal:
    """Return the answer of a venue that is asked too often, that is too busy, or that does not want to."""
    if injected.fault is Fault.TOO_MANY_REQUESTS:
        return too_many_requests(injected.wait_seconds, 2400)
    if injected.fault is Fault.BANNED:
        return banned(injected.wait_seconds, now_ms)
    if injected.fault is Fault.REFUSED:
        return Refusal(injected.code, injected.words or _REJECTED)
    return Refusal(-1008, _BUSY, 503)


def refused(refusal: Refusal) -> web.Response:
    """Return a refusal as HTTP tells it."""
    wait = {} if refusal.wait_seconds is None else {"Retry-After": str(refusal.wait_seconds)}
    told = {"code": refusal.code, "msg": refusal.message}
    return web.json_response(told, status=refusal.status, headers=wait)


def _text(response: web.StreamResponse) -> str:
    """Return the body of an answer that this venue made; all of its answers are whole texts."""
    if not isinstance(response, web.Response) or response.text is None:
        raise TypeError(f"expected an answer with a text, was {type(response).__name__}")
    return response.text

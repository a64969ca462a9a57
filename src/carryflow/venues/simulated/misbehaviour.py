"""How each fault looks to a client: Binance's own words, statuses and headers."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from carryflow.venues.simulated.exchange import SimulatedVenue
from carryflow.venues.simulated.faults import Fault, FaultBox, Injected

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_NOTHING_DONE = frozenset({Fault.TOO_MANY_REQUESTS, Fault.BANNED, Fault.SERVER_ERROR, Fault.REFUSED})
_PLEASE = "Please use the websocket for live updates to avoid polling the API."
_UNKNOWN = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
_BUSY = "Server is currently overloaded with other requests. Please try again in a few minutes."
_REJECTED = "Account has insufficient balance for requested action."


def misbehave(venue: SimulatedVenue, faults: FaultBox) -> Any:
    """Return a middleware that lets the faults that are due happen instead of the answer."""
    told: dict[str, str] = {}

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        injected = faults.take(request.path, request.method)
        if injected is not None:
            return await _go_wrong(injected, request, handler, venue.now_ms, told)
        response = await handler(request)
        if request.path.endswith("/depth") and response.status == 200:
            told[request.path_qs] = _text(response)
        return response

    return middleware


async def _go_wrong(
    injected: Injected, request: web.Request, handler: Handler, now_ms: int, told: dict[str, str]
) -> web.StreamResponse:
    """Answer a request in the way of a fault; `told` holds the books that were answered with, by URL."""
    if injected.fault in _NOTHING_DONE:
        return _refusal(injected, now_ms)
    if injected.fault is Fault.RESET or "Upgrade" in request.headers:
        return _hang_up(request)  # of a websocket there is no answer to spoil
    await request.read()  # a request that has come is done even if the client hangs up meanwhile
    if injected.fault is Fault.DELAYED_REQUEST:
        await asyncio.sleep(injected.delay_seconds)
    response = await handler(request)
    match injected.fault:
        case Fault.LOST_ANSWER:
            response = _hang_up(request)
        case Fault.DELAYED_ANSWER:
            await asyncio.sleep(injected.delay_seconds)
        case Fault.REPEATED:
            await handler(request)
        case Fault.ERROR_AFTER:
            response = _answer(503, -1007, _UNKNOWN, {})
        case Fault.TRUNCATED:
            text = _text(response)
            response = web.Response(text=text[: len(text) // 2], content_type="application/json")
        case Fault.SKEWED_CLOCK:
            true = json.loads(_text(response))
            response = web.json_response({"serverTime": true["serverTime"] + injected.skew_ms})
        case Fault.STALE_BOOK if request.path_qs in told:
            response = web.Response(text=told[request.path_qs], content_type="application/json")
    return response


def _refusal(injected: Injected, now_ms: int) -> web.Response:
    """Return the answer of a venue that is asked too often, that is too busy, or that does not want to."""
    if injected.fault is Fault.TOO_MANY_REQUESTS:
        return too_many_requests(injected.wait_seconds, 2400)
    if injected.fault is Fault.BANNED:
        return banned(injected.wait_seconds, now_ms)
    if injected.fault is Fault.REFUSED:
        return _answer(400, injected.code, injected.words or _REJECTED, {})
    return _answer(503, -1008, _BUSY, {})


def too_many_requests(wait_seconds: int, limit: int) -> web.Response:
    """Return the refusal of a request over so many a minute."""
    words = f"Too many requests; current limit of IP(127.0.0.1) is {limit} requests per minute. {_PLEASE}"
    headers = {"Retry-After": str(wait_seconds), "X-MBX-USED-WEIGHT-1M": str(limit + 1)}
    return _answer(429, -1003, words, headers)


def too_many_orders(wait_seconds: int, limit: int) -> web.Response:
    """Return the refusal of an order over so many in ten seconds."""
    words = f"Too many new orders; current limit is {limit} orders per 10 SECOND."
    return _answer(429, -1015, words, {"Retry-After": str(wait_seconds)})


def banned(wait_seconds: int, now_ms: int) -> web.Response:
    """Return the refusal of an address that went on asking."""
    until = now_ms + 1000 * wait_seconds
    words = f"Way too many requests; IP(127.0.0.1) banned until {until}. {_PLEASE}"
    return _answer(418, -1003, words, {"Retry-After": str(wait_seconds)})


def under_maintenance() -> web.Response:
    """Return the answer of a venue that is closed for its upkeep."""
    return _answer(503, -1016, "This service is no longer available. System is under maintenance.", {})


def _answer(status: int, code: int, words: str, headers: dict[str, str]) -> web.Response:
    return web.json_response({"code": code, "msg": words}, status=status, headers=headers)


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _text(response: web.StreamResponse) -> str:
    """Return the body of an answer that this venue made; all of its answers are whole texts."""
    if not isinstance(response, web.Response) or response.text is None:
        raise TypeError(f"expected an answer with a text, was {type(response).__name__}")
    return response.text

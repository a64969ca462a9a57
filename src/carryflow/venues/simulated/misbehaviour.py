"""How each fault looks to a client: Binance's own words, statuses and headers."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from carryflow.venues.simulated.exchange import SimulatedVenue
from carryflow.venues.simulated.faults import Fault, FaultBox, Injected

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PLEASE = "Please use the websocket for live updates to avoid polling the API."


def misbehave(venue: SimulatedVenue, faults: FaultBox) -> Any:
    """Return a middleware that lets the faults that are due happen instead of the answer."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        injected = faults.take(request.path)
        if injected is None:
            return await handler(request)
        if injected.fault is Fault.RESET:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if injected.fault is Fault.TRUNCATED:
            text = _text(await handler(request))
            return web.Response(text=text[: len(text) // 2], content_type="application/json")
        if injected.fault is Fault.SKEWED_CLOCK:
            told = json.loads(_text(await handler(request)))
            return web.json_response({"serverTime": told["serverTime"] + injected.skew_ms})
        return _refusal(injected, venue.now_ms)

    return middleware


def _refusal(injected: Injected, now_ms: int) -> web.Response:
    """Return the answer of a venue that is asked too often, or that is too busy."""
    wait = {"Retry-After": str(injected.wait_seconds)}
    if injected.fault is Fault.TOO_MANY_REQUESTS:
        words = f"Too many requests; current limit of IP(127.0.0.1) is 2400 requests per minute. {_PLEASE}"
        return _answer(429, -1003, words, wait | {"X-MBX-USED-WEIGHT-1M": "2401"})
    if injected.fault is Fault.BANNED:
        until = now_ms + 1000 * injected.wait_seconds
        words = f"Way too many requests; IP(127.0.0.1) banned until {until}. {_PLEASE}"
        return _answer(418, -1003, words, wait)
    busy = "Server is currently overloaded with other requests. Please try again in a few minutes."
    return _answer(503, -1008, busy, {})


def _answer(status: int, code: int, words: str, headers: dict[str, str]) -> web.Response:
    return web.json_response({"code": code, "msg": words}, status=status, headers=headers)


def _text(response: web.StreamResponse) -> str:
    """Return the body of an answer that this venue made; all of its answers are whole texts."""
    if not isinstance(response, web.Response) or response.text is None:
        raise TypeError(f"expected an answer with a text, was {type(response).__name__}")
    return response.text

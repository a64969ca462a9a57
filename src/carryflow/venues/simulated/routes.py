"""Binance's public endpoints, spot under /api/v3 and USDⓈ-M futures under /fapi/v1, as HTTP."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from carryflow.market.schema import Leg
from carryflow.venues.settings import TAPE_HEADER
from carryflow.venues.simulated import refusals
from carryflow.venues.simulated.exchange import SimulatedVenue
from carryflow.venues.simulated.market import VenueMarket

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

VENUE = web.AppKey("venue", SimulatedVenue)

_KLINES_MOST = {"spot": 1000, "perp": 1500}
_FUNDING_MOST = 1000
_SPOT_DEPTH_MOST = 5000
_PERP_DEPTHS = (5, 10, 20, 50, 100, 500, 1000)
_BASES: dict[Leg, str] = {"spot": "/api/v3", "perp": "/fapi/v1"}


def exchange_app(venue: SimulatedVenue) -> web.Application:
    """Return the web application that answers for a venue."""
    app = web.Application(middlewares=[_speak_binance])
    app[VENUE] = venue
    for leg, base in _BASES.items():
        for path, answer in _shared(leg).items():
            app.router.add_get(base + path, _json(answer))
    app.router.add_get("/fapi/v1/markPriceKlines", _json(_mark_klines))
    app.router.add_get("/fapi/v1/fundingRate", _json(_funding_rate))
    app.router.add_get("/fapi/v1/fundingInfo", _json(lambda r: r.app[VENUE].funding_info()))
    premium = _each("perp", lambda venue, market: venue.premium_index(market))
    app.router.add_get("/fapi/v1/premiumIndex", _json(premium))
    return app


def _shared(leg: Leg) -> dict[str, Callable[[web.Request], Any]]:
    """Return the endpoints that both legs have."""
    return {
        "/ping": lambda _: {},
        "/time": lambda r: {"serverTime": r.app[VENUE].now_ms},
        "/exchangeInfo": lambda r: r.app[VENUE].exchange_info(leg),
        "/klines": lambda r: _klines(r, leg),
        "/depth": lambda r: _depth(r, leg),
        "/ticker/bookTicker": _each(leg, lambda venue, market: venue.book_ticker(market)),
        "/ticker/price": _each(leg, lambda venue, market: venue.price(market)),
    }


def _json(answer: Callable[[web.Request], Any]) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(answer(request))

    return handler


@web.middleware
async def _speak_binance(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn refusals into Binance's error answers, and name the tape on every answer."""
    try:
        response = await handler(request)
    except web.HTTPNotFound:
        response = _refuse(refusals.invalid_path(request.method, request.path))
    except refusals.Refusal as refusal:
        response = _refuse(refusal)
    response.headers[TAPE_HEADER] = request.app[VENUE].tape_id
    return response


def _refuse(refusal: refusals.Refusal) -> web.Response:
    return web.json_response({"code": refusal.code, "msg": refusal.message}, status=refusal.status)


def _each(leg: Leg, answer: Callable[[SimulatedVenue, VenueMarket], Any]) -> Callable[[web.Request], Any]:
    """Answer for the symbol asked for, or with a list for all of them."""

    def handler(request: web.Request) -> Any:
        venue = request.app[VENUE]
        if request.query.get("symbol"):
            return answer(venue, _market(request, leg))
        return [answer(venue, market) for market in venue.markets(leg)]

    return handler


def _klines(request: web.Request, leg: Leg) -> list[list[object]]:
    market, rows = _asked_bars(request, leg)
    return market.klines(rows, request.app[VENUE].now_ms)


def _mark_klines(request: web.Request) -> list[list[object]]:
    market, rows = _asked_bars(request, "perp")
    return market.mark_klines(rows, request.app[VENUE].now_ms)


def _asked_bars(request: web.Request, leg: Leg) -> tuple[VenueMarket, slice]:
    """Return the market and the rows that a kline request asks for."""
    market = _market(request, leg)
    if not request.query.get("interval"):
        raise refusals.mandatory("interval")
    if request.query["interval"] != "1h":
        raise refusals.invalid_interval()
    limit = _whole(request, "limit", 500)
    if not 1 <= limit <= _KLINES_MOST[leg] and leg == "perp":
        raise refusals.invalid_limit()
    now = request.app[VENUE].now_ms
    start = _whole(request, "startTime", -1)
    end = _whole(request, "endTime", now)
    limit = min(max(limit, 1), _KLINES_MOST[leg])
    return market, market.rows(None if start < 0 else start, end, now, limit)


def _funding_rate(request: web.Request) -> list[dict[str, Any]]:
    """Answer with settlements from startTime to endTime, or the last ones if no startTime is given."""
    venue = request.app[VENUE]
    asked = [_market(request, "perp")] if request.query.get("symbol") else venue.markets("perp")
    start, end = _whole(request, "startTime", -1), _whole(request, "endTime", venue.now_ms)
    limit = min(max(_whole(request, "limit", 100), 1), _FUNDING_MOST)
    history = [entry for market in asked for entry in venue.funding_history(market)]
    found = sorted(
        (e for e in history if start <= e["fundingTime"] <= end), key=lambda e: int(e["fundingTime"])
    )
    return found[:limit] if start >= 0 else found[-limit:]


def _depth(request: web.Request, leg: Leg) -> dict[str, Any]:
    limit = _whole(request, "limit", 100)
    if leg == "perp" and limit not in _PERP_DEPTHS:
        raise refusals.Refusal(-4021, f"Depth limit '{limit}' not valid.")
    return request.app[VENUE].depth(_market(request, leg), min(max(limit, 1), _SPOT_DEPTH_MOST))


def _market(request: web.Request, leg: Leg) -> VenueMarket:
    symbol = request.query.get("symbol", "")
    if not symbol:
        raise refusals.mandatory("symbol")
    return request.app[VENUE].market(leg, symbol)


def _whole(request: web.Request, name: str, otherwise: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise refusals.illegal_characters(name)
    return int(text)

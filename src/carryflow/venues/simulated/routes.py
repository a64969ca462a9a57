"""Binance's public endpoints, spot under /api/v3 and USDⓈ-M futures under /fapi/v1, as HTTP.

Where trading is on, books are those that orders are matched against, and requests have their limits.
"""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from carryflow.core.leg import Leg
from carryflow.market.timeframe import TIMEFRAMES, bar_ms
from carryflow.venues.settings import TAPE_HEADER
from carryflow.venues.simulated import refusals
from carryflow.venues.simulated.exchange import SimulatedVenue
from carryflow.venues.simulated.faults import FaultBox
from carryflow.venues.simulated.market import VenueMarket
from carryflow.venues.simulated.misbehaviour import Handler, misbehave, refused
from carryflow.venues.simulated.pace import SPEED_HEADER, Pace
from carryflow.venues.simulated.prices import Price
from carryflow.venues.simulated.signed.desk import DESK, TradingDesk
from carryflow.venues.simulated.signed.limits import leg_of, weight_of

VENUE = web.AppKey("venue", SimulatedVenue)

_KLINES_MOST = {"spot": 1000, "perp": 1500}
_FUNDING_MOST = 1000
_SPOT_DEPTH_MOST = 5000
_PERP_DEPTHS = (5, 10, 20, 50, 100, 500, 1000)
_BASES: dict[Leg, str] = {"spot": "/api/v3", "perp": "/fapi/v1"}
_PERP_PRICES: dict[str, Price] = {
    "/fapi/v1/markPriceKlines": "mark",
    "/fapi/v1/indexPriceKlines": "index",
    "/fapi/v1/premiumIndexKlines": "premium",
}


PACE = web.AppKey("pace", Pace)


def exchange_app(
    venue: SimulatedVenue, faults: FaultBox, pace: Pace, desk: TradingDesk | None = None
) -> web.Application:
    """Return the web application that answers for a venue, and goes wrong as it is told to.

    Without a desk nobody can trade; the signed endpoints and the streams are added by those who own them.
    """
    gate = [] if desk is None else [_open_only]
    app = web.Application(middlewares=[_name_the_tape, misbehave(venue, faults), *gate, _speak_binance])
    app[VENUE], app[PACE] = venue, pace
    if desk is not None:
        app[DESK] = desk
    for leg, base in _BASES.items():
        app.router.add_get(f"{base}/klines", _klines(leg, "trade"))
        for path, answer in _shared(leg).items():
            app.router.add_get(base + path, _json(answer))
    for path, price in _PERP_PRICES.items():
        app.router.add_get(path, _klines("perp", price))
    app.router.add_get("/fapi/v1/fundingRate", _json(_funding_rate))
    app.router.add_get("/fapi/v1/fundingInfo", _json(lambda r: r.app[VENUE].funding_info()))
    premium = _each("perp", lambda r, market: r.app[VENUE].premium_index(market))
    app.router.add_get("/fapi/v1/premiumIndex", _json(premium))
    return app


def _shared(leg: Leg) -> dict[str, Callable[[web.Request], Any]]:
    """Return the endpoints that both legs have."""
    return {
        "/ping": lambda _: {},
        "/time": lambda r: {"serverTime": r.app[VENUE].now_ms},
        "/exchangeInfo": lambda r: _exchange_info(r, leg),
        "/depth": lambda r: _depth(r, leg),
        "/ticker/bookTicker": _each(leg, _book_ticker),
        "/ticker/price": _each(leg, lambda r, market: r.app[VENUE].price(market)),
    }


def _json(answer: Callable[[web.Request], Any]) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(answer(request))

    return handler


@web.middleware
async def _name_the_tape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Name the tape and its speed on every answer."""
    try:
        response = await handler(request)
    except ConnectionError:
        response = web.Response(
            status=400
        )  # the client has gone while its request came in: nobody reads this
    if not response.prepared:
        response.headers[TAPE_HEADER] = request.app[VENUE].tape_id
        response.headers[SPEED_HEADER] = f"{request.app[PACE].speed:g}"
    return response


@web.middleware
async def _open_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn away those who come at the wrong time or too often, and keep the floor in step for the others."""
    desk = request.app[DESK]
    leg, weight = leg_of(request.path), weight_of(request.method, request.path, request.query)
    try:
        if not request.path.endswith("/system/status"):
            desk.require_open()
        desk.limits.count_request(leg, weight, desk.catch_up())
    except refusals.Refusal as refusal:
        return refused(refusal)
    response = await handler(request)
    if not response.prepared:
        response.headers.update(desk.limits.headers(leg))
    return response


@web.middleware
async def _speak_binance(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn refusals into Binance's error answers."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return refused(refusals.invalid_path(request.method, request.path))
    except refusals.Refusal as refusal:
        return refused(refusal)


def _each(leg: Leg, answer: Callable[[web.Request, VenueMarket], Any]) -> Callable[[web.Request], Any]:
    """Answer for the symbol asked for, or with a list for all of them."""

    def handler(request: web.Request) -> Any:
        if request.query.get("symbol"):
            return answer(request, _market(request, leg))
        return [answer(request, market) for market in request.app[VENUE].markets(leg)]

    return handler


def _exchange_info(request: web.Request, leg: Leg) -> dict[str, Any]:
    answer, desk = request.app[VENUE].exchange_info(leg), request.app.get(DESK)
    return answer if desk is None else answer | {"rateLimits": desk.limits.announced(leg)}


def _book_ticker(request: web.Request, market: VenueMarket) -> dict[str, Any]:
    desk = request.app.get(DESK)
    if desk is None:
        return request.app[VENUE].book_ticker(market)
    book = desk.floor.book(market.leg, market.symbol, 1)
    (bid, bid_qty), (ask, ask_qty) = (side[0] if side else ("0", "0") for side in (book.bids, book.asks))
    return {
        "symbol": market.symbol,
        "bidPrice": bid,
        "bidQty": bid_qty,
        "askPrice": ask,
        "askQty": ask_qty,
    }


def _klines(leg: Leg, price: Price) -> Handler:
    """Answer with bars of one price; those of the index are asked for by `pair`."""
    name = "pair" if price == "index" else "symbol"

    async def handler(request: web.Request) -> web.StreamResponse:
        venue, market = request.app[VENUE], _market(request, leg, name)
        interval = request.query.get("interval", "")
        if not interval:
            raise refusals.mandatory("interval")
        if interval not in TIMEFRAMES:
            raise refusals.invalid_interval()
        limit = _whole(request, "limit", 500)
        if not 1 <= limit <= _KLINES_MOST[leg] and leg == "perp":
            raise refusals.invalid_limit()
        limit = min(max(limit, 1), _KLINES_MOST[leg])
        end = _whole(request, "endTime", venue.now_ms)
        bars = venue.klines(market, price, bar_ms(interval), _start(request), end, limit)
        return web.Response(text=bars, content_type="application/json")

    return handler


def _funding_rate(request: web.Request) -> list[dict[str, Any]]:
    """Answer with settlements from startTime to endTime, or the last ones if no startTime is given."""
    venue = request.app[VENUE]
    asked = [_market(request, "perp")] if request.query.get("symbol") else venue.markets("perp")
    limit = min(max(_whole(request, "limit", 100), 1), _FUNDING_MOST)
    return venue.funding_history(asked, _start(request), _whole(request, "endTime", venue.now_ms), limit)


def _depth(request: web.Request, leg: Leg) -> dict[str, Any]:
    limit = _whole(request, "limit", 100)
    if leg == "perp" and limit not in _PERP_DEPTHS:
        raise refusals.Refusal(-4021, f"Depth limit '{limit}' not valid.")
    market, levels = _market(request, leg), min(max(limit, 1), _SPOT_DEPTH_MOST)
    desk = request.app.get(DESK)
    if desk is None:
        return request.app[VENUE].depth(market, levels)
    book, now_ms = desk.floor.book(leg, market.symbol, levels), desk.venue.now_ms
    times = {} if leg == "spot" else {"E": now_ms, "T": now_ms}
    return {"lastUpdateId": book.update_id, **times, "bids": book.bids, "asks": book.asks}


def _market(request: web.Request, leg: Leg, name: str = "symbol") -> VenueMarket:
    symbol = request.query.get(name, "")
    if not symbol:
        raise refusals.mandatory(name)
    return request.app[VENUE].market(leg, symbol)


def _start(request: web.Request) -> int | None:
    start = _whole(request, "startTime", -1)
    return None if start < 0 else start


def _whole(request: web.Request, name: str, otherwise: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return otherwise
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise refusals.illegal_characters(name)
    return int(text)

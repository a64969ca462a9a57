"""Binance's signed endpoints for orders and trades, spot under /api/v3 and futures under /fapi/v1."""

from typing import Any

from aiohttp import web

from carryflow.core.leg import Leg
from carryflow.venues.simulated.misbehaviour import Handler
from carryflow.venues.simulated.refusals import Refusal
from carryflow.venues.simulated.signed import order_answers as answers
from carryflow.venues.simulated.signed.desk import DESK, TradingDesk
from carryflow.venues.simulated.signed.new_orders import place_order
from carryflow.venues.simulated.signed.signed_routes import Signed, authenticate, signed
from carryflow.venues.simulated.signed.signing import Params
from carryflow.venues.simulated.trading.accounts import VenueAccount
from carryflow.venues.simulated.trading.orders import VenueOrder

_DAY_MS = 86_400_000
_MOST_ROWS = 1000
_PATHS: dict[Leg, tuple[str, str]] = {"spot": ("/api/v3", "myTrades"), "perp": ("/fapi/v1", "userTrades")}
_LONGEST_RANGE_MS: dict[Leg, int] = {"spot": _DAY_MS, "perp": 7 * _DAY_MS}


def add_order_routes(app: web.Application) -> None:
    """Add the endpoints of both legs."""
    for leg, (base, trades) in _PATHS.items():
        app.router.add_post(f"{base}/order", _place(leg))
        app.router.add_get(f"{base}/order", signed(_order(leg)))
        app.router.add_delete(f"{base}/order", signed(_cancel(leg)))
        app.router.add_get(f"{base}/openOrders", signed(_open_orders(leg)))
        app.router.add_get(f"{base}/allOrders", signed(_all_orders(leg)))
        app.router.add_get(f"{base}/{trades}", signed(_trades(leg)))
    app.router.add_delete("/api/v3/openOrders", signed(_cancel_spot))
    app.router.add_delete("/fapi/v1/allOpenOrders", signed(_cancel_perp))
    app.router.add_get("/fapi/v1/openOrder", signed(_open_order))


def _place(leg: Leg) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        account, params = await authenticate(request)
        return web.json_response(await place_order(request.app[DESK], account, leg, params))

    return handler


def _names(params: Params) -> dict[str, Any]:
    """Return which order is meant: by the venue's number of it, else by the client's name."""
    names = {
        "order_id": params.optional_whole("orderId"),
        "client_id": params.optional("origClientOrderId"),
    }
    if names["order_id"] is None and names["client_id"] is None:
        raise Refusal(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
    return names


def _order(leg: Leg) -> Signed:
    tell = _telling(leg)

    def answer(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
        return tell(desk.floor.order(account, leg, params.text("symbol"), **_names(params)))

    return answer


def _open_order(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
    order = desk.floor.order(account, "perp", params.text("symbol"), **_names(params))
    if not order.status.open:
        raise Refusal(-2013, "Order does not exist.")
    return answers.perp_order(order)


def _cancel(leg: Leg) -> Signed:
    def answer(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
        order = desk.floor.cancel(account, leg, params.text("symbol"), **_names(params))
        if leg == "perp":
            return answers.perp_order(order)
        return answers.spot_cancelled(order, params.text("newClientOrderId", _cancel_id(order)))

    return answer


def _cancel_spot(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
    """Cancel a market's orders; spot refuses where there is none."""
    cancelled = desk.floor.cancel_all(account, "spot", params.text("symbol"))
    if not cancelled:
        raise Refusal(-2011, "Unknown order sent.")
    return [answers.spot_cancelled(order, _cancel_id(order)) for order in cancelled]


def _cancel_perp(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
    desk.floor.cancel_all(account, "perp", params.text("symbol"))
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def _cancel_id(order: VenueOrder) -> str:
    return f"cancel_{order.order_id}"


def _open_orders(leg: Leg) -> Signed:
    tell = _telling(leg)

    def answer(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
        found = desk.floor.orders(account, leg, params.optional("symbol"), open_only=True)
        return [tell(order) for order in found]

    return answer


def _all_orders(leg: Leg) -> Signed:
    """Answer with orders from a number or an instant on, or without either with the last ones."""
    tell = _telling(leg)

    def answer(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
        found = desk.floor.orders(account, leg, params.text("symbol"), open_only=False)
        first, start = params.optional_whole("orderId"), params.optional_whole("startTime")
        end = params.whole("endTime", desk.venue.now_ms)
        limit = min(params.whole("limit", 500), _MOST_ROWS)
        chosen = [
            order
            for order in found
            if order.order_id >= (first or 0) and (start or 0) <= order.time_ms <= end
        ]
        return [tell(order) for order in (chosen[-limit:] if first is start is None else chosen[:limit])]

    return answer


def _trades(leg: Leg) -> Signed:
    tell = answers.spot_trade if leg == "spot" else answers.perp_trade

    def answer(desk: TradingDesk, account: VenueAccount, params: Params) -> Any:
        symbol, order_id = params.text("symbol"), params.optional_whole("orderId")
        found = desk.floor.trades(account, leg, symbol, **_range(desk, leg, params), order_id=order_id)
        return [tell(trade) for trade in found]

    return answer


def _range(desk: TradingDesk, leg: Leg, params: Params) -> dict[str, Any]:
    """Return which trades are asked for; a leg tells of so many days in one answer.

    Raises:
        Refusal: the range is longer than that.
    """
    start, end = params.optional_whole("startTime"), params.optional_whole("endTime")
    longest = _LONGEST_RANGE_MS[leg]
    if start is not None and end is not None and end - start > longest:
        raise Refusal(-1127, f"More than {longest // 3_600_000} hours between startTime and endTime.")
    from_id = params.optional_whole("fromId")
    if leg == "perp" and from_id is None:
        if start is None:
            start = (desk.venue.now_ms if end is None else end) - longest
        end = start + longest if end is None else end
    limit = min(params.whole("limit", 500), _MOST_ROWS)
    return {"start_ms": start, "end_ms": end, "from_id": from_id, "limit": limit}


def _telling(leg: Leg) -> Any:
    return answers.spot_order if leg == "spot" else answers.perp_order

"""The control port: what a test does to the exchange, as JSON over HTTP, for exchanges in another process.

It asks for no password, and is open on this machine only.
"""

from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, get_args

from aiohttp import web

from carryflow.core.errors import CarryflowError
from carryflow.core.leg import Leg
from carryflow.venues.simulated.account_answers import income, transfer
from carryflow.venues.simulated.desk import TradingDesk
from carryflow.venues.simulated.faults import Fault, Injected
from carryflow.venues.simulated.order_answers import exact, perp_order, perp_trade, spot_order, spot_trade
from carryflow.venues.simulated.refusals import Refusal
from carryflow.venues.simulated.trading.orders import Side, Trade, VenueOrder

if TYPE_CHECKING:
    from carryflow.venues.simulated.premises import Premises

Asked = dict[str, Any]


def control_app(premises: "Premises") -> web.Application:
    """Return the web application that steers an exchange on which one can trade."""
    desk = premises.desk
    if desk is None:
        raise TypeError("expected an exchange with a trading desk, was one without")
    app = web.Application()
    add = app.router
    add.add_get("/clock", _told(lambda _: {"now_ms": premises.pace.now_ms()}))
    add.add_post("/clock", _done(lambda asked: _set_clock(premises, asked)))
    add.add_get("/faults", _told(lambda _: {fault.name: n for fault, n in premises.faults.happened.items()}))
    add.add_post("/faults", _done(lambda asked: _inject(premises, asked)))
    add.add_delete("/faults", _done(lambda _: premises.faults.clear()))
    add.add_get("/requests", _told(lambda _: dict(premises.faults.requests)))
    add.add_post("/accounts", _done(lambda asked: _open_account(desk, asked)))
    add.add_post("/foreign-orders", _done(lambda asked: _foreign_order(desk, asked)))
    add.add_post("/deleverage", _done(lambda asked: _deleverage(desk, asked)))
    add.add_post("/halts", _done(lambda a: desk.halt(_leg(a), str(a["ticker"]), _flag(a, "on"))))
    add.add_post("/maintenance", _done(lambda asked: desk.maintain(_flag(asked, "on"))))
    add.add_post("/quote-price", _done(lambda a: desk.floor.set_quote_price(_decimal(a["dollars"]))))
    add.add_get("/statement", _told(lambda query: desk.floor.statement(desk.account(query["key"]))))
    add.add_get("/orders", _told(lambda query: [order_words(o) for o in desk.every_order(query["key"])]))
    add.add_get("/trades", _told(lambda query: [trade_words(t) for t in desk.every_trade(query["key"])]))
    add.add_get("/incomes", _told(lambda query: [income(entry) for entry in desk.every_income(query["key"])]))
    add.add_get("/transfers", _told(lambda query: [transfer(t) for t in desk.every_transfer(query["key"])]))
    return app


def order_words(order: VenueOrder) -> Asked:
    """Return an order as its leg's API tells of it, with the leg."""
    return {"leg": order.leg} | (spot_order(order) if order.leg == "spot" else perp_order(order))


def trade_words(trade: Trade) -> Asked:
    """Return a trade as its leg's API tells of it, with the leg."""
    return {"leg": trade.leg} | (spot_trade(trade) if trade.leg == "spot" else perp_trade(trade))


def _inject(premises: "Premises", asked: Asked) -> None:
    name = str(asked.pop("fault"))
    if name not in Fault.__members__:
        raise KeyError(f"fault {name}; there are {', '.join(Fault.__members__)}")
    premises.faults.add(Injected(Fault[name], **asked))


def _set_clock(premises: "Premises", asked: Asked) -> Asked:
    now_ms = asked["now_ms"] if "now_ms" in asked else premises.pace.now_ms() + asked["step_ms"]
    premises.set_clock(int(now_ms))
    return {"now_ms": premises.pace.now_ms()}


def _open_account(desk: TradingDesk, asked: Asked) -> None:
    spot = {str(asset): _decimal(amount) for asset, amount in asked.get("spot", {}).items()}
    futures = _decimal(asked.get("futures", "0"))
    desk.open_account(str(asked["key"]), str(asked["secret"]), spot, futures, bool(asked.get("withdraw")))


def _foreign_order(desk: TradingDesk, asked: Asked) -> Asked:
    side, qty = Side(str(asked["side"]).upper()), _decimal(asked["qty"])
    return order_words(desk.foreign_order(str(asked["key"]), _leg(asked), str(asked["ticker"]), side, qty))


def _deleverage(desk: TradingDesk, asked: Asked) -> None:
    desk.deleverage(str(asked["key"]), str(asked["ticker"]), _decimal(asked["fraction"]))


def _leg(asked: Asked) -> Leg:
    leg: Leg = asked["leg"]
    if leg not in get_args(Leg):
        raise KeyError(f"leg {leg}; there are {', '.join(get_args(Leg))}")
    return leg


def _flag(asked: Asked, name: str) -> bool:
    if not isinstance(asked[name], bool):
        raise TypeError(f"{name} must be true or false, was {asked[name]!r}")
    return bool(asked[name])


def _decimal(value: Any) -> Decimal:
    return Decimal(str(value))


def _done(action: Callable[[Asked], Any]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return a handler that does something with the JSON that was sent."""

    async def handler(request: web.Request) -> web.StreamResponse:
        asked = await request.json() if request.can_read_body else {}
        return _answer(action, asked)

    return handler


def _told(
    question: Callable[[Mapping[str, str]], Any],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return a handler that answers a question about its query."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return _answer(question, request.query)

    return handler


def _answer(action: Callable[[Any], Any], asked: Any) -> web.Response:
    try:
        answer = action(asked)
    except Refusal as refusal:
        return web.json_response({"code": refusal.code, "msg": refusal.message}, status=refusal.status)
    except (KeyError, TypeError, ValueError, InvalidOperation, CarryflowError) as error:
        return web.json_response({"msg": f"{type(error).__name__}: {error}"}, status=400)
    return web.json_response(answer, dumps=_dumps)


def _dumps(answer: Any) -> str:
    import json

    return json.dumps(
        answer, default=lambda value: exact(value) if isinstance(value, Decimal) else str(value)
    )

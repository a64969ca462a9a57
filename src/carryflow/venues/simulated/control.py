"""The control port: what a test does to the exchange, as JSON over HTTP, for exchanges in another process.

It asks for no password, and is open on this machine only.
"""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, get_args

from aiohttp import web

from carryflow.core.errors import CarryflowError
from carryflow.core.leg import Leg
from carryflow.venues.simulated.faults import Fault, Injected
from carryflow.venues.simulated.misbehaviour import Handler
from carryflow.venues.simulated.refusals import Refusal
from carryflow.venues.simulated.signed.account_answers import income, transfer
from carryflow.venues.simulated.signed.desk import TradingDesk
from carryflow.venues.simulated.signed.order_answers import (
    exact,
    perp_order,
    perp_trade,
    spot_order,
    spot_trade,
)
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
    add.add_post("/quote-price", _done(lambda a: desk.floor.set_quote_price(_decimal(a, "dollars"))))
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
        raise ValueError(f"there is no fault {name}; there are {', '.join(Fault.__members__)}")
    premises.faults.add(Injected(Fault[name], **asked))


def _set_clock(premises: "Premises", asked: Asked) -> Asked:
    now_ms = premises.pace.now_ms()
    premises.set_clock(_whole(asked, "now_ms") if "now_ms" in asked else now_ms + _whole(asked, "step_ms"))
    return {"now_ms": premises.pace.now_ms()}


def _open_account(desk: TradingDesk, asked: Asked) -> None:
    coins = asked.get("spot", {})
    if not isinstance(coins, dict):
        raise TypeError("spot must be amounts by coin")
    spot = {str(asset): _decimal(coins, asset) for asset in coins}
    futures = _decimal(asked, "futures") if "futures" in asked else Decimal(0)
    withdraw = "withdraw" in asked and _flag(asked, "withdraw")
    desk.open_account(str(asked["key"]), str(asked["secret"]), spot, futures, withdraw)


def _foreign_order(desk: TradingDesk, asked: Asked) -> Asked:
    side, qty = Side(str(asked["side"]).upper()), _decimal(asked, "qty")
    return order_words(desk.foreign_order(str(asked["key"]), _leg(asked), str(asked["ticker"]), side, qty))


def _deleverage(desk: TradingDesk, asked: Asked) -> None:
    desk.deleverage(str(asked["key"]), str(asked["ticker"]), _decimal(asked, "fraction"))


def _leg(asked: Asked) -> Leg:
    leg: Leg = asked["leg"]
    if leg not in get_args(Leg):
        raise ValueError(f"there is no leg {leg}; there are {', '.join(get_args(Leg))}")
    return leg


def _flag(asked: Asked, name: str) -> bool:
    if not isinstance(asked[name], bool):
        raise TypeError(f"{name} must be true or false, was {asked[name]!r}")
    return bool(asked[name])


def _whole(asked: Asked, name: str) -> int:
    value = asked[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, was {value!r}")
    return value


def _decimal(asked: Asked, name: str) -> Decimal:
    """Return an amount or a price, which is never below zero."""
    try:
        value = Decimal(str(asked[name]))
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value < 0:
        raise ValueError(f"{name} must be a number from 0, was {asked[name]!r}")
    return value


def _done(action: Callable[[Asked], Any]) -> Handler:
    """Return a handler that does something with the JSON that was sent."""

    async def handler(request: web.Request) -> web.StreamResponse:
        text = await request.text()
        return _answer(lambda _: action(_object(text)), None)

    return handler


def _object(text: str) -> Asked:
    """Return the object that a body holds, an empty one if there is none.

    Raises:
        TypeError: it is no JSON, or no object. It is not repeated: there may be a secret in it.
    """
    try:
        asked = json.loads(text or "{}")
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise TypeError('send a JSON object, such as {"step_ms": 1000}')
    return asked


def _told(question: Callable[[Mapping[str, str]], Any]) -> Handler:
    """Return a handler that answers a question about its query."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return _answer(question, request.query)

    return handler


def _answer(action: Callable[[Any], Any], asked: Any) -> web.Response:
    try:
        answer = action(asked)
    except Refusal as refusal:
        return web.json_response({"code": refusal.code, "msg": refusal.message}, status=refusal.status)
    except KeyError as error:
        return web.json_response({"msg": f"{error} is missing"}, status=400)
    except (TypeError, ValueError, CarryflowError) as error:
        return web.json_response({"msg": str(error)}, status=400)
    return web.json_response(answer, dumps=_dumps)


def _dumps(answer: Any) -> str:
    return json.dumps(
        answer, default=lambda value: exact(value) if isinstance(value, Decimal) else str(value)
    )

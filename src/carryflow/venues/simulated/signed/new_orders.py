"""New orders, over HTTP or as messages: how they are read, reach their match, and are answered."""

import asyncio
from decimal import Decimal
from typing import TypeVar

from carryflow.core.leg import Leg
from carryflow.venues.simulated.faults import Fault
from carryflow.venues.simulated.refusals import Refusal
from carryflow.venues.simulated.signed import order_answers as answers
from carryflow.venues.simulated.signed.desk import TradingDesk
from carryflow.venues.simulated.signed.signing import Params, require_recent
from carryflow.venues.simulated.trading.accounts import VenueAccount
from carryflow.venues.simulated.trading.orders import OrderEntry, OrderType, Side, TimeInForce

ORDER_PATHS: dict[Leg, str] = {"spot": "/api/v3/order", "perp": "/fapi/v1/order"}
"""Where orders are sent over HTTP; faults and limits know them by it, however they came."""

Choice = TypeVar("Choice", Side, OrderType, TimeInForce)

_TYPES: dict[Leg, tuple[OrderType, ...]] = {
    "spot": (OrderType.LIMIT, OrderType.MARKET, OrderType.LIMIT_MAKER),
    "perp": (OrderType.LIMIT, OrderType.MARKET),
}
_TIMES: dict[Leg, tuple[TimeInForce, ...]] = {
    "spot": (TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK),
    "perp": tuple(TimeInForce),
}


async def place_order(desk: TradingDesk, account: VenueAccount, leg: Leg, params: Params) -> answers.Answer:
    """Let an order whose owner has signed travel to its match, meet the faults there, and be answered.

    Raises:
        Refusal: it is one too many, it is wrong, it came too late, or it is not taken.
    """
    desk.limits.count_order(leg, account.key, desk.venue.now_ms)
    entry = _read_entry(leg, params)
    usual = "ACK" if leg == "perp" or entry.type is OrderType.LIMIT_MAKER else "FULL"
    response = params.text("newOrderRespType", usual)
    await _travel(desk, params)
    injected = desk.faults.take_match(ORDER_PATHS[leg])
    fraction, late_ms = None, 0
    if injected is not None and injected.fault is Fault.PARTIAL_FILL:
        fraction = Decimal(str(injected.fraction))
    elif injected is not None:
        late_ms = injected.late_ms
    order = desk.floor.place(account, leg, entry, fill_fraction=fraction, late_ms=late_ms)
    placed = answers.spot_placed if leg == "spot" else answers.perp_placed
    return placed(order, response)


async def _travel(desk: TradingDesk, params: Params) -> None:
    """Let an order take the venue's latency to its match; while the clock stands it takes no time.

    Raises:
        Refusal: when it arrives its time is up. What is not there then never will be.
    """
    seconds = desk.pace.seconds(desk.settings.latency_ms)
    if seconds:
        await asyncio.sleep(seconds)
        require_recent(params, desk.pace)
        desk.catch_up()


def _read_entry(leg: Leg, params: Params) -> OrderEntry:
    """Return the order that parameters ask for.

    Raises:
        Refusal: one is missing, or is no word of Binance's.
    """
    symbol = params.text("symbol")
    side = _chosen(Side, tuple(Side), params.text("side"), Refusal(-1117, "Invalid side."))
    kind = _chosen(OrderType, _TYPES[leg], params.text("type"), Refusal(-1116, "Invalid orderType."))
    time_in_force = TimeInForce.GTC
    if kind is OrderType.LIMIT:
        invalid = Refusal(-1115, "Invalid timeInForce.")
        time_in_force = _chosen(TimeInForce, _TIMES[leg], params.text("timeInForce"), invalid)
    qty = params.decimal("quantity")
    price = None if kind is OrderType.MARKET else params.decimal("price")
    client_id = params.text("newClientOrderId", "")
    reduce_only = leg == "perp" and params.flag("reduceOnly")
    return OrderEntry(symbol, side, kind, time_in_force, qty, price, reduce_only, client_id)


def _chosen(words: type[Choice], allowed: tuple[Choice, ...], sent: str, refusal: Refusal) -> Choice:
    if sent not in allowed:
        raise refusal
    return words(sent)

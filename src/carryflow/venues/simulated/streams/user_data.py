"""What the streams of an account say: its orders, trades, balances and positions, in each leg's words."""

from typing import Any

from carryflow.venues.simulated.signed.order_answers import exact, mean
from carryflow.venues.simulated.trading.events import AccountEvent, EventKind, Reason
from carryflow.venues.simulated.trading.floor import TradingFloor
from carryflow.venues.simulated.trading.orders import VenueOrder

Message = dict[str, Any]

_FORCED = ("autoclose-", "adl_autoclose")
"""How the names begin of the orders by which the venue closes positions."""


def account_messages(event: AccountEvent, floor: TradingFloor) -> list[Message]:
    """Return what an account's stream of the event's leg says."""
    if event.order is not None:
        told = _spot_order(event, event.order) if event.leg == "spot" else _perp_order(event, event.order)
        return [told]
    return _spot_balances(event) if event.leg == "spot" else [_perp_balances(event, floor)]


def _spot_order(event: AccountEvent, order: VenueOrder) -> Message:
    entry, trade = order.entry, event.trade
    cancelled = event.kind is EventKind.CANCELED
    return {
        "e": "executionReport",
        "E": event.time_ms,
        "s": order.symbol,
        "c": f"cancel_{order.order_id}" if cancelled else order.client_id,
        "S": entry.side.value,
        "o": entry.type.value,
        "f": entry.time_in_force.value,
        "q": exact(entry.qty),
        "p": "0" if entry.price is None else exact(entry.price),
        "P": "0",
        "F": "0",
        "g": -1,
        "C": order.client_id if cancelled else "",
        "x": event.kind.value,
        "X": order.status.value,
        "r": "NONE",
        "i": order.order_id,
        "l": "0" if trade is None else exact(trade.qty),
        "z": exact(order.executed),
        "L": "0" if trade is None else exact(trade.price),
        "n": "0" if trade is None else exact(trade.commission),
        "N": None if trade is None else trade.commission_asset,
        "T": event.time_ms,
        "t": -1 if trade is None else trade.id,
        "w": order.status.open,
        "m": trade is not None and trade.maker,
        "O": order.time_ms,
        "Z": exact(order.quote_executed),
        "Y": "0" if trade is None else exact(trade.quote_qty),
        "Q": "0",
        "W": order.time_ms,
        "V": "NONE",
    }


def _perp_order(event: AccountEvent, order: VenueOrder) -> Message:
    entry, trade = order.entry, event.trade
    forced = order.client_id.startswith(_FORCED) and event.kind is EventKind.TRADE
    told: Message = {
        "s": order.symbol,
        "c": order.client_id,
        "S": entry.side.value,
        "o": "LIQUIDATION" if forced else entry.type.value,
        "f": entry.time_in_force.value,
        "q": exact(entry.qty),
        "p": "0" if entry.price is None else exact(entry.price),
        "ap": mean(order.average_price),
        "sp": "0",
        "x": "CALCULATED" if forced else event.kind.value,
        "X": order.status.value,
        "i": order.order_id,
        "l": "0" if trade is None else exact(trade.qty),
        "z": exact(order.executed),
        "L": "0" if trade is None else exact(trade.price),
        "T": event.time_ms,
        "t": 0 if trade is None else trade.id,
        "b": "0",
        "a": "0",
        "m": trade is not None and trade.maker,
        "R": entry.reduce_only,
        "wt": "CONTRACT_PRICE",
        "ot": entry.type.value,
        "ps": "BOTH",
        "cp": False,
        "rp": "0" if trade is None else exact(trade.realized_pnl),
    }
    if trade is not None:
        told |= {"n": exact(trade.commission), "N": trade.commission_asset}
    return {"e": "ORDER_TRADE_UPDATE", "E": event.time_ms, "T": event.time_ms, "o": told}


def _spot_balances(event: AccountEvent) -> list[Message]:
    """Return all that is in the changed purses; of a transfer, what came or went before it."""
    purses = [
        {
            "a": asset,
            "f": exact(event.account.purse(asset).free),
            "l": exact(event.account.purse(asset).locked),
        }
        for asset in event.assets
    ]
    now_ms = event.time_ms
    position = {"e": "outboundAccountPosition", "E": now_ms, "u": now_ms, "B": purses}
    if event.reason is not Reason.TRANSFER:
        return [position]
    change = {"a": event.assets[0], "d": exact(event.amount), "T": now_ms}
    return [{"e": "balanceUpdate", "E": now_ms, **change}, position]


def _perp_balances(event: AccountEvent, floor: TradingFloor) -> Message:
    wallet = exact(event.account.futures)
    balances = [{"a": asset, "wb": wallet, "cw": wallet, "bc": exact(event.amount)} for asset in event.assets]
    positions = [
        {
            "s": view.symbol,
            "pa": exact(view.qty),
            "ep": mean(view.entry_price),
            "bep": mean(view.entry_price),
            "cr": "0",
            "up": exact(view.unrealized),
            "mt": "cross",
            "iw": "0",
            "ps": "BOTH",
        }
        for view in (floor.positions(event.account, event.symbol) if event.symbol else [])
    ]
    told = {"m": event.reason.value, "B": balances, "P": positions}
    return {"e": "ACCOUNT_UPDATE", "E": event.time_ms, "T": event.time_ms, "a": told}

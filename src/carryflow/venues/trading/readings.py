"""Orders and trades as ccxt tells them, read into ours: exact, in base coins."""

from decimal import Decimal

from carryflow.core.instrument import Instrument
from carryflow.core.leg import Leg
from carryflow.execution.orders import Fill, OrderReport, OrderRequest, OrderStatus, Side
from carryflow.venues.trading.accounts.account import Entry, exact

_STATUSES = {
    "open": OrderStatus.OPEN,
    "canceling": OrderStatus.OPEN,
    "closed": OrderStatus.FILLED,
    "canceled": OrderStatus.CANCELED,
    "expired": OrderStatus.CANCELED,
    "rejected": OrderStatus.REJECTED,
}


def read_order(
    order: Entry, leg: Leg, instrument: Instrument, per_unit: Decimal, client_id: str | None
) -> OrderReport:
    """Return what ccxt's order says.

    `per_unit` is how many base coins one unit of ccxt's amounts is. An order that ended with less than was
    ordered counts as cancelled, whatever the venue calls it; a word that nobody knows counts as open, so that
    it is asked for again.
    """
    qty = exact(order["amount"]) * per_unit
    filled = exact(order["filled"]) * per_unit
    status = _STATUSES.get(order["status"] or "open", OrderStatus.OPEN)
    if status is OrderStatus.FILLED and filled < qty:
        status = OrderStatus.CANCELED
    updated_ms = _updated_ms(order)
    fills: tuple[Fill, ...] = ()
    if order["trades"]:
        told = {"order": order["id"], "side": order["side"], "timestamp": updated_ms}
        fills = tuple(
            read_trade(_completed(trade, told), leg, instrument, per_unit, client_id)
            for trade in order["trades"]
        )
        if sum(fill.qty for fill in fills) != filled:
            fills = ()
    return OrderReport(
        client_id=client_id,
        venue_order_id=str(order["id"]),
        leg=leg,
        ticker=instrument.ticker,
        side=Side(order["side"]),
        qty=qty,
        filled=filled,
        status=status,
        updated_ms=updated_ms,
        fills=fills,
    )


def acknowledged(order: Entry, request: OrderRequest, now_ms: int) -> OrderReport:
    """Return what is known of an order of which the venue says only that it has come: it is open."""
    return OrderReport(
        client_id=request.client_id,
        venue_order_id=str(order["id"]),
        leg=request.leg,
        ticker=request.ticker,
        side=request.side,
        qty=request.qty,
        filled=Decimal(0),
        status=OrderStatus.OPEN,
        updated_ms=now_ms,
    )


def read_trade(
    trade: Entry, leg: Leg, instrument: Instrument, per_unit: Decimal, client_id: str | None
) -> Fill:
    """Return what ccxt's trade says; one of which it is not known whether the order rested was a taker's."""
    fee = trade["fee"] or {}
    return Fill(
        trade_id=str(trade["id"]),
        client_id=client_id,
        venue_order_id=str(trade["order"]),
        leg=leg,
        ticker=instrument.ticker,
        side=Side(trade["side"]),
        qty=exact(trade["amount"]) * per_unit,
        price=exact(trade["price"]),
        fee=exact(fee.get("cost")),
        fee_asset=str(fee.get("currency") or instrument.quote),
        maker=trade["takerOrMaker"] == "maker",
        ts_ms=int(trade["timestamp"]),
    )


def happened(fill: Fill) -> tuple[int, int, str]:
    """Order fills by time; those of one millisecond by the venue's numbering, where it numbers."""
    number = int(fill.trade_id) if fill.trade_id.isdigit() else 0
    return fill.ts_ms, number, fill.trade_id


def _completed(trade: Entry, told: Entry) -> Entry:
    """Return a trade in an order's answer with what only the order says of it."""
    return {**trade, **{name: trade[name] or value for name, value in told.items()}}


def _updated_ms(order: Entry) -> int:
    stamps = (order["lastUpdateTimestamp"], order["lastTradeTimestamp"], order["timestamp"])
    return max(int(stamp) for stamp in stamps if stamp is not None)

"""Orders and trades as each leg's API tells of them."""

from decimal import Decimal
from typing import Any

from carryflow.venues.simulated.trading.orders import OrderStatus, Side, Trade, VenueOrder

Answer = dict[str, Any]

_MEAN_DECIMALS = Decimal("1E-10")


def exact(value: Decimal) -> str:
    """Return a number without an exponent.

    >>> exact(Decimal("1E-8")), exact(Decimal("5.10"))
    ('0.00000001', '5.10')
    """
    return format(value, "f")


def mean(value: Decimal) -> str:
    """Return a quotient, which may have no end, to ten decimals.

    >>> mean(Decimal(2) / 3)
    '0.6666666667'
    """
    return exact(value.quantize(_MEAN_DECIMALS)) if value else "0"


def spot_order(order: VenueOrder) -> Answer:
    """Return a spot order as queries tell of it."""
    return {
        **_spot_core(order),
        "stopPrice": "0",
        "icebergQty": "0",
        "time": order.time_ms,
        "updateTime": order.update_ms,
        "isWorking": True,
        "workingTime": order.time_ms,
        "origQuoteOrderQty": "0",
        "selfTradePreventionMode": "NONE",
    }


def spot_placed(order: VenueOrder, response: str) -> Answer:
    """Return the answer to a new spot order, as long as `newOrderRespType` asked for."""
    if response == "ACK":
        return _spot_names(order) | {"transactTime": order.update_ms}
    result = {
        **_spot_core(order),
        "transactTime": order.update_ms,
        "origQuoteOrderQty": "0",
        "workingTime": order.time_ms,
        "selfTradePreventionMode": "NONE",
    }
    if response == "RESULT":
        return result
    fills = [
        {
            "price": exact(trade.price),
            "qty": exact(trade.qty),
            "commission": exact(trade.commission),
            "commissionAsset": trade.commission_asset,
            "tradeId": trade.id,
        }
        for trade in order.trades
    ]
    return result | {"fills": fills}


def spot_cancelled(order: VenueOrder, cancel_id: str) -> Answer:
    """Return the answer to a cancelled spot order; `cancel_id` names the cancellation."""
    renamed = {"origClientOrderId": order.client_id, "clientOrderId": cancel_id}
    return {
        **_spot_core(order),
        **renamed,
        "transactTime": order.update_ms,
        "selfTradePreventionMode": "NONE",
    }


def spot_trade(trade: Trade) -> Answer:
    """Return a trade as `myTrades` tells of it."""
    return {
        "symbol": trade.symbol,
        "id": trade.id,
        "orderId": trade.order_id,
        "orderListId": -1,
        "price": exact(trade.price),
        "qty": exact(trade.qty),
        "quoteQty": exact(trade.quote_qty),
        "commission": exact(trade.commission),
        "commissionAsset": trade.commission_asset,
        "time": trade.time_ms,
        "isBuyer": trade.side is Side.BUY,
        "isMaker": trade.maker,
        "isBestMatch": True,
    }


def perp_order(order: VenueOrder) -> Answer:
    """Return a perpetual order."""
    entry = order.entry
    return {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "clientOrderId": order.client_id,
        "price": exact(entry.price) if entry.price is not None else "0",
        "origQty": exact(entry.qty),
        "executedQty": exact(order.executed),
        "cumQty": exact(order.executed),
        "cumQuote": exact(order.quote_executed),
        "avgPrice": mean(order.average_price),
        "status": order.status.value,
        "timeInForce": entry.time_in_force.value,
        "type": entry.type.value,
        "origType": entry.type.value,
        "side": entry.side.value,
        "positionSide": "BOTH",
        "reduceOnly": entry.reduce_only,
        "closePosition": False,
        "stopPrice": "0",
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "priceMatch": "NONE",
        "selfTradePreventionMode": "NONE",
        "goodTillDate": 0,
        "time": order.time_ms,
        "updateTime": order.update_ms,
    }


def perp_placed(order: VenueOrder, response: str) -> Answer:
    """Return the answer to a new perpetual order: an acknowledgement does not tell what was filled."""
    answer = perp_order(order)
    if response == "RESULT":
        return answer
    nothing = dict.fromkeys(("executedQty", "cumQty", "cumQuote", "avgPrice"), "0")
    return answer | nothing | {"status": OrderStatus.NEW.value}


def perp_trade(trade: Trade) -> Answer:
    """Return a trade as `userTrades` tells of it."""
    return {
        "symbol": trade.symbol,
        "id": trade.id,
        "orderId": trade.order_id,
        "side": trade.side.value,
        "positionSide": "BOTH",
        "price": exact(trade.price),
        "qty": exact(trade.qty),
        "quoteQty": exact(trade.quote_qty),
        "realizedPnl": exact(trade.realized_pnl),
        "commission": exact(trade.commission),
        "commissionAsset": trade.commission_asset,
        "marginAsset": trade.commission_asset,
        "time": trade.time_ms,
        "buyer": trade.side is Side.BUY,
        "maker": trade.maker,
    }


def _spot_names(order: VenueOrder) -> Answer:
    return {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
    }


def _spot_core(order: VenueOrder) -> Answer:
    entry = order.entry
    return {
        **_spot_names(order),
        "price": exact(entry.price) if entry.price is not None else "0",
        "origQty": exact(entry.qty),
        "executedQty": exact(order.executed),
        "cummulativeQuoteQty": exact(order.quote_executed),
        "status": order.status.value,
        "timeInForce": entry.time_in_force.value,
        "type": entry.type.value,
        "side": entry.side.value,
    }

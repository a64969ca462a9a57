"""A new order in Binance's words, and what is answered to it in ccxt's; over HTTP and websockets alike."""

from decimal import Decimal
from typing import Any

from carryflow.execution.orders import OrderRequest, TimeInForce
from carryflow.venues.trading.accounts.account import Entry, plain


def placing(order: OrderRequest, symbol: str, amount: Decimal, name: str) -> dict[str, Any]:
    """Return the parameters of a new order, with the decimals that it has; `symbol` is Binance's."""
    asked = {
        "symbol": symbol,
        "side": order.side.name,
        "type": "LIMIT",
        "timeInForce": order.time_in_force.value,
        "quantity": plain(amount),
        "price": plain(order.price),
        "newClientOrderId": name,
        "newOrderRespType": "FULL" if order.leg == "spot" else "RESULT",
    }
    if order.time_in_force is TimeInForce.POST_ONLY:
        if order.leg == "spot":
            asked["type"] = "LIMIT_MAKER"
            del asked["timeInForce"]
        else:
            asked["timeInForce"] = "GTX"
    if order.reduce_only:
        asked["reduceOnly"] = "true"
    return asked


def placed(exchange: Any, answer: dict[str, Any]) -> Entry:
    """Return the answer to an order under ccxt's names; one that only says that it came tells no side."""
    if "side" not in answer:
        return {"id": answer["orderId"], "side": None, "amount": None}
    ms = answer["transactTime"] if "transactTime" in answer else answer["updateTime"]
    return {
        "id": answer["orderId"],
        "side": answer["side"].lower(),
        "amount": answer["origQty"],
        "filled": answer["executedQty"],
        "status": exchange.parse_order_status(answer["status"]),
        "timestamp": ms,
        "lastTradeTimestamp": None,
        "lastUpdateTimestamp": ms,
        "trades": [_trade(exchange, trade) for trade in answer.get("fills", ())],
    }


def _trade(exchange: Any, trade: dict[str, Any]) -> Entry:
    """Return a trade in an order's answer under ccxt's names; the rest of it only the order tells."""
    return {
        "id": trade["tradeId"],
        "order": None,
        "side": None,
        "timestamp": None,
        "amount": trade["qty"],
        "price": trade["price"],
        "fee": {
            "cost": trade["commission"],
            "currency": exchange.safe_currency_code(trade["commissionAsset"]),
        },
        "takerOrMaker": None,
    }

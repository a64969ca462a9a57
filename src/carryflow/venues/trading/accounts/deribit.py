"""A Deribit account: spot and linear perpetuals in USDC from one wallet.

Sources, besides ccxt 4.5.84: Deribit API v2 "Trading", "Account management", "RPC error codes".
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import ccxt.async_support as ccxt

from carryflow.core.errors import RejectedError
from carryflow.execution.orders import Balances, OrderRequest, Position
from carryflow.venues.trading.accounts.account import Account, Codes, Entry, Pages, exact


class DeribitAccount(Account):
    """Ask Deribit. Our name for an order is its label, which Deribit does not keep unique."""

    codes = Codes(
        unclear=frozenset({"11094", "13028", "13888"}),
        later=frozenset({"10028", "10040", "10041", "10047", "10066", "11051"}),
        gone=frozenset({"10004", "11044"}),
        refused=frozenset({"13004", "13009", "13010", "13021"}),
    )
    trade_pages: ClassVar = {leg: Pages(most=1000) for leg in ("spot", "perp")}
    payment_pages = Pages(most=1000)

    def order_params(self, order: OrderRequest) -> dict[str, Any]:
        """Return what an order is told, our name as its label."""
        params: dict[str, Any] = {"label": order.client_id, "timeInForce": order.time_in_force.value}
        return params | ({"reduceOnly": True} if order.reduce_only else {})

    def deadline(self, valid_until_ms: int) -> dict[str, Any]:
        """Return the instant after which Deribit's engine refuses the order."""
        return {"valid_until": valid_until_ms}

    async def find(self, symbol: str, client_id: str) -> Entry | None:
        """Return the last order with our label."""
        market = self.exchange.market(symbol)
        asked = {"currency": self._currency(market), "label": client_id}
        listed = (await self.exchange.privateGetGetOrderStateByLabel(asked))["result"]
        mine = [order for order in listed if order["instrument_name"] == market["id"]]
        if not mine:
            return None
        latest = max(mine, key=lambda order: int(order["creation_timestamp"]))
        return self._labelled(self.exchange.parse_order(latest, market))

    async def cancel(self, symbol: str, client_id: str) -> Entry:
        """Cancel by label, and return what became of the order."""
        market = self.exchange.market(symbol)
        asked = {"currency": self._currency(market), "label": client_id}
        await self.exchange.privateGetCancelByLabel(asked)
        found = await self.find(symbol, client_id)
        if found is None:
            raise ccxt.OrderNotFound(f"deribit has no order {client_id} in {symbol}")
        return found

    async def open_orders(self) -> Sequence[Entry]:
        """Return the open orders of all markets."""
        listed = (await self.exchange.privateGetGetOpenOrders())["result"]
        return [self._labelled(order) for order in self.exchange.parse_orders(listed)]

    def order_name(self, trade: Entry) -> str | None:
        """Return the label of the order behind a trade."""
        name: str | None = trade["info"].get("label")
        return name or None

    async def trades(self, symbol: str, since_ms: int, until_ms: int, most: int) -> Sequence[Entry]:
        """Return one page of trades, the oldest first."""
        found: Sequence[Entry] = await self.exchange.fetch_my_trades(
            symbol, since_ms, most, {"end_timestamp": until_ms, "sorting": "asc"}
        )
        return found

    async def payments(self, since_ms: int, until_ms: int, most: int) -> Sequence[Entry]:
        """Return all settlements of the account's perpetuals in the quote coin, as ccxt tells payments.

        Deribit settles funding as part of an hourly session; its log tells each with `interest_pl`.
        """
        asked: dict[str, Any] = {
            "currency": self.quote,
            "start_timestamp": since_ms,
            "end_timestamp": until_ms,
            "count": most,
            "query": "settlement",
        }
        found: list[Entry] = []
        while True:
            said = (await self.exchange.privateGetGetTransactionLog(asked))["result"]
            for entry in said["logs"]:
                market = self.exchange.safe_market(entry["instrument_name"])
                if market["swap"] and market["settle"] == self.quote and exact(entry.get("interest_pl")):
                    told = {"symbol": market["symbol"], "code": self.quote, "amount": entry["interest_pl"]}
                    found.append(told | {"id": entry["id"], "timestamp": entry["timestamp"]})
            if not said.get("continuation"):
                return found
            asked["continuation"] = said["continuation"]

    async def balances(self) -> Balances:
        """Return the one wallet: the quote coin backs the perpetuals, the other coins are the spot leg."""
        said = (await self.exchange.privateGetGetAccountSummaries())["result"]["summaries"]
        coins = {entry["currency"]: entry for entry in said}
        cash = coins.pop(self.quote, {})
        return Balances(
            spot={coin: exact(entry["balance"]) for coin, entry in coins.items()},
            spot_free={
                coin: exact(entry["balance"]) - exact(entry.get("spot_reserve"))
                for coin, entry in coins.items()
            },
            futures=exact(cash.get("balance")),
            maintenance=exact(cash.get("maintenance_margin")),
            margin=exact(cash.get("equity")),
            ts_ms=self.clock.now_ms(),
        )

    async def positions(self) -> Sequence[Position]:
        """Return the linear perpetual positions that are not flat; `size` is in base coins."""
        listed = (await self.exchange.privateGetGetPositions({"currency": self.quote}))["result"]
        found = []
        for entry in listed:
            market = self.exchange.safe_market(entry["instrument_name"])
            qty = exact(entry["size"])
            if qty and market["swap"] and market["linear"]:
                liquidation = exact(entry.get("estimated_liquidation_price"))
                price = exact(entry["average_price"])
                found.append(Position(market["base"], qty, price, liquidation or None))
        return found

    def _currency(self, market: Any) -> str:
        """Return the currency that an instrument is booked under: a perpetual's settlement, spot's base."""
        if not market["spot"] and market["settle"] != self.quote:
            raise RejectedError(f"{market['symbol']} does not settle in {self.quote}; set data.quote")
        name: str = market["base"] if market["spot"] else market["settle"]
        return name

    def _labelled(self, order: Any) -> Entry:
        """Return an order with its label, which ccxt leaves out, as our name for it."""
        named: Entry = order | {"clientOrderId": order["info"].get("label") or None}
        return named

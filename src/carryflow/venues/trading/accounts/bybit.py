"""A Bybit unified account: spot and linear perpetuals from one wallet.

Sources, besides ccxt 4.5.84: Bybit V5 "Trade", "Position", "Account", "User" and "Error codes".
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import ccxt.async_support as ccxt

from carryflow.execution.orders import Balances, FundingPayment, KeyPermissions, OrderRequest, Position
from carryflow.market.timeframe import HOUR_MS
from carryflow.venues.budget import current_errand
from carryflow.venues.trading.accounts.account import Account, Codes, Entry, Pages, exact

_DAY_MS = 24 * HOUR_MS
_LONGEST_WINDOW_MS = 60_000
_TRADES = frozenset({"Trade", "AdlTrade", "BustTrade", "BlockTrade"})


class BybitAccount(Account):
    """Ask Bybit. An answer to an order tells that it arrived, and no more: what came of it is asked for."""

    codes = Codes(
        unclear=frozenset({"10000", "10016", "10019", "170007", "170032", "170146", "170147"}),
        duplicate=frozenset({"110072", "170141"}),
        later=frozenset({"10002", "10006", "10018", "10429"}),
        gone=frozenset({"110001", "170213"}),
        refused=frozenset({"10003", "10004", "10005", "10010"}),
    )
    trade_pages: ClassVar = {
        leg: Pages(most=100, window_ms=7 * _DAY_MS, kept_ms=730 * _DAY_MS, newest_first=True)
        for leg in ("spot", "perp")
    }
    payment_pages = Pages(most=100, window_ms=7 * _DAY_MS, kept_ms=730 * _DAY_MS, newest_first=True)

    def __init__(self, exchange: Any, quote: str, clock: Any) -> None:
        super().__init__(exchange, quote, clock)
        exchange.options.update(enableUnifiedMargin=False, enableUnifiedAccount=True)
        sign = exchange.sign

        def sign_with_deadline(*args: Any, **kwargs: Any) -> Any:
            """Set the window of this very request: it stands in a header that is signed."""
            errand, usual = current_errand(), exchange.options["recvWindow"]
            if errand is None or errand.valid_until_ms is None:
                return sign(*args, **kwargs)
            left = errand.valid_until_ms - exchange.nonce()
            exchange.options["recvWindow"] = max(1, min(left, _LONGEST_WINDOW_MS))
            try:
                return sign(*args, **kwargs)
            finally:
                exchange.options["recvWindow"] = usual

        exchange.sign = sign_with_deadline

    def order_params(self, order: OrderRequest) -> dict[str, Any]:
        """Return what an order is told, spot without borrowing."""
        return super().order_params(order) | ({"isLeverage": 0} if order.leg == "spot" else {})

    async def find(self, symbol: str, client_id: str) -> Entry | None:
        """Return an order by our name for it, among the latest and then among the ended ones."""
        market = self.exchange.market(symbol)
        asked = {
            "category": "spot" if market["spot"] else "linear",
            "symbol": market["id"],
            "orderLinkId": self.name(client_id),
        }
        for ask in (self.exchange.privateGetV5OrderRealtime, self.exchange.privateGetV5OrderHistory):
            listed = (await ask(asked))["result"]["list"]
            if listed:
                order: Entry = self.exchange.parse_order(listed[0], market)
                return order
        return None

    async def cancel(self, symbol: str, client_id: str) -> Entry:
        """Cancel an order, and return what became of it: the cancel's own answer does not say."""
        await self.exchange.cancel_order(None, symbol, {"orderLinkId": self.name(client_id)})
        found = await self.find(symbol, client_id)
        if found is None:
            raise ccxt.OrderNotFound(f"bybit has no order {client_id} in {symbol}")
        return found

    async def open_orders(self) -> Sequence[Entry]:
        """Return the open orders of spot and of linear perpetuals."""
        spot, perp = await asyncio.gather(
            self.exchange.fetch_open_orders(None, None, None, {"type": "spot"}),
            self.exchange.fetch_open_orders(
                None, None, None, {"type": "swap", "subType": "linear", "settleCoin": self.quote}
            ),
        )
        return [*spot, *perp]

    def order_name(self, trade: Entry) -> str | None:
        """Return the name of the order behind a trade."""
        name: str | None = trade["info"].get("orderLinkId")
        return name or None

    async def trades(self, symbol: str, since_ms: int, until_ms: int, most: int) -> Sequence[Entry]:
        """Return one page of executions, those of liquidations and auto-deleveraging with them, and funding.

        ccxt's own method asks for ordinary ones only.
        """
        market = self.exchange.market(symbol)
        answer = await self.exchange.privateGetV5ExecutionList(
            {
                "category": "spot" if market["spot"] else "linear",
                "symbol": market["id"],
                "startTime": since_ms,
                "endTime": until_ms,
                "limit": most,
            }
        )
        found: Sequence[Entry] = self.exchange.parse_trades(answer["result"]["list"], market)
        return found

    def is_trade(self, entry: Entry) -> bool:
        """Say whether an execution is a trade, and not a payment of funding, say."""
        return entry["info"]["execType"] in _TRADES

    def payment_params(self, since_ms: int, until_ms: int) -> dict[str, Any]:
        """Return the range of funding payments of linear perpetuals."""
        return {"type": "swap", "subType": "linear", "until": until_ms}

    def payment(self, entry: Entry) -> FundingPayment | None:
        """Return a funding payment; Bybit tells them as fees, so that what is paid is positive."""
        told = super().payment(entry)
        return None if told is None else replace(told, amount=-told.amount)

    async def balances(self) -> Balances:
        """Return the one wallet: the quote coin backs the perpetuals, the other coins are the spot leg."""
        answer = await self.exchange.privateGetV5AccountWalletBalance({"accountType": "UNIFIED"})
        wallet = answer["result"]["list"][0]
        coins = {entry["coin"]: entry for entry in wallet["coin"]}
        cash = coins.pop(self.quote, {})
        return Balances(
            spot={coin: exact(entry["walletBalance"]) for coin, entry in coins.items()},
            spot_free={
                coin: exact(entry["walletBalance"]) - exact(entry.get("locked"))
                for coin, entry in coins.items()
            },
            futures=exact(cash.get("walletBalance")),
            maintenance=exact(cash.get("totalPositionMM")),
            margin=exact(cash.get("equity")),
            ts_ms=self.clock.now_ms(),
        )

    async def positions(self) -> Sequence[Position]:
        """Return the positions that are not flat."""
        answer = await self.exchange.privateGetV5PositionList(
            {"category": "linear", "settleCoin": self.quote, "limit": 200}
        )
        found = []
        for entry in answer["result"]["list"]:
            market = self.exchange.safe_market(entry["symbol"], None, None, "contract")
            sign = {"Buy": 1, "Sell": -1}.get(entry["side"], 0)
            qty = sign * exact(entry["size"])
            if qty:
                liquidation = exact(entry.get("liqPrice"))
                found.append(Position(market["base"], qty, exact(entry["avgPrice"]), liquidation or None))
        return found

    async def permissions(self) -> KeyPermissions | None:
        """Return what the key may do."""
        said = (await self.exchange.privateGetV5UserQueryApi())["result"]
        granted = said["permissions"]
        return KeyPermissions(
            trade=str(said["readOnly"]) == "0"
            and "SpotTrade" in granted.get("Spot", [])
            and {"Order", "Position"} <= set(granted.get("ContractTrade", [])),
            withdraw="Withdraw" in granted.get("Wallet", []),
        )

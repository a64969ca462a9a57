"""An OKX trading account: spot and linear swaps from one wallet; swaps count contracts.

Sources, besides ccxt 4.5.84: OKX V5 "Order book trading: trade", "Trading account", "Error code".
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from carryflow.execution.orders import Balances, KeyPermissions, Position
from carryflow.market.timeframe import HOUR_MS
from carryflow.venues.budget import current_errand
from carryflow.venues.trading.accounts.account import Account, Codes, Entry, Pages, exact

_DAY_MS = 24 * HOUR_MS


class OkxAccount(Account):
    """Ask OKX. An answer to an order tells that it arrived, and no more: what came of it is asked for."""

    codes = Codes(
        unclear=frozenset({"50004", "50026", "51054", "51149"}),
        duplicate=frozenset({"51016"}),
        later=frozenset({"50001", "50011", "50013", "50036", "50061", "50102"}),
        gone=frozenset({"51400", "51401", "51402", "51410", "51603"}),
        refused=frozenset({"50100", "50101", "50103", "50105", "50111", "50113", "50114", "50119"}),
    )
    trade_pages: ClassVar = {
        leg: Pages(most=100, kept_ms=90 * _DAY_MS, newest_first=True) for leg in ("spot", "perp")
    }
    payment_pages = Pages(most=100, kept_ms=90 * _DAY_MS, newest_first=True)
    needs_passphrase = True

    def __init__(self, exchange: Any, quote: str, clock: Any) -> None:
        super().__init__(exchange, quote, clock)
        sign = exchange.sign

        def sign_with_deadline(*args: Any, **kwargs: Any) -> Any:
            """Say in a header, which is not signed, until when the request may be taken."""
            request, errand = sign(*args, **kwargs), current_errand()
            if errand is not None and errand.valid_until_ms is not None:
                request["headers"]["expTime"] = str(errand.valid_until_ms)
            return request

        exchange.sign = sign_with_deadline

    def name(self, client_id: str) -> str:
        """Return our name without its hyphen, which OKX does not take."""
        return client_id.replace("-", "", 1)

    def client_id(self, name: str | None) -> str | None:
        """Return our name out of OKX's: `cf` and 29 hexadecimal digits."""
        if name is None or len(name) != 31 or not name.startswith("cf"):
            return None
        return f"cf-{name[2:]}"

    async def find(self, symbol: str, client_id: str) -> Entry | None:
        """Return an order by our name for it."""
        found: Entry = await self.exchange.fetch_order(None, symbol, {"clientOrderId": self.name(client_id)})
        return found

    async def cancel(self, symbol: str, client_id: str) -> Entry:
        """Cancel an order, and return what became of it: the cancel's own answer does not say."""
        await self.exchange.cancel_order(None, symbol, {"clientOrderId": self.name(client_id)})
        found: Entry = await self.exchange.fetch_order(None, symbol, {"clientOrderId": self.name(client_id)})
        return found

    async def cancel_all(self, symbol: str) -> None:
        """Cancel a market's open orders one call at a time for all of them: OKX has none for a market."""
        names = [order["id"] for order in await self.exchange.fetch_open_orders(symbol)]
        if names:
            await self.exchange.cancel_orders(names, symbol)

    async def open_orders(self) -> Sequence[Entry]:
        """Return the open orders of spot and of swaps, which OKX tells together."""
        found: Sequence[Entry] = await self.exchange.fetch_open_orders()
        return found

    def order_name(self, trade: Entry) -> str | None:
        """Return the name of the order behind a trade."""
        name: str | None = trade["info"].get("clOrdId")
        return name or None

    async def trades(self, symbol: str, since_ms: int, until_ms: int, most: int) -> Sequence[Entry]:
        """Return one page of trades; OKX takes a number of them only without a beginning, and gives 100."""
        found: Sequence[Entry] = await self.exchange.fetch_my_trades(
            symbol, since_ms, None, {"until": until_ms}
        )
        return found

    def payment_params(self, since_ms: int, until_ms: int) -> dict[str, Any]:
        """Return the range in OKX's words, which ccxt passes on: both ends count."""
        return {"type": "swap", "begin": str(since_ms), "end": str(until_ms)}

    async def balances(self) -> Balances:
        """Return the one wallet: the quote coin backs the perpetuals, the other coins are the spot leg."""
        answer = await self.exchange.privateGetAccountBalance()
        wallet = answer["data"][0]
        coins = {entry["ccy"]: entry for entry in wallet["details"]}
        cash = coins.pop(self.quote, {})
        return Balances(
            spot={coin: exact(entry["cashBal"]) for coin, entry in coins.items()},
            spot_free={coin: exact(entry["availBal"]) for coin, entry in coins.items()},
            futures=exact(cash.get("cashBal")),
            maintenance=exact(cash.get("mmr") or wallet.get("mmr")),
            margin=exact(cash.get("eq")),
            ts_ms=self.clock.now_ms(),
        )

    async def positions(self) -> Sequence[Position]:
        """Return the positions that are not flat; OKX counts contracts."""
        answer = await self.exchange.privateGetAccountPositions({"instType": "SWAP"})
        found = []
        for entry in answer["data"]:
            market = self.exchange.safe_market(entry["instId"])
            qty = exact(entry["pos"]) * exact(market["contractSize"])
            if qty and market["settle"] == self.quote:
                liquidation = exact(entry.get("liqPx"))
                found.append(Position(market["base"], qty, exact(entry["avgPx"]), liquidation or None))
        return found

    async def permissions(self) -> KeyPermissions | None:
        """Return what the key may do."""
        granted = (await self.exchange.privateGetAccountConfig())["data"][0]["perm"].split(",")
        return KeyPermissions(trade="trade" in granted, withdraw="withdraw" in granted)

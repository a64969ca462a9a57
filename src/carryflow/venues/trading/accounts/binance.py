"""A Binance account: spot and USDⓈ-M futures, a wallet each; also what the simulated exchange speaks.

Sources, besides ccxt 4.5.84: Binance "Spot REST API" (general information, trading and account endpoints),
"Spot WebSocket API" (request format, trading requests), "USDⓈ-M futures: trade, account, WebSocket API",
"Wallet: asset".
"""

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Any, ClassVar

import ccxt.async_support as ccxt

from carryflow.core.errors import SettingsError
from carryflow.core.leg import Leg
from carryflow.execution.orders import (
    Balances,
    KeyPermissions,
    OrderRequest,
    Position,
    TransferReport,
    Wallet,
)
from carryflow.execution.ports import Clock
from carryflow.market.timeframe import HOUR_MS
from carryflow.venues.connection import VenueConnection
from carryflow.venues.stream.connection import redirect_streams
from carryflow.venues.trading.accounts.account import Account, Codes, Entry, Pages, exact, plain
from carryflow.venues.trading.accounts.binance_orders import placed, placing
from carryflow.venues.trading.order_socket import OrderSocket

_DAY_MS = 24 * HOUR_MS
_LONGEST_WINDOW_MS = 60_000
_TYPES = {Wallet.FUTURES: "MAIN_UMFUTURE", Wallet.SPOT: "UMFUTURE_MAIN"}
_TRANSFERS_IN_A_PAGE = 100
_TRANSFER_VALID_MS = 50_000
"""How long a transfer may be on its way: one that is not told of after a minute never came."""

_SOCKETS: dict[Leg, tuple[str, str]] = {
    "spot": ("wss://ws-api.binance.com:443/ws-api/v3?returnRateLimits=false", "private"),
    "perp": ("wss://ws-fapi.binance.com/ws-fapi/v1?returnRateLimits=false", "fapiPrivate"),
}
"""Where orders go over websockets, and what ccxt calls the same part of the venue over HTTP."""

_OTHER_KEY = "PRIVATE KEY"
"""What stands in the secret of a key that signs by RSA or Ed25519."""


class BinanceAccount(Account):
    """Ask Binance."""

    codes = Codes(
        unclear=frozenset({"-1000", "-1001", "-1006", "-1007"}),
        duplicate=frozenset({"-4116", "-4111"}),
        later=frozenset({"-1003", "-1015", "-1021", "-1034"}),
        gone=frozenset({"-2013"}),
        gone_with={
            "-2011": "unknown order"
        },  # a cancel that spot refuses for other reasons has this code, too
        refused=frozenset({"-1022", "-2014", "-2015"}),
    )
    trade_pages: ClassVar = {
        "spot": Pages(most=1000),
        "perp": Pages(most=1000, window_ms=7 * _DAY_MS, kept_ms=180 * _DAY_MS),
    }
    payment_pages = Pages(most=1000, window_ms=7 * _DAY_MS, kept_ms=90 * _DAY_MS)

    def __init__(self, exchange: Any, quote: str, clock: Clock) -> None:
        super().__init__(exchange, quote, clock)
        exchange.options["fetchOpenOrders"]["warnWithoutSymbol"] = False  # what it costs is known
        self._order_sockets: dict[Leg, OrderSocket] = {}

    @asynccontextmanager
    async def order_sockets(self, connection: VenueConnection) -> AsyncIterator[None]:
        """Let orders go over websockets, if the settings say so.

        Demo trading has none for futures, and a key that does not sign by HMAC is left to ccxt.
        """
        mirror, wanted = connection.settings.url, connection.settings.orders_over_websocket
        in_demo = self.exchange.options.get("enableDemoTrading", False)
        async with AsyncExitStack() as sockets:
            if wanted and not in_demo and _OTHER_KEY not in self.exchange.secret:
                for leg, (url, part) in _SOCKETS.items():
                    socket = OrderSocket(
                        connection,
                        url if mirror is None else redirect_streams(url, mirror),
                        f"{self.exchange.urls['api'][part]}/order",
                        self.exchange.api[part]["post"]["order"]["cost"],
                        self._signed,
                    )
                    self._order_sockets[leg] = await sockets.enter_async_context(socket)
            yield

    @staticmethod
    def enter_sandbox(exchange: Any) -> None:
        """Lead ccxt to demo trading: the futures' test network ended in it, and spot is there as well."""
        exchange.enable_demo_trading(True)

    async def require_usable(self) -> None:
        """Do nothing if futures are in one-way mode and fees are not paid in a third coin.

        Raises:
            SettingsError: they are not.
        """
        await self._require_one_way()
        burn = await self._unless_unsupported(self.exchange.sapiGetBnbBurn())
        if burn is not None and burn.get("spotBNBBurn"):
            raise SettingsError(
                "this account pays spot fees in BNB, which is no leg of the hedge; turn `use BNB for fees` "
                "off before trading with carryflow"
            )

    def deadline(self, valid_until_ms: int) -> dict[str, Any]:
        """Return a timestamp and a window that end at the instant.

        A clock that runs faster than this machine's widens the windows that it is asked for as much.
        """
        now_ms = self.clock.now_ms()
        speed = max(1.0, getattr(self.clock, "speed", 1.0))
        window = int((valid_until_ms - now_ms) / speed)
        return {"timestamp": now_ms, "recvWindow": max(1, min(window, _LONGEST_WINDOW_MS))}

    async def send(self, order: OrderRequest, symbol: str, amount: Decimal, valid_until_ms: int) -> Entry:
        """Send an order in the venue's own words, over its websocket if that is open, else over HTTP.

        What ccxt's unified order does around it takes longer than the rest of what happens here.
        """
        asked = placing(order, self.exchange.market(symbol)["id"], amount, self.name(order.client_id))
        asked |= self.deadline(valid_until_ms)
        socket = self._order_sockets.get(order.leg)
        if socket is not None and socket.is_open:
            return placed(self.exchange, await socket.ask("order.place", asked))
        endpoint = (
            self.exchange.privatePostOrder if order.leg == "spot" else self.exchange.fapiPrivatePostOrder
        )
        return placed(self.exchange, await endpoint(asked))

    def _signed(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return a message's parameters with key and signature; ccxt would put its own window in them."""
        params = asked | {"apiKey": self.exchange.apiKey}
        query = "&".join(f"{name}={params[name]}" for name in sorted(params))
        signature = hmac.digest(self.exchange.secret.encode(), query.encode(), "sha256")
        return params | {"signature": signature.hex()}

    async def find(self, symbol: str, client_id: str) -> Entry | None:
        """Return an order by our name for it."""
        found: Entry = await self.exchange.fetch_order(None, symbol, {"clientOrderId": self.name(client_id)})
        return found

    @property
    def name_of(self) -> Callable[[str, str], Awaitable[str | None]]:
        """Return how to ask for an order by its number: Binance's trades tell nothing else of it."""
        return self._name_of

    async def _name_of(self, symbol: str, order_id: str) -> str | None:
        found = await self.exchange.fetch_order(order_id, symbol)
        name: str | None = found["clientOrderId"]
        return name

    async def open_orders(self) -> Sequence[Entry]:
        """Return the open orders of spot and of USDⓈ-M futures."""
        spot, perp = await asyncio.gather(
            self.exchange.fetch_open_orders(None, None, None, {"type": "spot"}),
            self.exchange.fetch_open_orders(None, None, None, {"type": "swap", "subType": "linear"}),
        )
        return [*spot, *perp]

    async def trades(self, symbol: str, since_ms: int, until_ms: int, most: int) -> Sequence[Entry]:
        """Return one page of trades; spot ranges longer than a day are left open, as Binance wants them."""
        limits = {} if self.exchange.market(symbol)["spot"] else {"until": until_ms}
        found: Sequence[Entry] = await self.exchange.fetch_my_trades(symbol, since_ms, most, limits)
        return found

    async def balances(self) -> Balances:
        """Return both wallets, asked for at once."""
        spot, futures = await asyncio.gather(
            self.exchange.privateGetAccount({"omitZeroBalances": "true"}),
            self.exchange.fapiPrivateV3GetAccount(),
        )
        free = {entry["asset"]: exact(entry["free"]) for entry in spot["balances"]}
        locked = {entry["asset"]: exact(entry["locked"]) for entry in spot["balances"]}
        wallet: dict[str, Any] = next(
            (entry for entry in futures["assets"] if entry["asset"] == self.quote), {}
        )
        return Balances(
            spot={asset: qty + locked[asset] for asset, qty in free.items()},
            spot_free=free,
            futures=exact(wallet.get("walletBalance")),
            maintenance=exact(wallet.get("maintMargin")),
            margin=exact(wallet.get("marginBalance")),
            ts_ms=self.clock.now_ms(),
        )

    async def positions(self) -> Sequence[Position]:
        """Return the positions that are not flat."""
        found = []
        for entry in await self.exchange.fapiPrivateV3GetPositionRisk():
            market = self.exchange.safe_market(entry["symbol"], None, None, "swap")
            qty = exact(entry["positionAmt"])
            if qty and market["settle"] == self.quote:
                liquidation = exact(entry.get("liquidationPrice"))
                found.append(Position(market["base"], qty, exact(entry["entryPrice"]), liquidation or None))
        return found

    async def transfer(self, amount: Decimal, to: Wallet) -> TransferReport:
        """Move the quote coin between the spot and the futures wallet."""
        made = await self.exchange.sapiPostAssetTransfer(
            {"type": _TYPES[to], "asset": self.quote, "amount": plain(amount)}
            | self.deadline(self.clock.now_ms() + _TRANSFER_VALID_MS)
        )
        return TransferReport(str(made["tranId"]), amount, to, self.clock.now_ms())

    async def transfers(self, since_ms: int) -> Sequence[TransferReport]:
        """Return the transfers of the quote coin in both directions, the oldest first."""
        pages = await asyncio.gather(*(self._transfers_to(wallet, since_ms) for wallet in Wallet))
        return sorted((one for page in pages for one in page), key=lambda one: (one.ts_ms, one.transfer_id))

    async def _transfers_to(self, to: Wallet, since_ms: int) -> list[TransferReport]:
        found: list[TransferReport] = []
        page = 1
        while True:
            asked = {"type": _TYPES[to], "startTime": since_ms, "current": page, "size": _TRANSFERS_IN_A_PAGE}
            rows = (await self.exchange.sapiGetAssetTransfer(asked)).get("rows") or []
            found += [
                TransferReport(str(row["tranId"]), exact(row["amount"]), to, int(row["timestamp"]))
                for row in rows
                if row["asset"] == self.quote and row["status"] != "FAILED"
            ]
            if len(rows) < _TRANSFERS_IN_A_PAGE:
                return found
            page += 1

    async def permissions(self) -> KeyPermissions | None:
        """Return what the key may do; None in demo trading, which has no wallet endpoints."""
        said = await self._unless_unsupported(self.exchange.sapiGetAccountApiRestrictions())
        if said is None:
            return None
        return KeyPermissions(
            trade=bool(said["enableSpotAndMarginTrading"]) and bool(said["enableFutures"]),
            withdraw=bool(said["enableWithdrawals"]),
        )

    async def arm_dead_man(self, symbol: str, milliseconds: int) -> bool:
        """Start, or stop with 0, the countdown after which the market's orders are cancelled."""
        asked = {"symbol": self.exchange.market(symbol)["id"], "countdownTime": milliseconds}
        await self.exchange.fapiPrivatePostCountdownCancelAll(asked)
        return True

    async def _require_one_way(self) -> None:
        mode = await self.exchange.fapiPrivateGetPositionSideDual()
        if str(mode["dualSidePosition"]).lower() == "true":
            raise SettingsError(
                "the futures account is in hedge mode, where an order names the side of its position; set "
                "the position mode to one-way before trading with carryflow"
            )

    async def _unless_unsupported(self, asked: Any) -> Any:
        """Return an answer; None where this network has no such endpoint."""
        try:
            return await asked
        except ccxt.NotSupported:
            return None


class SimulatedAccount(BinanceAccount):
    """Ask the simulated exchange, which is a sandbox by itself and takes fees in no third coin."""

    @staticmethod
    def enter_sandbox(exchange: Any) -> None:
        """Do nothing: its address is the sandbox."""

    async def require_usable(self) -> None:
        """Do nothing if futures are in one-way mode.

        Raises:
            SettingsError: they are not.
        """
        await self._require_one_way()

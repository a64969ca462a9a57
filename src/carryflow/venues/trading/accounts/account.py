"""What every venue's account answers, and in which words it refuses."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar

from carryflow.core.errors import RejectedError
from carryflow.execution.orders import (
    Balances,
    FundingPayment,
    KeyPermissions,
    OrderRequest,
    Position,
    TransferReport,
    Wallet,
)
from carryflow.execution.ports import Clock
from carryflow.venues.connection import VenueConnection

Entry = Mapping[str, Any]
"""One of ccxt's orders, trades or payments, whose numbers are the venue's own words; `info` holds all."""

NONE = frozenset[str]()


@dataclass(frozen=True, slots=True)
class Codes:
    """Sort a venue's codes by what they say of an order.

    Attributes:
        unclear: the venue does not know itself what came of it.
        duplicate: there is an order of this name already.
        later: nothing was done; asking again may help.
        gone: there is no such order.
        gone_with: there is no such order if the answer also holds these words (lower case).
        refused: nothing was done, and asking again changes nothing, whatever ccxt makes of it.
    """

    unclear: frozenset[str] = NONE
    duplicate: frozenset[str] = NONE
    later: frozenset[str] = NONE
    gone: frozenset[str] = NONE
    gone_with: Mapping[str, str] = field(default_factory=dict)
    refused: frozenset[str] = NONE


@dataclass(frozen=True, slots=True)
class Pages:
    """Say how a venue gives long histories.

    Attributes:
        most: most entries of one answer.
        window_ms: longest range of one request (ms); None where a range may be as long as it likes.
        kept_ms: how far back the history reaches (ms); None: to the account's beginning.
        newest_first: whether an answer that is full holds the newest of the range; else the oldest.
    """

    most: int
    window_ms: int | None = None
    kept_ms: int | None = None
    newest_first: bool = False


def exact(words: object) -> Decimal:
    """Return a number of the venue's as it was told; nothing told is zero.

    >>> exact("0.10000000"), exact(None), exact("")
    (Decimal('0.10000000'), Decimal('0'), Decimal('0'))
    """
    return Decimal(str(words)) if words not in {None, ""} else Decimal(0)


def payment_name(entry: Entry) -> str:
    """Return what a funding payment is called: some venues number those of one instant alike."""
    return f"{entry['id']}/{entry['symbol']}"


def plain(number: Decimal) -> str:
    """Return a number without an exponent and without idle zeros, as venues want it.

    >>> plain(Decimal("1E-8")), plain(Decimal("12.5000")), plain(Decimal("100"))
    ('0.00000001', '12.5', '100')
    """
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


class Account(ABC):
    """Ask one venue for what is ours, through a ccxt exchange that tells numbers in the venue's words.

    All methods raise ccxt's errors.
    """

    codes: ClassVar[Codes]
    trade_pages: ClassVar[Mapping[str, Pages]]
    payment_pages: ClassVar[Pages]
    needs_passphrase: ClassVar[bool] = False

    def __init__(self, exchange: Any, quote: str, clock: Clock) -> None:
        self.exchange = exchange
        self.quote = quote
        self.clock = clock

    @asynccontextmanager
    async def order_sockets(self, connection: VenueConnection) -> AsyncIterator[None]:
        """Let orders go over the venue's websockets until the block ends, where it takes them there."""
        yield

    @staticmethod
    def enter_sandbox(exchange: Any) -> None:
        """Lead a ccxt exchange to the venue's test network."""
        exchange.set_sandbox_mode(True)

    async def require_usable(self) -> None:
        """Do nothing if the account is set as the engine needs it; a SettingsError names what is not."""
        return

    def name(self, client_id: str) -> str:
        """Return our name for an order as the venue takes it."""
        return client_id

    def client_id(self, name: str | None) -> str | None:
        """Return our name for an order out of the venue's; None where we did not give it."""
        return name if name is not None and name.startswith("cf-") else None

    def order_params(self, order: OrderRequest) -> dict[str, Any]:
        """Return what ccxt's `create_order` is told beside market, side, amount and price."""
        params: dict[str, Any] = {
            "clientOrderId": self.name(order.client_id),
            "timeInForce": order.time_in_force.value,
        }
        if order.reduce_only:
            params["reduceOnly"] = True
        return params

    def deadline(self, valid_until_ms: int) -> dict[str, Any]:
        """Return the parameters that make the venue refuse a request after an instant (UTC ms)."""
        return {}

    async def send(self, order: OrderRequest, symbol: str, amount: Decimal, valid_until_ms: int) -> Entry:
        """Send an order once, and return what is told of it; `amount` is its quantity in ccxt's units."""
        params = self.order_params(order) | self.deadline(valid_until_ms)
        told: Entry = await self.exchange.create_order(
            symbol, "limit", order.side.value, plain(amount), plain(order.price), params
        )
        return told

    @abstractmethod
    async def find(self, symbol: str, client_id: str) -> Entry | None:
        """Return an order by our name for it; None (or ccxt's OrderNotFound) if there is none."""

    async def cancel(self, symbol: str, client_id: str) -> Entry:
        """Cancel an order by our name for it; ccxt's OrderNotFound if none is open."""
        found: Entry = await self.exchange.cancel_order(None, symbol, {"clientOrderId": self.name(client_id)})
        return found

    async def cancel_all(self, symbol: str) -> None:
        """Cancel every open order of a market."""
        await self.exchange.cancel_all_orders(symbol)

    @abstractmethod
    async def open_orders(self) -> Sequence[Entry]:
        """Return every open order, in spot and linear perpetual markets."""

    async def trades(self, symbol: str, since_ms: int, until_ms: int, most: int) -> Sequence[Entry]:
        """Return one page of our trades in [since, until], with whatever else the venue puts among them.

        A page is as long as the venue made it: what is no trade is left out later; see `is_trade`.
        """
        found: Sequence[Entry] = await self.exchange.fetch_my_trades(
            symbol, since_ms, most, {"until": until_ms}
        )
        return found

    def is_trade(self, entry: Entry) -> bool:
        """Say whether an entry of a page of trades is one."""
        return True

    @property
    def name_of(self) -> Callable[[str, str], Awaitable[str | None]] | None:
        """Return how to ask for the name of an order by the venue's number; None where trades tell it."""
        return None

    def order_name(self, trade: Entry) -> str | None:
        """Return the name that the order behind a trade was given; None where the trade does not say."""
        return None

    def payment_params(self, since_ms: int, until_ms: int) -> dict[str, Any]:
        """Return how ccxt is told the range of funding payments, beside its beginning."""
        return {"until": until_ms}

    async def payments(self, since_ms: int, until_ms: int, most: int) -> Sequence[Entry]:
        """Return one page of ccxt's funding payments in [since, until], those in other coins, too."""
        asked = self.payment_params(since_ms, until_ms)
        found: Sequence[Entry] = await self.exchange.fetch_funding_history(None, since_ms, most, asked)
        return found

    def payment(self, entry: Entry) -> FundingPayment | None:
        """Return what an entry of a page of payments says; None where it is not in the quote coin."""
        if entry["code"] != self.quote:
            return None
        base = self.exchange.market(entry["symbol"])["base"]
        return FundingPayment(payment_name(entry), base, exact(entry["amount"]), int(entry["timestamp"]))

    @abstractmethod
    async def balances(self) -> Balances:
        """Return what is in the wallets."""

    @abstractmethod
    async def positions(self) -> Sequence[Position]:
        """Return the linear perpetual positions in our quote coin that are not flat."""

    async def transfer(self, amount: Decimal, to: Wallet) -> TransferReport:
        """Move the quote coin between the wallets."""
        raise RejectedError(
            f"{self.exchange.id} keeps spot and futures in one wallet: there is nothing to move; all of "
            f"{self.quote} backs the perpetuals already"
        )

    async def transfers(self, since_ms: int) -> Sequence[TransferReport]:
        """Return transfers between the wallets since an instant."""
        return ()

    async def permissions(self) -> KeyPermissions | None:
        """Return what the key may do."""
        return None

    async def arm_dead_man(self, symbol: str, milliseconds: int) -> bool:
        """Let the venue cancel a market's orders unless asked again; say whether it can."""
        return False

"""What is asked of a venue and what it says: orders, fills, balances, positions, payments, transfers.

All quantities are base coins and all money is the quote coin, exact, as the venue told them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from carryflow.core.leg import Leg


class Side(StrEnum):
    """Say whether coins are bought or sold."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """Return 1 for a purchase, −1 for a sale."""
        return 1 if self is Side.BUY else -1


class TimeInForce(StrEnum):
    """Say how long an order may rest.

    Every order has a limit price, so that none can be filled outside of its band.
    """

    GTC = "GTC"  # until it is cancelled
    IOC = "IOC"  # not at all: what is not filled at once is cancelled
    FOK = "FOK"  # not at all, and not in part
    POST_ONLY = "PO"  # until it is cancelled; refused if it would be filled at once


class OrderStatus(StrEnum):
    """Say where the venue has an order. Not to know is no status: it is an AmbiguousError."""

    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"  # by us or by its time in force; part of it may be filled
    REJECTED = "rejected"

    @property
    def final(self) -> bool:
        """Say whether nothing more can be filled."""
        return self is not OrderStatus.OPEN


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """Ask for one limit order.

    Attributes:
        client_id: our name for it, at most 36 characters; see `intents.client_order_id`.
        leg: which market.
        ticker: the coin.
        side: buy or sell.
        qty: base coins (> 0), on the market's lot.
        price: limit (quote), on the market's tick.
        time_in_force: how long it may rest.
        reduce_only: only ever makes a perpetual position smaller; never of the spot leg.
    """

    client_id: str
    leg: Leg
    ticker: str
    side: Side
    qty: Decimal
    price: Decimal
    time_in_force: TimeInForce
    reduce_only: bool = False


@dataclass(frozen=True, slots=True)
class Fill:
    """Tell of one trade.

    Attributes:
        trade_id: the venue's name for it, unique in its market.
        client_id: our order; None where we did not send it: a person, a liquidation, auto-deleveraging.
        venue_order_id: the venue's name for the order.
        leg: which market.
        ticker: the coin.
        side: buy or sell.
        qty: base coins (> 0).
        price: price of the trade (quote).
        fee: what it cost (≥ 0; negative: a rebate), in `fee_asset`.
        fee_asset: coin of the fee: the quote coin, or the coin bought.
        maker: whether the order rested.
        ts_ms: when (the venue's clock, UTC ms).
    """

    trade_id: str
    client_id: str | None
    venue_order_id: str
    leg: Leg
    ticker: str
    side: Side
    qty: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str
    maker: bool
    ts_ms: int


@dataclass(frozen=True, slots=True)
class OrderReport:
    """Tell what the venue has of one order.

    Attributes:
        client_id: our name for it; None where we did not send it.
        venue_order_id: the venue's.
        leg: which market.
        ticker: the coin.
        side: buy or sell.
        qty: base coins ordered (> 0).
        filled: base coins filled, before a fee in coins (≥ 0).
        status: where it is.
        updated_ms: the venue's clock (UTC ms).
        fills: the trades behind `filled`, where the answer holds them all; else empty, and asked for.
    """

    client_id: str | None
    venue_order_id: str
    leg: Leg
    ticker: str
    side: Side
    qty: Decimal
    filled: Decimal
    status: OrderStatus
    updated_ms: int
    fills: tuple[Fill, ...] = ()


@dataclass(frozen=True, slots=True)
class Position:
    """Tell of one perpetual position.

    Attributes:
        ticker: the coin.
        qty: base coins, signed.
        entry_price: mean price of what is held (quote).
        liquidation_price: mark at which it is closed by force (quote); None where the venue names none.
    """

    ticker: str
    qty: Decimal
    entry_price: Decimal
    liquidation_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Balances:
    """Tell what is in the two wallets.

    Attributes:
        spot: what each coin's balance is, by coin, locked amounts included; coins of which there is nothing
            may be left out.
        spot_free: of that, what no open order locks.
        futures: wallet balance of the quote coin: without unrealised profit.
        maintenance: margin below which positions are liquidated (quote).
        margin: wallet balance with unrealised profit (quote).
        ts_ms: the venue's clock when it said so (UTC ms).
    """

    spot: Mapping[str, Decimal]
    spot_free: Mapping[str, Decimal]
    futures: Decimal
    maintenance: Decimal
    margin: Decimal
    ts_ms: int


@dataclass(frozen=True, slots=True)
class FundingPayment:
    """Tell of funding that was paid: `amount` (quote, positive: received) at `ts_ms` for one coin."""

    payment_id: str
    ticker: str
    amount: Decimal
    ts_ms: int


class Wallet(StrEnum):
    """Name a wallet of the venue."""

    SPOT = "spot"
    FUTURES = "futures"


@dataclass(frozen=True, slots=True)
class TransferReport:
    """Tell of a transfer that happened: `amount` of the quote coin arrived in `to` at `ts_ms`."""

    transfer_id: str
    amount: Decimal
    to: Wallet
    ts_ms: int


@dataclass(frozen=True, slots=True)
class KeyPermissions:
    """Tell what an API key may do."""

    trade: bool
    withdraw: bool

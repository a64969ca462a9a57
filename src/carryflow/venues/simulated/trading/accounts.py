"""What each client of the venue has, and what has happened to it."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from carryflow.core.leg import Leg
from carryflow.venues.simulated.trading.orders import ZERO, Trade, VenueOrder

WalletName = Literal["spot", "futures"]


@dataclass(slots=True)
class Purse:
    """Hold one coin of the spot wallet: what is free, and what open orders lock."""

    free: Decimal = ZERO
    locked: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        """Return all of it."""
        return self.free + self.locked


@dataclass(slots=True)
class PerpPosition:
    """Hold a position that is not flat.

    Attributes:
        qty: base coins, signed.
        entry_price: mean price of what is held (quote), to all digits.
        cost: what they were entered at in sum (quote), signed like `qty`, as it was paid.
        update_ms: when it last changed (UTC ms).
    """

    qty: Decimal
    entry_price: Decimal
    cost: Decimal
    update_ms: int


class IncomeKind(StrEnum):
    """Say why the futures wallet changed."""

    FUNDING_FEE = "FUNDING_FEE"
    COMMISSION = "COMMISSION"
    REALIZED_PNL = "REALIZED_PNL"
    TRANSFER = "TRANSFER"
    INSURANCE_CLEAR = "INSURANCE_CLEAR"


@dataclass(frozen=True, slots=True)
class Income:
    """Tell of one change of the futures wallet.

    Attributes:
        id: unique and ascending on the floor.
        kind: why.
        symbol: the market; empty of a transfer.
        asset: the coin.
        amount: what came in (positive) or went out.
        time_ms: when (UTC ms).
        trade_id: the trade behind it; None of what is no trade.
    """

    id: int
    kind: IncomeKind
    symbol: str
    asset: str
    amount: Decimal
    time_ms: int
    trade_id: int | None = None


@dataclass(frozen=True, slots=True)
class VenueTransfer:
    """Tell of `amount` (> 0) of a coin that went into the wallet `to` from the other one."""

    id: int
    asset: str
    amount: Decimal
    to: WalletName
    time_ms: int


@dataclass(slots=True)
class VenueAccount:
    """Hold one client's coins, positions, orders and history; everything oldest first.

    Attributes:
        key: the API key that it is known by.
        withdraw: whether the key may withdraw.
        quote: the coin of prices and of the futures wallet.
        deposits: what it was opened with, by wallet and coin.
        spot: the spot wallet, by coin.
        futures: wallet balance of the perpetuals (quote), without unrealised profit.
        positions: perpetual positions that are not flat, by symbol.
        leverages: leverage by symbol, where it was set.
        orders: every order ever, by its id.
        named: the newest order of each name, by leg, symbol and name.
        open: orders that may still be filled, by their id.
        trades: every trade ever, by leg.
        incomes: every change of the futures wallet.
        transfers: every transfer between the wallets.
    """

    key: str
    withdraw: bool
    quote: str
    deposits: dict[WalletName, dict[str, Decimal]]
    spot: dict[str, Purse]
    futures: Decimal
    positions: dict[str, PerpPosition] = field(default_factory=dict)
    leverages: dict[str, int] = field(default_factory=dict)
    orders: dict[int, VenueOrder] = field(default_factory=dict)
    named: dict[tuple[Leg, str, str], VenueOrder] = field(default_factory=dict)
    open: dict[int, VenueOrder] = field(default_factory=dict)
    trades: dict[Leg, list[Trade]] = field(default_factory=lambda: {"spot": [], "perp": []})
    incomes: list[Income] = field(default_factory=list)
    transfers: list[VenueTransfer] = field(default_factory=list)

    def purse(self, asset: str) -> Purse:
        """Return the purse of a coin, an empty one if there was none."""
        return self.spot.setdefault(asset, Purse())

    def position_qty(self, symbol: str) -> Decimal:
        """Return the base coins of a position, signed; 0 where there is none."""
        position = self.positions.get(symbol)
        return ZERO if position is None else position.qty

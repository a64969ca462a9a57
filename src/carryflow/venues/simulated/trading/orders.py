"""Orders and trades, in the words of Binance."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from carryflow.core.leg import Leg
from carryflow.venues.simulated.trading.exact import EXACT

ZERO = Decimal(0)


class Side(StrEnum):
    """Say whether coins are bought or sold."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """Return 1 for a purchase, −1 for a sale."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> "Side":
        """Return the other side."""
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    """Say whether an order has a limit price; `LIMIT_MAKER` is spot's post-only order."""

    LIMIT = "LIMIT"
    MARKET = "MARKET"
    LIMIT_MAKER = "LIMIT_MAKER"


class TimeInForce(StrEnum):
    """Say how long an order may rest; `GTX` is the perpetuals' post-only order."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTX = "GTX"


class OrderStatus(StrEnum):
    """Say where an order is."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"
    REJECTED = "REJECTED"

    @property
    def open(self) -> bool:
        """Say whether more of it may be filled."""
        return self in (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)


@dataclass(frozen=True, slots=True)
class OrderEntry:
    """Ask for an order.

    Attributes:
        symbol: the venue's name of the market.
        side: buy or sell.
        type: with or without a limit.
        time_in_force: how long it may rest; of no meaning for a market order.
        qty: base coins.
        price: limit (quote); None for a market order.
        reduce_only: only makes a perpetual position smaller.
        client_id: the client's name for it; empty: the venue makes one up.
    """

    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    qty: Decimal
    price: Decimal | None = None
    reduce_only: bool = False
    client_id: str = ""

    @property
    def post_only(self) -> bool:
        """Say whether it must not be filled at once."""
        return self.type is OrderType.LIMIT_MAKER or (
            self.type is OrderType.LIMIT and self.time_in_force is TimeInForce.GTX
        )

    @property
    def rests(self) -> bool:
        """Say whether what is not filled at once waits in the book."""
        if self.type is OrderType.MARKET:
            return False
        return self.post_only or self.time_in_force is TimeInForce.GTC


@dataclass(frozen=True, slots=True)
class Trade:
    """Tell of one trade of one account.

    Attributes:
        id: unique and ascending on the floor.
        order_id: the order behind it.
        leg: which market.
        symbol: the venue's name of the market.
        side: buy or sell.
        price: in quote.
        qty: base coins (> 0).
        commission: what it cost (≥ 0), in `commission_asset`.
        commission_asset: the quote coin, or the coin bought.
        realized_pnl: gain of the part of a position that it closed (quote), before the commission.
        maker: whether the order rested.
        time_ms: the venue's clock (UTC ms).
    """

    id: int
    order_id: int
    leg: Leg
    symbol: str
    side: Side
    price: Decimal
    qty: Decimal
    commission: Decimal
    commission_asset: str
    realized_pnl: Decimal
    maker: bool
    time_ms: int

    @property
    def quote_qty(self) -> Decimal:
        """Return price times quantity (quote)."""
        return EXACT.multiply(self.price, self.qty)


@dataclass(slots=True)
class VenueOrder:
    """Hold one order, from when it was taken to whatever became of it.

    Attributes:
        order_id: unique and ascending on the floor.
        client_id: the client's name for it, or one that the venue made up.
        leg: which market.
        entry: what was asked for.
        time_ms: when it was taken (UTC ms).
        update_ms: when it last changed (UTC ms).
        status: where it is.
        executed: base coins filled.
        quote_executed: what they came to (quote).
        trades: the trades behind it, oldest first.
        locked: what it holds back of the account's coins: quote of a spot purchase, base of a spot sale.
    """

    order_id: int
    client_id: str
    leg: Leg
    entry: OrderEntry
    time_ms: int
    update_ms: int
    status: OrderStatus = OrderStatus.NEW
    executed: Decimal = ZERO
    quote_executed: Decimal = ZERO
    trades: list[Trade] = field(default_factory=list)
    locked: Decimal = ZERO

    @property
    def symbol(self) -> str:
        """Return the venue's name of the market."""
        return self.entry.symbol

    @property
    def remaining(self) -> Decimal:
        """Return the base coins that are not filled."""
        return self.entry.qty - self.executed

    @property
    def average_price(self) -> Decimal:
        """Return the mean price of what is filled (quote); 0 of nothing."""
        return self.quote_executed / self.executed if self.executed else ZERO

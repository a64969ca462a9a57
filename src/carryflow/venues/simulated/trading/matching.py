"""How orders are filled: at once against the book, later by the flow, wholly when the market passes them.

A resting order waits behind what rested at its price or better when it came. The flow, half of the last bar's
volume a side, eats that first and then the order. Clients' orders do not meet each other, nor do they share
the flow: each of them trades with the crowd of the tape as if it were alone.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from carryflow.venues.simulated.trading.accounts import VenueAccount
from carryflow.venues.simulated.trading.clearing import Clearing
from carryflow.venues.simulated.trading.live_book import Slice
from carryflow.venues.simulated.trading.orders import (
    ZERO,
    OrderEntry,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
    VenueOrder,
)
from carryflow.venues.simulated.trading.pit import Pit


@dataclass(slots=True)
class Resting:
    """Hold an order that waits in the book.

    Attributes:
        account: whose it is.
        pit: where.
        order: the order.
        credit: what the flow has traded beyond the queue and the lots filled (base); negative: queue left.
        until_ms: up to when the flow is counted (UTC ms).
        row: bar that its price was last compared with.
    """

    account: VenueAccount
    pit: Pit
    order: VenueOrder
    credit: Decimal
    until_ms: int
    row: int

    def filled_ms(self) -> int | None:
        """Return when the flow will have filled it at the present rate (UTC ms); None if never."""
        flow = self.pit.flow_of(self.row)
        if not flow or self.pit.halted:
            return None
        wait_ms = (self.order.remaining - self.credit) / flow
        filled_ms = self.until_ms + max(1, int(wait_ms.to_integral_value(ROUND_CEILING)))
        return filled_ms if filled_ms < self.pit.market.shut_after(self.row) else None

    def count_flow(self, now_ms: int) -> None:
        """Count what has been traded up to now: nothing in a halt, nor in a gap of the tape."""
        since, self.until_ms = self.until_ms, now_ms
        if not self.pit.halted:
            flown_ms = int(min(now_ms, self.pit.market.shut_after(self.row))) - since
            self.credit += self.pit.flow_of(self.row) * max(0, flown_ms)


class Matching:
    """Fill orders; every order is known to be open and lawful when it comes here."""

    def __init__(self, clearing: Clearing) -> None:
        self.resting: dict[int, Resting] = {}
        self._clearing = clearing

    def match(
        self, account: VenueAccount, pit: Pit, order: VenueOrder, fill_fraction: Decimal | None = None
    ) -> None:
        """Fill what the book has within the limit, and let the rest wait or expire.

        At most `fill_fraction` of the order is filled at once.
        """
        for piece in self._within_reach(account, pit, order, fill_fraction):
            pit.book.take(order.entry.side, piece, pit.slot)
            qty = piece.lots * pit.lot
            self._clearing.fill(account, pit, order, piece.price, qty, maker=False)
        if order.status.open:
            if order.entry.rests:
                self._rest(account, pit, order)
            else:
                self._clearing.end_order(account, order, OrderStatus.EXPIRED)
        self._clearing.tell_balance(account, pit)
        self.expire_void(account, pit)

    def would_match(self, pit: Pit, entry: OrderEntry) -> bool:
        """Say whether an order would be filled at once, if only in part."""
        touch = pit.touch(entry.side.opposite)
        if touch is None or entry.price is None:
            return touch is not None
        return entry.side.sign * (touch - entry.price) <= 0

    def cancel(self, account: VenueAccount, pit: Pit, order: VenueOrder) -> None:
        """Take an open order out of the book."""
        self.resting.pop(order.order_id, None)
        self._clearing.end_order(account, order, OrderStatus.CANCELED)
        self._clearing.tell_balance(account, pit)

    def flow(self, now_ms: int) -> None:
        """Fill resting orders by what has been traded up to now, and those that the market has passed."""
        for resting in list(self.resting.values()):
            if not resting.order.status.open:
                continue
            resting.count_flow(now_ms)
            if resting.pit.closed:
                continue
            passed = resting.row != resting.pit.row and self._passed(resting)
            resting.row = resting.pit.row
            lots = resting.pit.lots(resting.order.remaining)
            if not passed:
                lots = min(lots, resting.pit.lots(max(ZERO, resting.credit)))
            if lots:
                self._fill_resting(resting, lots)

    def expire_void(self, account: VenueAccount, pit: Pit) -> None:
        """End the orders that could only reduce a position that is no longer there."""
        for order in [o for o in account.open.values() if self._is_void(account, o)]:
            if order.symbol == pit.market.symbol and order.order_id in self.resting:
                del self.resting[order.order_id]
                self._clearing.end_order(account, order, OrderStatus.EXPIRED)

    def _within_reach(
        self, account: VenueAccount, pit: Pit, order: VenueOrder, fill_fraction: Decimal | None
    ) -> list[Slice]:
        """Return what an order takes of the book."""
        entry = order.entry
        lots = pit.lots(_reducible(account, order))
        if fill_fraction is not None:
            lots = min(lots, pit.lots(entry.qty * fill_fraction))
        found = pit.book.reach(entry.side, lots, entry.price, pit.slot)
        if entry.time_in_force is TimeInForce.FOK and entry.type is OrderType.LIMIT:
            return found if sum(piece.lots for piece in found) * pit.lot == entry.qty else []
        if entry.type is OrderType.MARKET and entry.side is Side.BUY and order.leg == "spot":
            return self._affordable(account, pit, found)
        return found

    def _affordable(self, account: VenueAccount, pit: Pit, found: list[Slice]) -> list[Slice]:
        """Return as much of a purchase without a limit, which locks nothing, as the wallet still pays."""
        free = account.purse(account.quote).free
        bought: list[Slice] = []
        for piece in found:
            each = self._clearing.quote_per_base(piece.price) * pit.lot
            lots = min(piece.lots, int(free // each))
            free -= each * lots
            if lots:
                bought.append(Slice(piece.level, piece.price, lots))
            if lots < piece.lots:
                break
        return bought

    def _rest(self, account: VenueAccount, pit: Pit, order: VenueOrder) -> None:
        price = order.entry.price
        if price is None:
            raise TypeError(f"order {order.order_id} has no limit, so that it cannot rest")
        queue = pit.book.ahead(order.entry.side, price, pit.slot) * pit.lot
        self.resting[order.order_id] = Resting(account, pit, order, -queue, order.update_ms, pit.row)

    def _passed(self, resting: Resting) -> bool:
        """Say whether the bar that has just closed left the touch at the order's price or beyond."""
        entry = resting.order.entry
        touch = resting.pit.book.drawn_touch(entry.side.opposite, resting.pit.slot)
        if touch is None or entry.price is None:
            return False
        return entry.side.sign * (touch - entry.price) <= 0

    def _fill_resting(self, resting: Resting, lots: int) -> None:
        """Fill lots of an order at its own price."""
        account, pit, order = resting.account, resting.pit, resting.order
        qty = min(lots * pit.lot, _reducible(account, order))
        if qty and order.entry.price is not None:
            resting.credit -= qty
            self._clearing.fill(account, pit, order, order.entry.price, qty, maker=True)
        if not order.status.open:
            del self.resting[order.order_id]
        self._clearing.tell_balance(account, pit)
        self.expire_void(account, pit)

    def _is_void(self, account: VenueAccount, order: VenueOrder) -> bool:
        return order.entry.reduce_only and not _reducible(account, order)


def reduces(account: VenueAccount, entry: OrderEntry) -> bool:
    """Say whether an order makes a position smaller."""
    return account.position_qty(entry.symbol) * entry.side.sign < 0


def _reducible(account: VenueAccount, order: VenueOrder) -> Decimal:
    """Return the coins of an order that may still be filled: a reduce-only order never flips a position."""
    if not order.entry.reduce_only:
        return order.remaining
    if not reduces(account, order.entry):
        return ZERO
    return min(order.remaining, abs(account.position_qty(order.symbol)))

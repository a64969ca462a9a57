"""What the venue does to positions without being asked: liquidation and auto-deleveraging."""

from decimal import Decimal

from carryflow.venues.simulated.trading.accounts import VenueAccount
from carryflow.venues.simulated.trading.clearing import Clearing
from carryflow.venues.simulated.trading.exact import charged
from carryflow.venues.simulated.trading.margin import Margin
from carryflow.venues.simulated.trading.matching import Matching
from carryflow.venues.simulated.trading.orders import (
    ZERO,
    OrderEntry,
    OrderType,
    Side,
    TimeInForce,
    VenueOrder,
)
from carryflow.venues.simulated.trading.pit import Pit, Pits


class Force:
    """Close positions at the mark, whatever the book holds."""

    def __init__(self, pits: Pits, clearing: Clearing, matching: Matching, margin: Margin) -> None:
        self._pits = pits
        self._clearing = clearing
        self._matching = matching
        self._margin = margin

    def liquidate_if_due(self, account: VenueAccount, fee_rate: Decimal) -> None:
        """Close everything once the margin is down to the maintenance margin.

        The fee is taken out of what margin is left. A wallet that ends below zero is made up.
        """
        if not account.positions:
            return
        if account.futures + self._margin.unrealized(account) > self._margin.maintenance(account):
            return
        for order in [order for order in account.open.values() if order.leg == "perp"]:
            self._matching.cancel(account, self._pits.at("perp", order.symbol), order)
        for symbol in list(account.positions):
            pit = self._pits.at("perp", symbol)
            qty = abs(account.position_qty(symbol))
            left = max(ZERO, account.futures + self._margin.unrealized(account))
            fee = min(charged(fee_rate * qty * pit.mark), charged(left))
            self._close(account, pit, qty, fee, "autoclose-{}")
        self._clearing.insure(account)

    def deleverage(self, account: VenueAccount, symbol: str, fraction: Decimal) -> VenueOrder | None:
        """Close a fraction of a position, in whole lots and at least one; None where nothing is held."""
        pit = self._pits.at("perp", symbol)
        held = abs(account.position_qty(symbol))
        if not held:
            return None
        qty = min(held, max(1, pit.lots(held * fraction)) * pit.lot)
        return self._close(account, pit, qty, ZERO, "adl_autoclose")

    def _close(self, account: VenueAccount, pit: Pit, qty: Decimal, fee: Decimal, name: str) -> VenueOrder:
        side = Side.SELL if account.position_qty(pit.market.symbol) > 0 else Side.BUY
        order_id = next(self._clearing.order_ids)
        entry = OrderEntry(
            symbol=pit.market.symbol,
            side=side,
            type=OrderType.LIMIT,
            time_in_force=TimeInForce.IOC,
            qty=qty,
            price=pit.mark,
            reduce_only=True,
            client_id=name.format(order_id),
        )
        now = self._clearing.now_ms
        order = VenueOrder(order_id, entry.client_id, "perp", entry, now, now)
        self._clearing.open_order(account, order, ZERO)
        self._clearing.fill(account, pit, order, pit.mark, qty, maker=False, commission=fee)
        self._clearing.tell_balance(account, pit)
        self._matching.expire_void(account, pit)
        return order

"""What a futures wallet is worth, asked for, and close to: cross margin, one-way positions."""

from collections.abc import Iterable
from decimal import Decimal

from carryflow.core.margin import bracket_table, liquidation_price, maintenance_margin
from carryflow.venues.simulated import refusals
from carryflow.venues.simulated.trading.accounts import PerpPosition, VenueAccount
from carryflow.venues.simulated.trading.brackets import FLOORS, RATES, notional_cap
from carryflow.venues.simulated.trading.exact import paid
from carryflow.venues.simulated.trading.orders import ZERO, Side, VenueOrder
from carryflow.venues.simulated.trading.pit import Pits
from carryflow.venues.simulated.trading.views import MarginView, PositionView

_BRACKETS = bracket_table(FLOORS, RATES)

Added = tuple[str, Side, Decimal]
"""An order that is not taken yet: symbol, side and value (quote)."""

Wanted = dict[str, tuple[Decimal, Decimal]]
"""Value of the purchases and of the sales that may open something, by symbol (quote)."""


class Margin:
    """Value accounts at the marks of now; `leverage` is that of markets in which none was set."""

    def __init__(self, pits: Pits, leverage: int) -> None:
        self._pits = pits
        self._leverage = leverage
        # compiled here: the first position would wait for it, and in accelerated time everybody else
        maintenance_margin(0.0, _BRACKETS)
        liquidation_price(0.0, 1.0, 1.0, _BRACKETS)

    def leverage(self, account: VenueAccount, symbol: str) -> int:
        """Return the leverage of one market."""
        return account.leverages.get(symbol, self._leverage)

    def unrealized(self, account: VenueAccount) -> Decimal:
        """Return the profit of all positions at their marks (quote)."""
        return sum((self._profit(*held) for held in account.positions.items()), ZERO)

    def maintenance(self, account: VenueAccount) -> Decimal:
        """Return the margin below which the account is liquidated (quote)."""
        return sum((self._maintenance(*held) for held in account.positions.items()), ZERO)

    def view(self, account: VenueAccount) -> MarginView:
        """Sum up the futures wallet."""
        position, whole = self._required(account, None)
        return MarginView(
            wallet=account.futures,
            unrealized=self.unrealized(account),
            position_initial=position,
            order_initial=whole - position,
            maintenance=self.maintenance(account),
        )

    def affords(self, account: VenueAccount, added: Added) -> bool:
        """Say whether the margin suffices for one more order, or whether the order asks for none."""
        _, before = self._required(account, None)
        _, after = self._required(account, added)
        return after <= before or after <= account.futures + self.unrealized(account)

    def carries(self, account: VenueAccount, added: Added) -> bool:
        """Say whether the leverage is allowed for what one more order may lead to, or to nothing larger."""
        symbol = added[0]
        after = self._exposure(account, symbol, _wanted(account.open.values(), added))
        if after <= notional_cap(self.leverage(account, symbol)):
            return True
        return after <= self._exposure(account, symbol, _wanted(account.open.values(), None))

    def check_leverage(self, account: VenueAccount, symbol: str, leverage: int) -> None:
        """Refuse a leverage that what is held and wanted in a market does not go together with.

        Raises:
            Refusal: −2027, so large a position may not have it; −2028, the margin does not suffice for it.
        """
        exposure = self._exposure(account, symbol, _wanted(account.open.values(), None))
        before = self.leverage(account, symbol)
        if leverage > before and exposure > notional_cap(leverage):
            raise refusals.position_too_large()
        if leverage < before and exposure:
            _, whole = self._required(account, None)
            more = exposure / leverage - exposure / before
            if whole + more > account.futures + self.unrealized(account):
                raise refusals.leverage_too_small()

    def position(self, account: VenueAccount, symbol: str) -> PositionView:
        """Value one position, a flat one too."""
        held = account.positions.get(symbol, PerpPosition(ZERO, ZERO, ZERO, 0))
        mark = self._pits.at("perp", symbol).mark
        notional, leverage = held.qty * mark, self.leverage(account, symbol)
        return PositionView(
            symbol=symbol,
            qty=held.qty,
            entry_price=held.entry_price,
            mark=mark,
            unrealized=notional - held.cost,
            notional=notional,
            initial_margin=abs(notional) / leverage,
            maintenance=self._maintenance(symbol, held),
            liquidation_price=self._liquidation_price(account, symbol, held),
            leverage=leverage,
            update_ms=held.update_ms,
        )

    def _required(self, account: VenueAccount, added: Added | None) -> tuple[Decimal, Decimal]:
        """Return initial margin (quote) of the positions, and of the positions with the orders.

        In each market the larger of what is held if all purchases are filled, or all sales.
        """
        orders = _wanted(account.open.values(), added)
        position = whole = ZERO
        for symbol in {**account.positions, **orders}:
            value = account.position_qty(symbol) * self._pits.at("perp", symbol).mark
            leverage = self.leverage(account, symbol)
            position += abs(value) / leverage
            whole += self._exposure(account, symbol, orders) / leverage
        return position, whole

    def _exposure(self, account: VenueAccount, symbol: str, orders: Wanted) -> Decimal:
        """Return the most that is held of a market if all purchases are filled, or all sales (quote)."""
        value = account.position_qty(symbol) * self._pits.at("perp", symbol).mark
        buys, sells = orders.get(symbol, (ZERO, ZERO))
        return max(abs(value), abs(value + buys), abs(value - sells))

    def _profit(self, symbol: str, held: PerpPosition) -> Decimal:
        return held.qty * self._pits.at("perp", symbol).mark - held.cost

    def _maintenance(self, symbol: str, held: PerpPosition) -> Decimal:
        notional = abs(float(held.qty * self._pits.at("perp", symbol).mark))
        return paid(Decimal(maintenance_margin(notional, _BRACKETS)))

    def _liquidation_price(self, account: VenueAccount, symbol: str, held: PerpPosition) -> Decimal:
        """Return the mark at which the account is liquidated if all other marks stay; 0 where none is."""
        if not held.qty:
            return ZERO
        others = [other for other in account.positions.items() if other[0] != symbol]
        spared = sum((self._profit(*other) - self._maintenance(*other) for other in others), account.futures)
        price = liquidation_price(float(spared), float(held.qty), float(held.entry_price), _BRACKETS)
        return paid(Decimal(price)) if price > 0 else ZERO


def _wanted(orders: Iterable[VenueOrder], added: Added | None) -> Wanted:
    """Return what open orders, and one that is not taken yet, may open."""
    values: Wanted = {}
    wanted = [
        (order.symbol, order.entry.side, order.remaining * order.entry.price)
        for order in orders
        if order.leg == "perp" and not order.entry.reduce_only and order.entry.price is not None
    ]
    for symbol, side, value in [*wanted, *([] if added is None else [added])]:
        buys, sells = values.get(symbol, (ZERO, ZERO))
        values[symbol] = (buys + value, sells) if side is Side.BUY else (buys, sells + value)
    return values

"""What is left of the books that are only looked at: a level that was taken stays gone until it changes."""

from collections.abc import Sequence
from decimal import Decimal

from carryflow.core.leg import Leg
from carryflow.execution.market import Book, Level
from carryflow.execution.orders import OrderRequest, Side

Trade = tuple[Decimal, Decimal]
"""Price (quote) and quantity (base)."""


class SeenDepth:
    """Walk books that others' orders make, and remember what was taken of them.

    Nobody there knows of our trades, so the same level is shown again. It is filled once: what is taken of a
    level is gone until the market shows another quantity at that price.
    """

    def __init__(self) -> None:
        self._taken: dict[tuple[Leg, str, Side], dict[Decimal, tuple[Decimal, Decimal]]] = {}

    def walk(self, book: Book, side: Side, qty: Decimal, limit: Decimal) -> list[Trade]:
        """Return the trades that an order would come to, the best price first; nothing is taken by this.

        Args:
            book: the market as it was last seen.
            side: of the order.
            qty: what it wants (base).
            limit: worst price that it takes (quote).
        """
        trades = []
        for price, available in self._available(book, side):
            if qty <= 0 or side.sign * (price - limit) > 0:
                break
            part = min(qty, available)
            if part > 0:
                trades.append((price, part))
                qty -= part
        return trades

    def take(self, book: Book, side: Side, trades: Sequence[Trade]) -> None:
        """Remember trades; levels that the book no longer shows are forgotten."""
        shown = dict(_levels(book, side))
        known = self._taken.get((book.leg, book.ticker, side), {})
        gone = {price: (qty, taken) for price, (qty, taken) in known.items() if shown.get(price) == qty}
        for price, part in trades:
            gone[price] = (shown[price], gone.get(price, (shown[price], Decimal(0)))[1] + part)
        self._taken[book.leg, book.ticker, side] = gone

    def passed(self, book: Book, order: OrderRequest) -> bool:
        """Say whether others now trade beyond the price of an order that rests, so that it must be filled."""
        best = next((price for price, qty in self._available(book, order.side) if qty > 0), None)
        return best is not None and order.side.sign * (order.price - best) > 0

    def _available(self, book: Book, side: Side) -> list[Level]:
        known = self._taken.get((book.leg, book.ticker, side), {})
        left = []
        for price, qty in _levels(book, side):
            then, taken = known.get(price, (qty, Decimal(0)))
            left.append((price, qty - taken if then == qty else qty))
        return left


def _levels(book: Book, side: Side) -> tuple[Level, ...]:
    return book.asks if side is Side.BUY else book.bids

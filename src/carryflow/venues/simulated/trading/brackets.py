"""How large a position each leverage carries, and the margin that it asks for.

Every perpetual of this venue has the brackets of Binance's BTCUSDT.
"""

from decimal import Decimal
from itertools import pairwise

from carryflow.core.costs import BINANCE_BTCUSDT

FLOORS, RATES = zip(*BINANCE_BTCUSDT, strict=True)
"""Notional at which each bracket begins (quote), and its maintenance rate (fraction of the notional)."""

LEVERAGES = (125, 100, 75, 50, 25, 20, 10, 5, 4, 3, 2, 1)
"""Leverage that Binance lets one take in each bracket."""

CAPS = tuple(Decimal(end) for _, end in pairwise((*FLOORS, 10 * FLOORS[-1])))
"""Notional at which each bracket ends (quote)."""


def notional_cap(leverage: int) -> Decimal:
    """Return the largest position and orders of one market that a leverage may carry (quote).

    >>> notional_cap(125), notional_cap(21), notional_cap(1)
    (Decimal('50000'), Decimal('70000000'), Decimal('12000000000'))
    """
    return max(cap for cap, most in zip(CAPS, LEVERAGES, strict=True) if most >= leverage)

"""The margin that a venue asks for, by bracket of notional, and the price at which it is gone."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from carryflow.core.compiled import compiled


def bracket_table(floors_quote: ArrayLike, rates: ArrayLike) -> NDArray[np.float64]:
    """Lay a venue's brackets out as rows of (rate, deduction in quote), (k, 2).

    In bracket k the maintenance margin is rate · notional − deduction; the deduction is what makes it
    continuous where the brackets meet, the "maintenance amount" or "cum" of Binance's table
    (https://www.binance.com/en/futures/trading-rules/perpetual/leverage-margin).

    Args:
        floors_quote: notional at which each bracket begins, ascending from 0 (quote) (k,).
        rates: its maintenance rate, ascending (fraction of the notional) (k,).

    >>> bracket_table([0.0, 50_000.0, 250_000.0], [0.004, 0.005, 0.01]).tolist()
    [[0.004, 0.0], [0.005, 50.0], [0.01, 1300.0]]
    """
    floors, rate = np.asarray(floors_quote, dtype=np.float64), np.asarray(rates, dtype=np.float64)
    deduction = np.cumsum(floors * np.diff(rate, prepend=rate[:1]))
    return np.column_stack((rate, deduction))


@compiled
def maintenance_margin(notional_quote: float, brackets: NDArray[np.float64]) -> float:
    """Return the margin below which a position is liquidated (quote).

    It is the largest over the brackets of rate · notional − deduction; both columns ascend, so that the
    search ends where the next bracket would ask for less.

    >>> maintenance_margin(100_000.0, bracket_table([0.0, 50_000.0], [0.004, 0.005]))
    450.0
    """
    margin: float = brackets[0, 0] * notional_quote - brackets[0, 1]
    for k in range(1, len(brackets)):
        steeper = brackets[k, 0] * notional_quote - brackets[k, 1]
        if steeper <= margin:
            break
        margin = steeper
    return margin


@compiled
def liquidation_price(
    wallet: float, qty_base: float, entry_price: float, brackets: NDArray[np.float64]
) -> float:
    """Return the mark price at which a linear position is liquidated (quote).

    NaN if no price does it, of a long that is worth less than its margin; 0 if every price does, of a short
    whose wallet is in debt for more than the sale brought.

    Solves `wallet + qty · (mark − entry) = rate · |qty| · mark − deduction` in each bracket; the first of
    these prices that the market would meet is where liquidation begins
    (https://www.binance.com/en/support/faq/b3c689c1f50a44cabb3a84e663b81d93, isolated).

    A short of 2 entered at 500 on 1000 of margin, 0.5 % maintenance: (1000 + 2 · 500) / (2 · 1.005):

    >>> round(liquidation_price(1000.0, -2.0, 500.0, bracket_table([0.0], [0.005])), 2)
    995.02
    """
    if qty_base == 0.0:
        return float("nan")
    nearest = np.inf if qty_base < 0.0 else -np.inf
    for k in range(len(brackets)):
        slope = qty_base - brackets[k, 0] * abs(qty_base)
        price = (qty_base * entry_price - wallet - brackets[k, 1]) / slope
        nearest = min(nearest, price) if qty_base < 0.0 else max(nearest, price)
    if qty_base < 0.0:
        return max(nearest, 0.0)
    return nearest if nearest > 0.0 else float("nan")


@compiled
def inverse_liquidation_price(
    wallet: float, notional_quote: float, entry_price: float, brackets: NDArray[np.float64]
) -> float:
    """Return the mark price at which an inverse position is liquidated (quote).

    NaN if no price does it, of a short whose coins cover it; infinite if every price does, of a long whose
    wallet is in debt for more than it bought.

    The notional N is counted in quote, so that one bracket holds at all prices and `maintenance` is what it
    asks for: `wallet + N · (1/entry − 1/mark) = maintenance / mark`.

    A long of 20,000 entered at 50,000 on 0.1 coins, 0.5 % maintenance: (20,000 + 100) / (0.1 + 0.4):

    >>> round(inverse_liquidation_price(0.1, 20_000.0, 50_000.0, bracket_table([0.0], [0.005])), 6)
    40200.0
    """
    owed = notional_quote + maintenance_margin(abs(notional_quote), brackets)
    coins = wallet + notional_quote / entry_price
    if owed > 0.0:
        return owed / coins if coins > 0.0 else np.inf
    return owed / coins if coins < 0.0 else float("nan")

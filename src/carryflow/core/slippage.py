"""What an order loses to the book it trades against: half the spread, and the depth it walks through."""

from carryflow.core.compiled import compiled

EXPONENT = 0.8
"""Power with which the mean cost of a fill grows with its size: 1 / β of the depth curve."""

IMPACT = 1e-3 * (1.0 / EXPONENT) / (1.0 / EXPONENT + 1.0)
"""Mean cost of a fill as large as the depth within 10 bp (fraction): β / (β + 1) · 10 bp."""

WORST = 0.5
"""Largest loss to the reference that is ever booked (fraction): a price stays a price in an empty book."""


@compiled
def slippage_rate(
    notional_quote: float, half_spread_rate: float, depth_quote: float, taker_share: float
) -> float:
    """Return how far from the reference price an order fills on average (fraction, ≥ 0).

    A side of the book is taken to rest with D(x) = D10 · (x / 10 bp)^β within a distance x of the mid, with
    β = 1.25, so that filling Q costs β / (β + 1) · 10 bp · (Q / D10)^(1/β) on average, on top of half the
    spread. Only the share that crosses the spread walks the book; what rests and waits loses nothing.

    Args:
        notional_quote: size of the order (quote, ≥ 0).
        half_spread_rate: half the quoted spread (fraction of the mid).
        depth_quote: value resting within 10 bp of the mid on one side (D10); infinite: bottomless.
        taker_share: share of the order that crosses the spread, in [0, 1].

    An order of the depth within 10 bp, half a spread of 1 bp: 1 bp + 5.5556 bp:

    >>> round(1e4 * slippage_rate(1e6, 1e-4, 1e6, 1.0), 4)
    6.5556
    """
    if taker_share == 0.0 or notional_quote == 0.0:
        return 0.0
    if depth_quote <= 0.0:
        return WORST
    impact: float = IMPACT * (taker_share * notional_quote / depth_quote) ** EXPONENT
    return min(taker_share * (half_spread_rate + impact), WORST)

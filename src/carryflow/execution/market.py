"""What the engine sees of the market: books, marks, and when they were seen."""

from dataclasses import dataclass, field
from decimal import Decimal

from carryflow.core.leg import Leg

Level = tuple[Decimal, Decimal]
"""Price (quote) and quantity (base)."""


@dataclass(frozen=True, slots=True)
class Book:
    """Hold one market's order book, best prices first.

    Attributes:
        leg: which market.
        ticker: the coin.
        bids: levels that buy, the highest price first.
        asks: levels that sell, the lowest price first.
        seen_ms: when the market was last known to look like this (the engine's clock, UTC ms).
        mid: the price half way between the best bid and ask (quote).
    """

    leg: Leg
    ticker: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    seen_ms: int
    mid: Decimal = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mid", (self.bids[0][0] + self.asks[0][0]) / 2)


@dataclass(frozen=True, slots=True)
class Mark:
    """Hold what a perpetual is valued at.

    Attributes:
        ticker: the coin.
        price: mark price (quote).
        index: index price (quote); None where the venue names none.
        funding_rate: rate that the running interval leads to so far (fraction); None where unknown.
        next_funding_ms: when it settles (UTC ms); None where unknown.
        seen_ms: when it was last known (the engine's clock, UTC ms).
    """

    ticker: str
    price: Decimal
    index: Decimal | None
    funding_rate: Decimal | None
    next_funding_ms: int | None
    seen_ms: int

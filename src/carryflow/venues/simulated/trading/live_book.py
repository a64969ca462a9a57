"""One market's order book as it lives between two bars of the tape.

A bar's close sets the prices and the quantities (`simulated.book`). From then on the five best levels of each
side are redrawn in turn, one of them every 100 ms, at 0.5 to 1.5 times their quantity; which factor is a hash
of market, level and time, so that any instant can be told without its history. What is taken out of a level
stays gone until the level is redrawn; deeper levels are, as they were, once a minute.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice

from carryflow.venues.simulated.book import ladder
from carryflow.venues.simulated.decimals import plain
from carryflow.venues.simulated.market import VenueMarket
from carryflow.venues.simulated.trading.orders import Side

SLOT_MS = 100
"""How long a book stands still unless somebody takes of it (ms); a slot's number is the book's update id."""

Rung = tuple[str, str]
"""Price (quote) and quantity (base), as the venue writes them."""

_RESTLESS = 5
_DEEP_PERIOD = 600
_LADDERS_KEPT = 2
_GONE = "0"


@dataclass(frozen=True, slots=True)
class LiveBook:
    """Hold a book at an instant, best prices first."""

    update_id: int
    bids: list[Rung]
    asks: list[Rung]


@dataclass(frozen=True, slots=True)
class BookChanges:
    """Hold levels that changed after update `first_id` − 1 and up to `last_id`; quantity "0": it is gone."""

    first_id: int
    last_id: int
    bids: list[Rung]
    asks: list[Rung]


@dataclass(frozen=True, slots=True)
class Slice:
    """Hold so many lots of one level of one side."""

    level: int
    price: Decimal
    lots: int


@dataclass(frozen=True, slots=True)
class _Level:
    """Hold a level as a bar left it; `rung` is how the venue writes it."""

    price: Decimal
    lots: int
    rung: Rung


@dataclass(frozen=True, slots=True)
class _Taken:
    """Say how many lots of a level are gone since it was last redrawn, and when the last of them went."""

    redrawn: int
    lots: int
    slot: int


class MarketBook:
    """Play one market's book; every instant is told by its slot, `now_ms // SLOT_MS`."""

    def __init__(self, market: VenueMarket, lot: Decimal) -> None:
        self._market = market
        self._lot = lot
        self._name = f"{market.leg}{market.symbol}"
        self._ladders: dict[int, dict[Side, list[_Level]]] = {}
        self._row = -1
        self._taken: dict[tuple[Side, int], _Taken] = {}

    def snapshot(self, slot: int, levels: int) -> LiveBook:
        """Return the best levels of both sides."""
        return LiveBook(slot, self._side(Side.BUY, slot, levels), self._side(Side.SELL, slot, levels))

    def changes(self, since: int, slot: int) -> BookChanges:
        """Return the levels that changed after the slot `since`, or late in it, with what they hold now."""
        before, now = (self._market.row_at(at * SLOT_MS) for at in (since, slot))
        self._turn_to(now)
        bids, asks = (
            self._new_side(side, before, slot) if before != now else self._changed(side, since, slot)
            for side in Side
        )
        return BookChanges(since + 1, slot, bids, asks)

    def touch(self, side: Side, slot: int) -> Decimal | None:
        """Return the best price of a side at which something rests; None where nothing does."""
        return next((piece.price for piece in self._pieces(side, slot)), None)

    def reach(self, side: Side, lots: int, limit: Decimal | None, slot: int) -> list[Slice]:
        """Return what a taker on `side` gets for so many lots, no worse than the limit; it takes nothing."""
        found: list[Slice] = []
        for piece in self._pieces(side.opposite, slot):
            if lots <= 0 or (limit is not None and side.sign * (piece.price - limit) > 0):
                break
            found.append(Slice(piece.level, piece.price, min(lots, piece.lots)))
            lots -= piece.lots
        return found

    def take(self, side: Side, piece: Slice, slot: int) -> None:
        """Let a taker on `side` have lots that `reach` found."""
        key = (side.opposite, piece.level)
        redrawn = _redrawn(piece.level, slot)
        gone = self._taken.get(key)
        before = gone.lots if gone is not None and gone.redrawn == redrawn else 0
        self._taken[key] = _Taken(redrawn, before + piece.lots, slot)

    def ahead(self, side: Side, price: Decimal, slot: int) -> int:
        """Return the lots that rest on `side` at this price or better."""
        return sum(p.lots for p in self._pieces(side, slot) if side.sign * (p.price - price) >= 0)

    def drawn_touch(self, side: Side, slot: int) -> Decimal | None:
        """Return a side's best price as the tape set it, whatever was taken; None before the first bar."""
        levels = self._levels(side, slot)
        return levels[0].price if levels else None

    def _pieces(self, side: Side, slot: int) -> Iterator[Slice]:
        for j, level in enumerate(self._levels(side, slot)):
            lots = self._lots(side, j, level, slot)
            if lots > 0:
                yield Slice(j, level.price, lots)

    def _side(self, side: Side, slot: int, most: int) -> list[Rung]:
        rungs = (self._rung(side, j, level, slot) for j, level in enumerate(self._levels(side, slot)))
        return list(islice((rung for rung in rungs if rung[1] != _GONE), most))

    def _changed(self, side: Side, since: int, slot: int) -> list[Rung]:
        """Return the levels that were redrawn or taken of while the tape's bar was the same."""
        levels = self._levels(side, slot)
        fresh = {at % _RESTLESS for at in range(max(since + 1, slot - _RESTLESS + 1), slot + 1)}
        for (taken_side, j), gone in self._taken.items():
            if taken_side is side and (gone.slot >= since or _redrawn(j, slot) > max(since, gone.redrawn)):
                fresh.add(j)
        return [self._rung(side, j, levels[j], slot) for j in sorted(fresh) if j < len(levels)]

    def _new_side(self, side: Side, before: int, slot: int) -> list[Rung]:
        """Return all levels of a side, and those that the bar before had at other prices as gone."""
        rungs = [self._rung(side, j, level, slot) for j, level in enumerate(self._levels(side, slot))]
        there = {price for price, _ in rungs}
        old = (level.rung[0] for level in self._ladder(before)[side])
        return [(price, _GONE) for price in old if price not in there] + rungs

    def _rung(self, side: Side, j: int, level: _Level, slot: int) -> Rung:
        lots = self._lots(side, j, level, slot)
        if lots == level.lots:
            return level.rung
        return level.rung[0], f"{lots * self._lot:f}" if lots else _GONE

    def _lots(self, side: Side, j: int, level: _Level, slot: int) -> int:
        """Return what a level holds now (lots)."""
        lots = level.lots
        if j < _RESTLESS:
            drawn = zlib.crc32(f"{self._name}{side}{j}/{_redrawn(j, slot)}".encode()) / 2**32
            lots = max(1, round(lots * (0.5 + drawn)))
        gone = self._taken.get((side, j)) if self._taken else None
        return lots - gone.lots if gone is not None and gone.redrawn == _redrawn(j, slot) else lots

    def _levels(self, side: Side, slot: int) -> list[_Level]:
        row = self._market.row_at(slot * SLOT_MS)
        self._turn_to(row)
        return self._ladder(row)[side]

    def _turn_to(self, row: int) -> None:
        """Begin the book of another bar, of which nothing is taken."""
        if row != self._row:
            self._row = row
            self._taken.clear()

    def _ladder(self, row: int) -> dict[Side, list[_Level]]:
        known = self._ladders.get(row)
        if known is None:
            while len(self._ladders) >= _LADDERS_KEPT:
                del self._ladders[next(iter(self._ladders))]
            known = self._ladders[row] = self._drawn(row)
        return known

    def _drawn(self, row: int) -> dict[Side, list[_Level]]:
        """Return the levels that a bar left behind, in whole lots, one at least."""
        quote = self._market.quote_of(row)
        if quote is None:
            return {Side.BUY: [], Side.SELL: []}
        rungs = ladder(quote, self._market.filters.tick)
        lot = self._market.filters.lot
        sides = ((rungs.bid_price, rungs.bid_qty), (rungs.ask_price, rungs.ask_qty))
        return {
            side: [
                self._level(plain(price), max(1, round(qty / lot)))
                for price, qty in zip(prices.tolist(), quantities.tolist(), strict=True)
            ]
            for side, (prices, quantities) in zip(Side, sides, strict=True)
        }

    def _level(self, price: str, lots: int) -> _Level:
        return _Level(Decimal(price), lots, (price, f"{lots * self._lot:f}"))


def _redrawn(level: int, slot: int) -> int:
    """Return the slot in which a level was last redrawn."""
    return slot - (slot - level) % (_RESTLESS if level < _RESTLESS else _DEEP_PERIOD)

"""One market as it is traded: its steps, its prices of now, and its book."""

from decimal import Decimal
from math import isfinite

from carryflow.core.leg import Leg
from carryflow.venues.simulated.decimals import plain
from carryflow.venues.simulated.exchange import SimulatedVenue
from carryflow.venues.simulated.market import VenueMarket
from carryflow.venues.simulated.trading.live_book import SLOT_MS, MarketBook
from carryflow.venues.simulated.trading.orders import ZERO, Side


class Pit:
    """Know one market's prices and book at the venue's clock.

    Attributes:
        market: the market.
        tick: step of the price (quote).
        lot: step of an order's size (base).
        min_notional: smallest value of an order (quote).
        book: what can be taken.
    """

    def __init__(self, venue: SimulatedVenue, market: VenueMarket) -> None:
        steps = market.filters
        self.market = market
        self.tick, self.lot, self.min_notional = (
            Decimal(plain(step)) for step in (steps.tick, steps.lot, steps.min_notional)
        )
        self.book = MarketBook(market, self.lot)
        self._venue = venue
        self._flow = (-1, ZERO)
        self._looked = (-1, -1, True)
        self._told: dict[str, tuple[int, Decimal]] = {}

    @property
    def slot(self) -> int:
        """Return the number of the running 100 ms, which is the book's update id."""
        return self._venue.now_ms // SLOT_MS

    @property
    def row(self) -> int:
        """Return the last row whose bar has closed; −1 before the first."""
        return self._here()[1]

    @property
    def halted(self) -> bool:
        """Say whether the market was halted."""
        return (self.market.leg, self.market.symbol) in self._venue.halted

    @property
    def closed(self) -> bool:
        """Say whether no orders are taken and none are filled: in a halt, and in a gap of the tape."""
        return self.halted or self._here()[2]

    @property
    def last(self) -> Decimal:
        """Return the last traded price (quote); 0 before the first bar has closed."""
        return self._latest("close")

    @property
    def mark(self) -> Decimal:
        """Return the mark price (quote), the traded one where the tape has no mark."""
        if self.market.leg == "spot":
            return self.last
        return self._latest("mark_close") or self.last

    def flow_of(self, row: int) -> Decimal:
        """Return what the crowd trades against each side after the bar of a row (base per ms)."""
        if self._flow[0] != row:
            volume = float(self.market.columns["volume"][row]) if row >= 0 else 0.0
            self._flow = (row, Decimal(plain(volume)) / (2 * self.market.bar_ms))
        return self._flow[1]

    def lots(self, qty: Decimal) -> int:
        """Return the whole lots in a quantity."""
        return int(qty // self.lot)

    def touch(self, side: Side) -> Decimal | None:
        """Return the best price of a side; None where nothing rests."""
        return self.book.touch(side, self.slot)

    def next_close_ms(self) -> int | None:
        """Return when the next bar closes; None after the last."""
        return self.market.close_after(self._venue.now_ms)

    def _here(self) -> tuple[int, int, bool]:
        """Return the venue's clock, the last row whose bar has closed by then, and whether a gap is there.

        Every resting order asks for it at every instant that something happens.
        """
        if self._looked[0] != self._venue.now_ms:
            now_ms = self._venue.now_ms
            self._looked = (now_ms, self.market.row_at(now_ms), self.market.shut_at(now_ms))
        return self._looked

    def _latest(self, column: str) -> Decimal:
        """Return a column at the last closed bar; 0 where it has none."""
        row = self.row
        told = self._told.get(column)
        if told is None or told[0] != row:
            value = float(self.market.columns[column][row]) if row >= 0 else 0.0
            told = self._told[column] = (row, Decimal(plain(value)) if isfinite(value) else ZERO)
        return told[1]


class Pits:
    """Hold the markets that somebody looked at, by leg and symbol."""

    def __init__(self, venue: SimulatedVenue) -> None:
        self._venue = venue
        self._pits: dict[tuple[Leg, str], Pit] = {}

    def at(self, leg: Leg, symbol: str) -> Pit:
        """Return one listed market.

        Raises:
            Refusal: no such symbol is listed.
        """
        market = self._venue.market(leg, symbol)
        pit = self._pits.get((leg, symbol))
        if pit is None or pit.market is not market:
            pit = self._pits[leg, symbol] = Pit(self._venue, market)
        return pit

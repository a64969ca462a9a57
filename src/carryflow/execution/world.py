"""What the engine lives in: the venue, the market, the journal, the clock and the books, in one place."""

import hashlib
from collections import deque
from collections.abc import Sequence
from decimal import Decimal

from carryflow.core.costs import CostSettings
from carryflow.core.errors import MarketDataError, RetryableError
from carryflow.execution.alerts import Alarm
from carryflow.execution.books import Books
from carryflow.execution.intents import Decision
from carryflow.execution.journal.journal import Journal
from carryflow.execution.journal.records import Alert, BookedFill, Event, Severity, TransferRecord
from carryflow.execution.market import Mark
from carryflow.execution.orders import Fill, FundingPayment, Wallet
from carryflow.execution.pair.planner import Seen
from carryflow.execution.ports import Clock, MarketView, TradingVenue
from carryflow.execution.settings import ExecutionSettings


class World:
    """Hold what every part of the engine needs, and keep the books.

    Attributes:
        venue: where it trades.
        market: what it sees of the market.
        journal: what it remembers.
        settings: how it trades.
        costs: the fees that are expected before a venue has charged any.
        clock: the time that the venue lives in.
        books: what the journal comes to.
        told_margin: the futures wallet with unrealised profit as the venue told it last, with what was moved
            since (quote); infinite: it has told nothing yet.
        fills_booked: trades booked since this engine began.
        funding_booked: payments of funding booked since this engine began.
        sent_ms: when orders were sent that add to a position, the last ones (our clock, UTC ms).
    """

    def __init__(
        self,
        venue: TradingVenue,
        market: MarketView,
        journal: Journal,
        settings: ExecutionSettings,
        costs: CostSettings,
        clock: Clock,
        alarm: Alarm,
    ) -> None:
        self.venue = venue
        self.market = market
        self.journal = journal
        self.settings = settings
        self.costs = costs
        self.clock = clock
        self.books = Books(venue.quote, {})
        self.sent_ms: deque[int] = deque(maxlen=10_000)
        self.told_margin = float("inf")
        self.fills_booked = 0
        self.funding_booked = 0
        self._alarm = alarm
        self._serial = journal.names_given()

    def name(self, *parts: object) -> str:
        """Return 16 hexadecimal digits that nothing here bears yet; write down at once what gets them."""
        self._serial += 1
        text = "/".join(map(str, (*parts, self._serial, self.clock.now_ms())))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def tell(self, severity: Severity, ticker: str | None, words: str) -> None:
        """Write an alert down, and ring the alarm."""
        alert = Alert(self.clock.now_ms(), severity, ticker, words)
        self.journal.record_alert(alert)
        self._alarm(alert)

    def decide(self, ticker: str, fraction: float, source: str, reason: str) -> Decision:
        """Return a decision that the engine takes by itself, and write it down."""
        now_ms = self.clock.now_ms()
        name = self.name(ticker, source)
        decision = Decision(name, ticker, fraction, now_ms, now_ms + 3_600_000, source, reason)
        self.journal.record_decision(decision)
        return decision

    def book(self, events: Sequence[Event]) -> None:
        """Book what the journal has just learned.

        What happened before a trade that is booked already has the whole journal folded anew, in its order.
        """
        self.books.apply_all(events)
        for event in events:
            if isinstance(event, TransferRecord) and event.arrived is not None:
                self.told_margin += float(event.arrived if event.to is Wallet.FUTURES else -event.arrived)
        self.fills_booked += sum(isinstance(event, BookedFill) for event in events)
        self.funding_booked += sum(isinstance(event, FundingPayment) for event in events)
        if self.books.late:
            self.books = Books.fold(self.journal)

    def book_fills(self, fills: Sequence[Fill]) -> None:
        """Book trades against the mids that their orders were priced on, foreign ones against their own."""
        self.book([BookedFill(fill, self._reference(fill)) for fill in fills])

    def _reference(self, fill: Fill) -> Decimal:
        order = None if fill.client_id is None else self.journal.order(fill.client_id)
        return fill.price if order is None else order.reference

    async def look(self, ticker: str) -> Seen | None:
        """Return what both markets of a coin look like; None: that is not known at the moment."""
        try:
            spot = await self.market.book("spot", ticker)
            perp = await self.market.book("perp", ticker)
        except (RetryableError, MarketDataError):
            return None
        mark: Mark | None
        try:
            mark = await self.market.mark(ticker)
        except (RetryableError, MarketDataError):
            mark = None
        return Seen(spot, perp, mark)

"""What is known of one pair: its state, what it holds, and its orders of which not all is known yet."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from carryflow.core.errors import VenueError
from carryflow.core.leg import LEGS, Leg
from carryflow.execution.intents import Intent, client_order_id
from carryflow.execution.journal.records import OrderRecord, PairRecord, Purpose, Severity
from carryflow.execution.orders import Fill, OrderReport, OrderRequest, Side, TimeInForce
from carryflow.execution.pair.order_desk import CLOCKS_APART_MS
from carryflow.execution.pair.sizing import Holding, LegOrder, PairMarkets
from carryflow.execution.pair.states import Event, State, after
from carryflow.execution.together import all_of
from carryflow.execution.world import World


class PairKeeper:
    """Keep one pair, in memory and in the journal.

    Attributes:
        ticker: the coin.
        markets: both its markets.
        lock: held by whoever works on the pair.
        state: where it is.
        intent_id: the intent at work, or the last one.
        blocked: why no risk may be added; None: it may.
        astray: it is halted because the venue held what no trade explained.
        base_fee_rate: part of a spot purchase that the venue keeps in coins, as it did last (fraction).
        pending: orders of which more can come, or whose trades are not all booked, by our name.
        seen_until_ms: until when all trades at the venue are known (our clock, UTC ms).
    """

    def __init__(self, ticker: str, world: World, known: PairRecord | None, seen_until_ms: int) -> None:
        self.ticker = ticker
        self.world = world
        self.markets = PairMarkets(
            world.venue.instrument("spot", ticker), world.venue.instrument("perp", ticker)
        )
        self.lock = asyncio.Lock()
        self.state = State.IDLE if known is None else State(known.state)
        self.intent_id = None if known is None else known.intent_id
        self.blocked = None if known is None else known.blocked
        self.astray = known is not None and known.astray
        self.base_fee_rate = world.costs.spot_fee_rate if world.costs.fee_in_base else 0.0
        self.pending: dict[str, OrderRecord] = {}
        self.seen_until_ms = seen_until_ms
        self._last: dict[Leg, OrderRecord] = {}

    @property
    def record(self) -> PairRecord:
        """Return what the journal is to know of the pair."""
        return PairRecord(self.ticker, self.state.value, self.intent_id, self.blocked, self.astray)

    @property
    def unfinished(self) -> list[OrderRecord]:
        """Return the orders of which it is not known that nothing more can come."""
        return [order for order in self.pending.values() if not order.finished]

    @property
    def held(self) -> Holding:
        """Return what there is: what is booked, and what is filled of orders whose trades are not."""
        book = self.world.books.pairs[self.ticker]
        holding = Holding(book.spot_qty, book.perp_qty)
        for order in self.pending.values():
            if order.filled > order.booked:
                qty = self._net(order.request.leg, order.request.side, order.filled - order.booked)
                holding = _added(holding, order.request.leg, qty)
        return holding

    def held_after(self, report: OrderReport) -> Holding:
        """Return what there is once a report is booked of which nothing is yet."""
        told = sum((fill.qty for fill in report.fills), Decimal(0))
        qty = self._net(report.leg, report.side, report.filled - told)
        for fill in report.fills:
            qty += fill.side.sign * fill.qty - (fill.fee if fill.fee_asset == self.ticker else 0)
        return _added(self.held, report.leg, qty)

    def held_if_filled(self, request: OrderRequest) -> Holding:
        """Return what there is once an order is filled wholly, at the fee that was paid last."""
        return _added(self.held, request.leg, self._net(request.leg, request.side, request.qty))

    def move(self, event: Event) -> None:
        """Take a step of the table; the journal learns of it with the next record."""
        self.state = after(self.state, event)
        self.astray = False

    def save(self) -> None:
        """Write down where the pair is."""
        self.world.journal.record_pair(self.record)

    def block(self, reason: str, severity: Severity) -> None:
        """Let no risk be added until a person has looked, and say why."""
        self.blocked = self.blocked or reason
        self.save()
        self.world.tell(severity, self.ticker, reason)

    def begin(self, intent: Intent) -> None:
        """Let the orders that come serve this intent."""
        if intent.intent_id != self.intent_id:
            self.intent_id = intent.intent_id
            self._last = {}

    def order(
        self,
        intent: Intent,
        leg_order: LegOrder,
        purpose: Purpose,
        price: Decimal,
        reference: Decimal,
        time_in_force: TimeInForce = TimeInForce.IOC,
    ) -> OrderRecord:
        """Return the next order of a leg; it is to be written down before it is sent.

        The same order as one that never arrived is the same attempt, and bears the same name.
        """
        leg = leg_order.leg
        last = self._last.get(leg)
        attempt = 0 if last is None else last.attempt + 1
        request = OrderRequest(
            client_order_id(intent.intent_id, leg, attempt),
            leg,
            self.ticker,
            leg_order.side,
            abs(leg_order.qty),
            price,
            time_in_force,
            leg_order.reduce_only,
        )
        if (
            last is not None
            and last.lost
            and replace(request, client_id=last.request.client_id) == last.request
        ):
            request, attempt = last.request, last.attempt
        now_ms = self.world.clock.now_ms()
        until_ms = now_ms + self.world.settings.order_valid_ms
        order = OrderRecord(
            request, intent.intent_id, attempt, purpose, reference, until_ms, journalled_ms=now_ms
        )
        self.pending[request.client_id] = self._last[leg] = order
        return order

    def lose(self, order: OrderRecord) -> None:
        """Take note that an order was proved never to have arrived."""
        del self.pending[order.request.client_id]
        self._last[order.request.leg] = replace(order, lost=True)

    def report(self, report: OrderReport, followers: Sequence[OrderRecord] = ()) -> None:
        """Write down what became of an order with the orders that follow from it, and book its trades."""
        new = self.world.journal.record_report(report, self.world.clock.now_ms(), followers, self.record)
        self._book(new)
        self.refresh(report.client_id)

    def refresh(self, client_id: str | None) -> None:
        """Read anew what the journal knows of an order."""
        order = None if client_id is None else self.world.journal.order(client_id)
        if order is None:
            return
        if order.finished and order.filled <= order.booked:
            self.pending.pop(order.request.client_id, None)
        else:
            self.pending[order.request.client_id] = order

    async def collect(self, since_ms: int | None = None) -> bool:
        """Ask the venue for the trades of both markets, book what is new, and say whether it told.

        A venue may list a trade long after it happened. So one asks from the oldest order of which trades are
        missing, or from an instant before it (UTC ms).

        Trades that are not of our orders block the pair: a person, a liquidation, auto-deleveraging. So does
        more of an order than was ordered.
        """
        asked_ms = self.world.clock.now_ms()
        missing = [order.journalled_ms for order in self.pending.values()]
        asked = [self.seen_until_ms, *missing] + ([] if since_ms is None else [since_ms])
        from_ms = min(asked) - CLOCKS_APART_MS
        try:
            told = await all_of(self.world.venue.fills(leg, self.ticker, from_ms) for leg in LEGS)
        except VenueError:
            return False
        new = self.world.journal.record_fills([fill for fills in told for fill in fills])
        self._book(new)
        for client_id in {fill.client_id for fill in new} | set(self.pending):
            self.refresh(client_id)
        for fill in new:
            self._examine(fill)
        self.seen_until_ms = asked_ms
        return True

    def _book(self, fills: Sequence[Fill]) -> None:
        self.world.book_fills(fills)
        for fill in fills:
            if fill.leg == "spot" and fill.side is Side.BUY:
                self.base_fee_rate = float(fill.fee / fill.qty) if fill.fee_asset == self.ticker else 0.0
        self._refuse_strange_fees(fills)

    def _refuse_strange_fees(self, fills: Sequence[Fill]) -> None:
        """Block the pair whose fees were paid in a third coin: nobody here knows what that was worth."""
        strange: dict[str, Decimal] = defaultdict(Decimal)
        for fill in fills:
            ours = {self.world.venue.quote, self.ticker} if fill.leg == "spot" else {self.world.venue.quote}
            if fill.fee and fill.fee_asset not in ours:
                strange[fill.fee_asset] += fill.fee
        for coin, fee in strange.items():
            self.block(
                f"a fee of {fee} {coin} was paid, and stands in no books: {coin} is neither "
                f"{self.world.venue.quote} nor the coin bought; switch off paying fees in another coin at "
                "the venue, then resume the ticker",
                Severity.CRITICAL,
            )

    def _examine(self, fill: Fill) -> None:
        order = None if fill.client_id is None else self.world.journal.order(fill.client_id)
        what = f"{fill.leg} {fill.side} of {fill.qty} {fill.ticker} at {fill.price} (trade {fill.trade_id})"
        if order is None:
            self.block(
                f"not ours: {what}; a person, a liquidation or auto-deleveraging did it: look at the venue, "
                "then resume the ticker",
                Severity.CRITICAL,
            )
        elif order.booked > order.request.qty:
            self.block(
                f"filled twice: {what} makes {order.booked} of an order of {order.request.qty}; look at the "
                "venue, then resume the ticker",
                Severity.CRITICAL,
            )

    def _net(self, leg: Leg, side: Side, qty: Decimal) -> Decimal:
        """Return what a fill adds before its fee is known (base, signed)."""
        if leg == "spot" and side is Side.BUY:
            return qty * (1 - Decimal(repr(self.base_fee_rate)))
        return side.sign * qty


def _added(holding: Holding, leg: Leg, qty: Decimal) -> Holding:
    if leg == "spot":
        return Holding(holding.spot + qty, holding.perp)
    return Holding(holding.spot, holding.perp + qty)

"""Two legs of one coin: the first, the one that follows it, and the way back.

Whatever happens between the two, the pair ends with legs that differ by no more than the coarser lot, or
halted with a person told. What a crash leaves is in the journal, and `settle_leftovers` asks about it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto

from carryflow.core.leg import Leg
from carryflow.execution.drafts import Drafts
from carryflow.execution.intents import Decision, Intent
from carryflow.execution.keeper import PairKeeper
from carryflow.execution.legs import NotProved, OrderDesk
from carryflow.execution.orders import OrderReport, OrderStatus
from carryflow.execution.pair import Event, State
from carryflow.execution.planner import Plan, Seen, plan
from carryflow.execution.records import OrderRecord, Purpose, Severity
from carryflow.execution.sizing import LegOrder, unwinding_orders
from carryflow.execution.world import World

_REFUSALS = 2
"""How often the second leg may be refused before the first is unwound."""

_ROUNDS = 3
"""How often an order that opens is sent again when it never arrived."""


class _Round(Enum):
    LOST = auto()  # the first order never arrived
    EMPTY = auto()  # nothing of it was filled
    TRADED = auto()


class PairTrader:
    """Bring one pair where an intent wants it.

    Whoever calls holds `keeper.lock`.

    Attributes:
        keeper: what is known of the pair.
        acknowledged_ms: when the venue last answered an order (our clock, UTC ms).
    """

    def __init__(self, keeper: PairKeeper, world: World, desk: OrderDesk) -> None:
        self.keeper = keeper
        self.acknowledged_ms = 0
        self._world = world
        self._desk = desk
        self._drafts = Drafts(keeper, world)
        self._reluctant: Leg | None = None

    async def bring(self, decision: Decision, intent: Intent, planned: Plan, seen: Seen, hurry: bool) -> None:
        """Trade both legs until the pair is where the intent wants it, as far as the market lets it.

        What opens or grows is tried once at a price within the bound, after it has rested if that is the
        style; what closes is tried until it is closed, or `unwind_seconds` are over.

        Args:
            decision: what is wanted; it is written down with the first orders.
            intent: the pair to have.
            planned: its first orders.
            seen: the books that they were made on.
            hurry: never rest.
        """
        keeper, clock, settings = self.keeper, self._world.clock, self._world.settings
        begun_ms, blocked = clock.now_ms(), keeper.blocked
        rests = settings.style == "maker_first" and not hurry
        rest_until_ms = begun_ms + round(settings.maker_wait_seconds * 1_000) if rests else 0
        close_until_ms = begun_ms + round(settings.unwind_seconds * 1_000)
        closing, lost = intent.target_base == 0, 0
        keeper.begin(intent)
        following, looked = planned, seen
        async with self._called_off():
            while True:
                maker = clock.now_ms() < rest_until_ms and not self._desk.hurry
                until_ms = rest_until_ms if maker else 0
                end = await self._round(decision, intent, following, looked, until_ms)
                lost += end is _Round.LOST
                again = maker or (end is _Round.LOST and lost < _ROUNDS)
                if closing and not keeper.markets.is_flat(keeper.held):
                    again = again or clock.now_ms() < close_until_ms
                if not again:
                    break
                if end is not _Round.TRADED:
                    await clock.sleep(settings.poll_seconds)
                    await keeper.collect()
                after = await self._look(close_until_ms)
                sound = keeper.state is State.IDLE and keeper.markets.is_hedged(keeper.held)
                if after is None or not sound or keeper.blocked != blocked:
                    break
                replanned = plan(intent, keeper.held, keeper.markets, keeper.base_fee_rate, after)
                if replanned is None:
                    break
                following, looked = replanned, after
        await self.mend()

    async def mend(self) -> None:
        """Book all trades that the venue knows, and bring together what differs without an order of ours."""
        keeper = self.keeper
        await keeper.collect()
        if keeper.state is not State.IDLE or keeper.markets.is_hedged(keeper.held):
            return
        keeper.move(Event.DIVERGED)
        held = keeper.held
        keeper.save()
        self._world.tell(
            Severity.WARNING,
            keeper.ticker,
            f"the legs differ: {held.spot} spot, {held.perp} perpetual; the larger one is unwound",
        )
        async with self._called_off():
            await self._unwind(await self._drafts.unwinding(), may_open=False)

    async def settle_leftovers(self) -> None:
        """Find out what became of orders that a crash or a silent venue left, and bring the legs together.

        Of a pair that is halted, one look is taken, and it stays halted.
        """
        keeper = self.keeper
        patient = keeper.state is not State.HALTED
        at_work = keeper.state in {State.LEADING, State.CHASING, State.UNWINDING}
        if at_work:
            keeper.move(Event.AMBIGUOUS)
            keeper.save()
        async with self._called_off(quietly=not patient):
            for order in keeper.unfinished:
                report = await self._desk.prove(order, patient)
                if report is None:
                    keeper.lose(order)
                else:
                    keeper.report(await self._desk.trades_of(order, report))
        if keeper.state is State.UNKNOWN and not keeper.unfinished:
            keeper.move(Event.PROVED)
            await keeper.collect()
            if keeper.markets.is_hedged(keeper.held):
                keeper.move(Event.HEDGED)
                keeper.save()
                return
            keeper.move(Event.OUT_OF_TIME)
            keeper.save()
            async with self._called_off():
                await self._unwind(await self._drafts.unwinding(), may_open=keeper.blocked is None)

    async def resume(self) -> bool:
        """Go on after a person has looked; say whether the pair may trade again."""
        keeper = self.keeper
        await self.settle_leftovers()
        if keeper.unfinished:
            return False
        if keeper.state is State.HALTED:
            await self.unwind_halted()
        if keeper.state is not State.IDLE:
            return False
        keeper.blocked = None
        keeper.save()
        return True

    async def unwind_halted(self) -> None:
        """Bring the legs of a halted pair together, because a person said so; it stays blocked."""
        self.keeper.move(Event.RESUMED)
        self.keeper.save()
        async with self._called_off():
            await self._unwind(await self._drafts.unwinding(), may_open=False)

    def halt(self, words: str) -> None:
        """Stop until a person has looked."""
        self.keeper.blocked = self.keeper.blocked or words
        self.keeper.save()
        self._world.tell(Severity.CRITICAL, self.keeper.ticker, words)

    async def _round(
        self, decision: Decision, intent: Intent, planned: Plan, seen: Seen, rest_until_ms: int
    ) -> _Round:
        """Send the leg that leads, and the other after what it has filled.

        A leg that could not follow the last time leads: then nothing has to be undone if it cannot again.
        """
        keeper = self.keeper
        if planned.hedge is not None and planned.hedge.leg == self._reluctant:
            planned = Plan(planned.hedge, planned.lead)
        lead = self._drafts.lead(intent, planned, seen, rests=rest_until_ms > 0)
        ready = None if rest_until_ms else self._drafts.second(intent, planned, lead, seen)
        keeper.move(Event.PLANNED)
        orders = [lead] if ready is None else [lead, ready]
        self._world.journal.record_intent(intent, keeper.record, orders, decision)
        try:
            report = await self._send(lead, rest_until_ms)
        except NotProved:
            self._drop(ready)
            raise
        if keeper.state is State.LEADING:
            keeper.move(Event.LEAD_ENDED)
        whole = report is not None and report.filled == lead.request.qty
        if whole and lead.request.leg == self._reluctant:
            self._reluctant = None
        if ready is not None and (report is None or not self._drafts.fits(intent, ready, report)):
            self._drop(ready)
            ready = None
        if report is None:
            keeper.move(Event.HEDGED)
            keeper.save()
            return _Round.LOST
        follower = planned.hedge.leg if planned.hedge is not None else planned.lead.leg
        if ready is not None:
            await self._chase(intent, follower, ready, unwritten=report)
            return _Round.TRADED
        chaser = None
        if keeper.markets.is_hedged(keeper.held_after(report)):
            keeper.move(Event.HEDGED)
        else:
            looked = seen if rest_until_ms == 0 else await self._world.look(keeper.ticker) or seen
            chaser = self._drafts.chaser(intent, follower, looked, keeper.held_after(report))
        keeper.report(report, [] if chaser is None else [chaser])
        if keeper.state is State.CHASING:
            await self._chase(intent, follower, chaser)
        return _Round.TRADED if report.filled else _Round.EMPTY

    def _drop(self, order: OrderRecord | None) -> None:
        """Write down that an order was never sent."""
        if order is not None:
            self._world.journal.record_lost(order.request.client_id, self._world.clock.now_ms())
            self.keeper.lose(order)

    async def _chase(
        self, intent: Intent, leg: Leg, order: OrderRecord | None, unwritten: OrderReport | None = None
    ) -> None:
        """Send the leg that follows until it has all that the first has filled, or its time is over.

        Args:
            intent: the pair to have.
            leg: the leg that follows.
            order: its first order; None: it has none.
            unwritten: what became of the first leg, if that is not in the journal yet: it waits until the
                second is on its way.
        """
        keeper, clock = self.keeper, self._world.clock
        until_ms = clock.now_ms() + round(self._world.settings.hedge_seconds * 1_000)
        refusals = 0
        while order is not None:
            try:
                report = await self._send(order)
            finally:
                if unwritten is not None:
                    keeper.report(unwritten)
                    unwritten = None
            if report is not None:
                if keeper.markets.is_hedged(keeper.held_after(report)):
                    keeper.move(Event.HEDGED)
                keeper.report(report)
                refusals += report.status is OrderStatus.REJECTED
            if keeper.state is State.IDLE:
                return
            if clock.now_ms() >= until_ms or refusals >= _REFUSALS:
                break
            if report is None or report.filled == 0:
                await clock.sleep(self._world.settings.poll_seconds)
            looked = await self._look(until_ms)
            order = None if looked is None else self._drafts.chaser(intent, leg, looked, keeper.held)
            if order is not None:
                self._world.journal.record_orders([order], keeper.record)
        self._reluctant = leg
        keeper.move(Event.OUT_OF_TIME)
        keeper.save()
        await self._unwind(intent, may_open=True)

    async def _unwind(self, intent: Intent, may_open: bool) -> None:
        """Bring the legs together by whichever of them can be traded, within the wider bound."""
        keeper, world = self.keeper, self._world
        until_ms = world.clock.now_ms() + round(world.settings.unwind_seconds * 1_000)
        failed = 0
        while True:
            await keeper.collect()
            if keeper.markets.is_hedged(keeper.held):
                keeper.move(Event.HEDGED)
                keeper.save()
                return
            if world.clock.now_ms() >= until_ms:
                break
            before, seen = abs(keeper.held.delta), await world.look(keeper.ticker)
            if seen is not None:
                allowed = may_open and keeper.blocked is None
                options = unwinding_orders(
                    keeper.held, keeper.markets, keeper.base_fee_rate, seen.prices, allowed
                )
                if options:
                    await self._send_unwinding(intent, options[failed % len(options)], seen)
            if abs(keeper.held.delta) >= before:
                failed += 1
                await world.clock.sleep(world.settings.poll_seconds)
        keeper.move(Event.OUT_OF_TIME)
        held = keeper.held
        self.halt(
            f"{held.spot} spot and {held.perp} perpetual of {keeper.ticker} could not be brought together "
            f"within {world.settings.unwind_seconds:g} s; trade them by hand, then resume the ticker"
        )

    async def _send_unwinding(self, intent: Intent, leg_order: LegOrder, seen: Seen) -> None:
        keeper, bound_bp = self.keeper, self._world.settings.unwind_bound_bp
        order = self._drafts.within(intent, leg_order, Purpose.UNWIND, seen, bound_bp)
        self._world.journal.record_orders([order], keeper.record)
        report = await self._send(order)
        if report is not None:
            keeper.report(report)

    async def _send(self, order: OrderRecord, rest_until_ms: int = 0) -> OrderReport | None:
        """Send an order and see it to its end; the state is the one of before, or CHASING where it led."""
        keeper, before = self.keeper, self.keeper.state
        report = await self._desk.send(order, self._lose_sight, rest_until_ms)
        self.acknowledged_ms = self._world.clock.now_ms()
        if order.purpose in {Purpose.LEAD, Purpose.HEDGE} and not order.request.reduce_only:
            self._world.sent_ms.append(self.acknowledged_ms)
        if keeper.state is State.UNKNOWN:
            keeper.move(Event.PROVED)
            if before is State.UNWINDING:
                keeper.move(Event.OUT_OF_TIME)
        if report is None:
            keeper.lose(order)
        elif order.request.leg == "spot":
            report = await self._desk.trades_of(order, report)
        return report

    def _lose_sight(self) -> None:
        self.keeper.move(Event.AMBIGUOUS)
        self.keeper.save()

    @asynccontextmanager
    async def _called_off(self, quietly: bool = False) -> AsyncIterator[None]:
        """Halt the pair if it stays unknown what became of an order."""
        try:
            yield
        except NotProved as error:
            if quietly:
                return
            if self.keeper.state is State.IDLE:
                self.keeper.move(Event.LOST_TRACK)
            else:
                if self.keeper.state is not State.UNKNOWN:
                    self.keeper.move(Event.AMBIGUOUS)
                self.keeper.move(Event.OUT_OF_TIME)
            self.halt(str(error))

    async def _look(self, until_ms: int) -> Seen | None:
        """Look at the markets until they can be seen, or the time is over."""
        while True:
            seen = await self._world.look(self.keeper.ticker)
            if seen is not None or self._world.clock.now_ms() >= until_ms:
                return seen
            await self._world.clock.sleep(self._world.settings.poll_seconds)

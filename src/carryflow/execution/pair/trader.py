"""Two legs of one coin: the first, and the one that follows it.

Whatever happens between the two, the pair ends with legs that differ by no more than the coarser lot, or
halted with a person told.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from carryflow.core.leg import Leg
from carryflow.execution.intents import Decision, Intent
from carryflow.execution.journal.records import OrderRecord
from carryflow.execution.orders import OrderReport, OrderStatus
from carryflow.execution.pair.keeper import PairKeeper
from carryflow.execution.pair.mender import PairMender
from carryflow.execution.pair.order_desk import NotProved, OrderDesk, never
from carryflow.execution.pair.planner import Plan, Seen, plan
from carryflow.execution.pair.states import Event, State
from carryflow.execution.world import World

_REFUSALS = 2
"""How often the second leg may be refused before the first is unwound."""

_ROUNDS = 3
"""How often an order that opens is sent again when it never arrived."""


class _Round(Enum):
    LOST = auto()  # the first order never arrived
    EMPTY = auto()  # nothing of it was filled
    TRADED = auto()


class Leave(Protocol):
    """Say what an intent may do at the moment."""

    def rests(self) -> bool:
        """Say whether its first leg may rest."""
        ...

    def covers(self, planned: Plan, seen: Seen) -> bool:
        """Say whether orders may be sent for it: no limit is in the way."""
        ...


class PairTrader(PairMender):
    """Bring one pair where an intent wants it.

    Whoever calls holds `keeper.lock`.
    """

    def __init__(self, keeper: PairKeeper, world: World, desk: OrderDesk) -> None:
        super().__init__(keeper, world, desk)
        self._reluctant: Leg | None = None

    async def bring(
        self, decision: Decision, intent: Intent, planned: Plan, seen: Seen, leave: Leave
    ) -> None:
        """Trade both legs until the pair is where the intent wants it, as far as the market lets it.

        What opens or grows is tried once at a price within the bound, after it has rested if that is the
        style; what closes is tried until it is closed, or `unwind_seconds` are over. Before each round but
        the first, which whoever calls has asked about, it is asked again whether it may go on.

        Args:
            decision: what is wanted; it is written down with the first orders.
            intent: the pair to have.
            planned: its first orders.
            seen: the books that they were made on.
            leave: what it may do.
        """
        keeper, clock, settings = self.keeper, self._world.clock, self._world.settings
        begun_ms, blocked = clock.now_ms(), keeper.blocked
        rest_until_ms = begun_ms + round(settings.maker_wait_seconds * 1_000)
        close_until_ms = begun_ms + round(settings.unwind_seconds * 1_000)
        closing, lost = intent.target_base == 0, 0

        def rests() -> bool:
            return leave.rests() and not self._desk.hurry and clock.now_ms() < rest_until_ms

        keeper.begin(intent)
        following, looked = planned, seen
        async with self._called_off():
            while True:
                maker = rests()
                end = await self._round(decision, intent, following, looked, rests if maker else None)
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
                replanned = plan(intent, keeper.held, keeper.markets, keeper.base_fee_rate, after, settings)
                if replanned is None or not (closing or self._may_go_on(leave, replanned, after)):
                    break
                following, looked = replanned, after
        await self.mend()

    def _may_go_on(self, leave: Leave, planned: Plan, seen: Seen) -> bool:
        return leave.covers(planned, seen) and not self._desk.hurry

    async def _round(
        self,
        decision: Decision,
        intent: Intent,
        planned: Plan,
        seen: Seen,
        rests: Callable[[], bool] | None,
    ) -> _Round:
        """Send the leg that leads, and the other after what it has filled.

        A leg that could not follow the last time leads: then nothing has to be undone if it cannot again.
        """
        keeper = self.keeper
        if planned.hedge is not None and planned.hedge.leg == self._reluctant:
            planned = Plan(planned.hedge, planned.lead, planned.limits)
        lead = self._drafts.lead(intent, planned, seen, rests=rests is not None)
        ready = None if rests is not None else self._drafts.second(intent, planned, lead, seen)
        keeper.move(Event.PLANNED)
        orders = [lead] if ready is None else [lead, ready]
        self._world.journal.record_intent(intent, keeper.record, orders, decision)
        try:
            report = await self._send(lead, rests or never)
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
            looked = seen if rests is None else await self._world.look(keeper.ticker) or seen
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

    async def _look(self, until_ms: int) -> Seen | None:
        """Look at the markets until they can be seen, or the time is over."""
        while True:
            seen = await self._world.look(self.keeper.ticker)
            if seen is not None or self._world.clock.now_ms() >= until_ms:
                return seen
            await self._world.clock.sleep(self._world.settings.poll_seconds)

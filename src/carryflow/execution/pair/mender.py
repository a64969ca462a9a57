"""The way back: whatever happened between two legs, they are brought together, or a person is told.

What a crash leaves is in the journal, and `settle_leftovers` asks about it.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from carryflow.execution.intents import Intent
from carryflow.execution.journal.records import OrderRecord, Purpose, Severity
from carryflow.execution.orders import OrderReport
from carryflow.execution.pair.drafts import Drafts
from carryflow.execution.pair.keeper import PairKeeper
from carryflow.execution.pair.order_desk import NotProved, OrderDesk, never
from carryflow.execution.pair.planner import Seen
from carryflow.execution.pair.sizing import LegOrder, unwinding_orders
from carryflow.execution.pair.states import Event, State
from carryflow.execution.world import World


class PairMender:
    """Keep the legs of one pair together.

    Whoever calls holds `keeper.lock`.

    Attributes:
        keeper: what is known of the pair.
        acknowledged_ms: when the venue last answered an order (our clock, UTC ms).
        sent: how many orders were sent that are counted as an order of a minute.
    """

    def __init__(self, keeper: PairKeeper, world: World, desk: OrderDesk) -> None:
        self.keeper = keeper
        self.acknowledged_ms = 0
        self.sent = 0
        self._world = world
        self._desk = desk
        self._drafts = Drafts(keeper, world)

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

    async def _send(self, order: OrderRecord, rests: Callable[[], bool] = never) -> OrderReport | None:
        """Send an order and see it to its end; the state is the one of before, or CHASING where it led."""
        keeper, before = self.keeper, self.keeper.state
        report = await self._desk.send(order, self._lose_sight, rests)
        self.acknowledged_ms = self._world.clock.now_ms()
        if order.purpose in {Purpose.LEAD, Purpose.HEDGE} and not order.request.reduce_only:
            self._world.sent_ms.append(self.acknowledged_ms)
            self.sent += 1
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

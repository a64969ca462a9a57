"""What is watched between decisions: the kill switch, margin, the day's loss, the clocks."""

from collections.abc import Mapping
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from carryflow.core.errors import VenueError
from carryflow.core.leg import LEGS
from carryflow.execution.cashier import Cashier
from carryflow.execution.follower import Follower
from carryflow.execution.journal.records import Severity
from carryflow.execution.limits.guard import Guard
from carryflow.execution.limits.kill import KillSwitch, Level
from carryflow.execution.limits.margin import distance, relief, surplus
from carryflow.execution.limits.retries import Retries
from carryflow.execution.limits.risk import lost_today
from carryflow.execution.orders import Wallet
from carryflow.execution.outcome import Outcome
from carryflow.execution.pair.order_desk import OrderDesk
from carryflow.execution.pair.states import State
from carryflow.execution.pair.trader import PairTrader
from carryflow.execution.together import all_of
from carryflow.execution.world import World

_UNEVEN = Decimal("0.02")
"""Cash in the wrong wallet of a flat pair that is worth a transfer (fraction of its equity)."""


class Watch:
    """Keep positions safe, whether or not anybody decides anything."""

    def __init__(
        self,
        world: World,
        traders: Mapping[str, PairTrader],
        guard: Guard,
        follower: Follower,
        cashier: Cashier,
        desk: OrderDesk,
        switch: KillSwitch,
        brackets: NDArray[np.float64],
    ) -> None:
        self._world = world
        self._traders = traders
        self._guard = guard
        self._follower = follower
        self._cashier = cashier
        self._desk = desk
        self._switch = switch
        self._brackets = brackets
        self._level = Level.RUN
        self._told_skew = False
        self._flattened_ms = 0
        self._evened_ms: dict[str, int] = {}
        self._helped = Retries(world.clock, world.settings.reconcile_seconds)

    async def look(self) -> None:
        """Look at everything once, and do what is needed."""
        await self._heed_switch()
        await self._guard.measure()
        self._tell_skew()
        try:
            await all_of(self._look_at(trader) for trader in self._traders.values())
        except VenueError:  # of one coin; the loss is that of all
            await self._bound_loss()
            raise
        await self._bound_loss()

    async def flatten(self, reason: str) -> dict[str, Outcome]:
        """Close every pair, whatever limits say, and cancel what rests; tell of those that stay open."""
        self._desk.hurry = True
        try:
            outcomes = await all_of(self._close(trader, reason) for trader in self._traders.values())
        finally:
            self._desk.hurry = False
        return dict(zip(self._traders, outcomes, strict=True))

    async def _close(self, trader: PairTrader, reason: str) -> Outcome:
        keeper, world = trader.keeper, self._world
        async with keeper.lock:
            if keeper.state is not State.IDLE or keeper.unfinished:
                await trader.settle_leftovers()
            for leg in LEGS:
                try:
                    await world.venue.cancel_all(leg, keeper.ticker)
                except VenueError:
                    continue  # what rests is found by the next reconciliation
            await trader.mend()
            if keeper.state is State.HALTED and not keeper.unfinished:
                await trader.unwind_halted()
        decision = world.decide(keeper.ticker, 0.0, "limit", reason)
        outcome = await self._follower.follow(decision, protective=True)
        if not keeper.markets.is_flat(keeper.held):
            held = keeper.held
            words = f"{held.spot} spot and {held.perp} perpetual are still open: {outcome.words}"
            world.tell(Severity.CRITICAL, keeper.ticker, words)
        return outcome

    async def _heed_switch(self) -> None:
        kill = self._switch.current()
        if kill.level is not self._level:
            severity = Severity.WARNING if kill.level is not Level.RUN else Severity.INFO
            words = f"the kill switch is at {kill.level.name.lower()}: {kill.reason or 'cleared'}"
            self._world.tell(severity, None, words)
            self._level = kill.level
        if kill.level is Level.FLATTEN and not self._is_flat() and self._is_due(self._flattened_ms):
            self._flattened_ms = self._world.clock.now_ms()
            await self.flatten(f"kill switch: {kill.reason}")

    def _is_due(self, last_ms: int) -> bool:
        """Say whether what did not work may be tried again."""
        return self._world.clock.now_ms() - last_ms >= self._world.settings.reconcile_seconds * 1_000

    def _is_flat(self) -> bool:
        keepers = [trader.keeper for trader in self._traders.values()]
        return all(keeper.markets.is_flat(keeper.held) and not keeper.pending for keeper in keepers)

    def _tell_skew(self) -> None:
        bound = self._world.settings.limits.max_clock_skew_ms
        wrong = abs(self._guard.skew_ms) > bound
        if wrong and not self._told_skew:
            words = (
                f"the venue's clock is {self._guard.skew_ms} ms from ours, the bound is {bound}: nothing is "
                "opened until this machine's clock is right"
            )
            self._world.tell(Severity.CRITICAL, None, words)
        self._told_skew = wrong

    async def _look_at(self, trader: PairTrader) -> None:
        """Value one pair, and keep its liquidation far away, or its wallets even while it is flat."""
        keeper, world = trader.keeper, self._world
        seen = await world.look(keeper.ticker)
        if seen is None or seen.mark is None:
            return
        self._guard.mark(keeper.ticker, seen)
        if keeper.lock.locked():
            return  # the next look sees what came of it
        book = world.books.pairs[keeper.ticker]
        if book.perp_qty == 0:
            await self._even_out(trader)
            return
        least = world.settings.limits.min_margin_distance
        help_needed = relief(book.account, book.spot_cash, least, self._brackets)
        if help_needed is None:
            self._helped.end(keeper.ticker)
            return
        if not self._helped.is_due(keeper.ticker):
            return
        away = distance(book.account, self._brackets)
        if self._helped.begin(keeper.ticker):
            world.tell(
                Severity.WARNING,
                keeper.ticker,
                f"liquidation is {away:.1%} of the mark away, the bound is {least:.0%}: "
                f"{help_needed.top_up_quote} {world.venue.quote} move to futures, {help_needed.keep:.0%} "
                "is kept",
            )
        held = keeper.held.spot
        amount = help_needed.top_up_quote
        arrived = amount <= 0 or await self._cashier.move(keeper.ticker, amount, Wallet.FUTURES)
        keep = help_needed.keep
        if not arrived:  # the transfer failed, or nobody knows: only a smaller position is certain to help
            without = relief(book.account, Decimal(0), least, self._brackets)
            keep = 1.0 if without is None else without.keep
        if keep < 1.0:
            most = max(held, Decimal(0)) * Decimal(repr(keep))
            await self._follower.shrink(keeper.ticker, most, f"liquidation is {away:.1%} away")

    async def _even_out(self, trader: PairTrader) -> None:
        """Move cash of a flat pair to the wallet that the next position needs it in."""
        keeper, world = trader.keeper, self._world
        book = world.books.pairs[keeper.ticker]
        sound = keeper.state is State.IDLE and keeper.blocked is None and not keeper.pending
        if not sound or not self._is_due(self._evened_ms.get(keeper.ticker, 0)):
            return
        excess = surplus(book.account, book.spot_cash, world.settings.spot_share)
        if abs(excess) > _UNEVEN * Decimal(repr(book.equity)):
            to = Wallet.FUTURES if excess > 0 else Wallet.SPOT
            self._evened_ms[keeper.ticker] = world.clock.now_ms()
            async with keeper.lock:
                await self._cashier.move(keeper.ticker, abs(excess), to)

    async def _bound_loss(self) -> None:
        """Close everything once the day has lost too much; until the next day nothing is opened."""
        limits, books = self._world.settings.limits, self._world.books
        loss = lost_today(self._guard.day_equity, books.equity, books.opening_equity)
        due = not self._is_flat() and self._is_due(self._flattened_ms)
        if loss >= limits.max_daily_loss and due:
            self._flattened_ms = self._world.clock.now_ms()
            words = f"the day lost {loss:.2%} of the capital, the bound is {limits.max_daily_loss:.2%}"
            self._world.tell(Severity.CRITICAL, None, f"{words}: everything is closed")
            await self.flatten(words)

"""How things stand, as the limits look at them."""

from collections.abc import Mapping
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from carryflow.core.account import Column
from carryflow.core.errors import MarketDataError, RetryableError, VenueError
from carryflow.core.margin import maintenance_margin
from carryflow.execution.kill import KillSwitch, Level
from carryflow.execution.planner import Seen
from carryflow.execution.reconcile import Reconciler
from carryflow.execution.risk import Exposure, Situation
from carryflow.execution.trader import PairTrader
from carryflow.execution.world import World

_DAY_MS = 86_400_000
_MINUTE_MS = 60_000
_LOOKS = 3


class Guard:
    """Measure what the limits bound.

    Attributes:
        skew_ms: the venue's clock less ours, at least, as last measured.
        quote_price: what the quote coin was worth (dollars) when last asked; None: no market tells.
    """

    def __init__(
        self,
        world: World,
        traders: Mapping[str, PairTrader],
        reconciler: Reconciler,
        switch: KillSwitch,
        brackets: NDArray[np.float64],
    ) -> None:
        self.skew_ms = 0
        self.quote_price: Decimal | None = None
        self._world = world
        self._traders = traders
        self._reconciler = reconciler
        self._switch = switch
        self._brackets = brackets
        self._day = -1
        self._day_equity = 0.0

    @property
    def level(self) -> Level:
        """Return what the kill switch says."""
        return self._switch.level()

    @property
    def day_equity(self) -> float:
        """Return what the books were worth when the day began, at 00:00 UTC, or when they were first seen."""
        books, day = self._world.books, self._world.clock.now_ms() // _DAY_MS
        if day != self._day:
            journal = self._world.journal
            today = journal.statements(day * _DAY_MS)[:1]
            before = journal.last_statement()
            known = today[0] if today else before
            self._day_equity = books.opening_equity if known is None else float(known.equity_quote)
            self._day = day
        return self._day_equity

    async def measure(self) -> None:
        """Measure the clocks, and ask what the quote coin is worth; what nobody tells stays as it was."""
        clock = self._world.clock
        best: tuple[int, int] | None = None
        for _ in range(_LOOKS):
            before = clock.now_ms()
            try:
                told = await self._world.venue.now_ms()
            except VenueError:
                continue
            after = clock.now_ms()
            if best is None or after - before < best[0]:
                best = (after - before, told - (before + after) // 2)
        if best is not None:
            doubt = best[0] // 2 + 1  # the answer was written at some instant of the round trip
            self.skew_ms = max(abs(best[1]) - doubt, 0) * (1 if best[1] > 0 else -1)
        try:
            self.quote_price = await self._world.market.quote_price()
        except (RetryableError, MarketDataError):
            return

    def mark(self, ticker: str, seen: Seen) -> None:
        """Value a pair at what its markets look like."""
        if seen.mark is not None:
            self._world.books.pairs[ticker].mark(float(seen.spot.mid), float(seen.mark.price))

    def situation(self, ticker: str, seen: Seen) -> Situation:
        """Return how things stand, for an intent of one coin and the markets that it is made on."""
        world, now_ms = self._world, self._world.clock.now_ms()
        marks = {ticker: seen.perp.mid if seen.mark is None else seen.mark.price}
        exposures = {name: self._exposure(trader, marks.get(name)) for name, trader in self._traders.items()}
        told = self._reconciler.balances
        notionals = [pair.notional for pair in world.books.pairs.values()]
        ours = sum(maintenance_margin(notional, self._brackets) for notional in notionals)
        while world.sent_ms and world.sent_ms[0] <= now_ms - _MINUTE_MS:
            world.sent_ms.popleft()
        return Situation(
            now_ms=now_ms,
            level=self.level,
            exposures=exposures,
            margin=world.books.margin,
            maintenance=ours if told is None else max(ours, float(told.maintenance)),
            equity=world.books.equity,
            day_equity=self.day_equity,
            capital=world.books.opening_equity,
            orders_last_minute=len(world.sent_ms),
            seen_ms=0 if seen.mark is None else min(seen.spot.seen_ms, seen.perp.seen_ms, seen.mark.seen_ms),
            skew_ms=self.skew_ms,
            quote_price=self.quote_price,
        )

    def _exposure(self, trader: PairTrader, mark: Decimal | None) -> Exposure:
        keeper = trader.keeper
        held = keeper.held
        if mark is None:
            mark = Decimal(repr(float(self._world.books.pairs[keeper.ticker].account[Column.MARK])))
        return Exposure(held.spot, held.perp, mark, keeper.markets.coarser_lot, keeper.blocked)

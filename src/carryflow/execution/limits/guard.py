"""How things stand, as the limits look at them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from carryflow.core.account import Column
from carryflow.core.errors import MarketDataError, RetryableError, VenueError
from carryflow.core.margin import maintenance_margin
from carryflow.execution.intents import Intent
from carryflow.execution.limits.kill import KillSwitch, Level
from carryflow.execution.limits.risk import Exposure, Situation
from carryflow.execution.pair.planner import Seen
from carryflow.execution.pair.trader import PairTrader
from carryflow.execution.reconcile import Reconciler
from carryflow.execution.world import World

_DAY_MS = 86_400_000
_MINUTE_MS = 60_000
_LOOKS = 3

_STALE = 2
"""Pauses between reconciliations after which the last one is too old to add risk on."""


class _Promise(NamedTuple):
    """Hold what an intent at work may still come to.

    Attributes:
        base: the perpetual that it may bring its coin to, whatever its side (base, ≥ 0).
        orders: how many orders it was let send.
        sent: how many its coin had sent before.
    """

    base: Decimal
    orders: int
    sent: int


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
        self._promises: dict[str, _Promise] = {}
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
            known = journal.first_statement(day * _DAY_MS) or journal.last_statement()
            self._day_equity = books.opening_equity if known is None else float(known.equity_quote)
            self._day = day
        return self._day_equity

    @property
    def out_of_date(self) -> bool:
        """Say whether the venue has not told for too long what there is."""
        last = self._reconciler.reconciled_ms
        oldest_ms = self._world.clock.now_ms() - _STALE * self._world.settings.reconcile_seconds * 1_000
        return last is None or last < oldest_ms

    @contextmanager
    def promising(self, intent: Intent, orders: int) -> Iterator[None]:
        """Count an intent at work as if it were there: of what is left, no other coin is given any.

        Args:
            intent: the pair to have.
            orders: how many orders it sends, cancels and closes left out.
        """
        ticker = intent.ticker
        self._promises[ticker] = _Promise(abs(intent.target_base), orders, self._traders[ticker].sent)
        try:
            yield
        finally:
            del self._promises[ticker]

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

    def situation(self, ticker: str, seen: Seen, level: Level) -> Situation:
        """Return how things stand, for an intent of one coin and the markets that it is made on.

        Args:
            ticker: the coin.
            seen: its markets.
            level: what the kill switch has just said.
        """
        world, now_ms = self._world, self._world.clock.now_ms()
        exposures = {
            name: self._exposure(trader, seen if name == ticker else None)
            for name, trader in self._traders.items()
        }
        told = self._reconciler.balances
        notionals = [pair.notional for pair in world.books.pairs.values()]
        ours = sum(maintenance_margin(notional, self._brackets) for notional in notionals)
        while world.sent_ms and world.sent_ms[0] <= now_ms - _MINUTE_MS:
            world.sent_ms.popleft()
        return Situation(
            now_ms=now_ms,
            level=level,
            exposures=exposures,
            margin=min(world.books.margin, world.told_margin),
            maintenance=ours if told is None else max(ours, float(told.maintenance)),
            equity=world.books.equity,
            day_equity=self.day_equity,
            capital=world.books.opening_equity,
            orders_last_minute=len(world.sent_ms) + self._orders_to_come(ticker),
            seen_ms=0 if seen.mark is None else min(seen.spot.seen_ms, seen.perp.seen_ms, seen.mark.seen_ms),
            skew_ms=self.skew_ms,
            quote_price=self.quote_price,
            out_of_date=self.out_of_date,
        )

    def _orders_to_come(self, ticker: str) -> int:
        """Return how many orders the other coins have been let send and have not sent yet."""
        return sum(
            max(promise.orders - (self._traders[other].sent - promise.sent), 0)
            for other, promise in self._promises.items()
            if other != ticker
        )

    def _exposure(self, trader: PairTrader, seen: Seen | None) -> Exposure:
        keeper = trader.keeper
        held, lot = keeper.held, keeper.markets.coarser_lot
        if seen is None:
            mark = Decimal(repr(float(self._world.books.pairs[keeper.ticker].account[Column.MARK])))
            promise = self._promises.get(keeper.ticker)
            promised = Decimal(0) if promise is None else promise.base
            return Exposure(held.spot, held.perp, mark, lot, keeper.blocked, promised=promised)
        return Exposure(
            held.spot, held.perp, seen.anchor("perp"), lot, keeper.blocked, spot=seen.anchor("spot")
        )

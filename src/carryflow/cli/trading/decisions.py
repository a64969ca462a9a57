"""Decisions as bars close: the policy learns what closed, and says what to have of each coin."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from carryflow.cli.trading.policies import Champion, Held, Policy, Standing
from carryflow.core.errors import CarryflowError, MarketDataError, RetryableError
from carryflow.execution.intents import Decision
from carryflow.execution.ports import Clock

if TYPE_CHECKING:
    from carryflow.market.closed_bars import ClosedBar
    from carryflow.venues.stream.closed_bars import ClosedBars

PATIENCE_SECONDS = 5.0
"""Pause before a venue that gave no bars is asked again (seconds of the machine)."""


class Decider:
    """Ask a policy about each ticker whenever its bar has closed.

    Of several bars that had closed before anybody looked, only the newest is decided on. What a venue does
    not tell at the moment is asked for again. A ticker whose bars have a hole is held until its history has
    been fetched anew, which is tried at every bar.
    """

    def __init__(
        self,
        policy: Policy,
        standing: Callable[[str], Standing],
        clock: Clock,
        bar_ms: int,
        told: Callable[[Held], None],
        refetch: Callable[[], Path],
    ) -> None:
        """Take what deciding needs.

        Args:
            policy: decides.
            standing: says how a ticker's account stands.
            clock: the venue's.
            bar_ms: length of a bar (ms).
            told: hears of each ticker that is held, and why.
            refetch: brings the stored history up to date and gives its folder; it blocks.
        """
        self._policy = policy
        self._standing = standing
        self._clock = clock
        self._bar_ms = bar_ms
        self._told = told
        self._refetch = refetch

    async def decisions(self, bars: "ClosedBars") -> AsyncIterator[Decision]:
        """Yield decisions until no bar follows."""
        while True:
            try:
                closed = await anext(bars)
            except StopAsyncIteration:
                return
            except (RetryableError, MarketDataError) as error:
                self._told(Held("", f"no bars: {error}"))
                await asyncio.sleep(PATIENCE_SECONDS)
                continue
            await asyncio.to_thread(self._learn, closed, dict(bars.missing))
            if not self._newest(closed):
                continue
            for ticker in (*closed, *bars.missing):
                wanted = self._policy.decide(ticker, self._standing(ticker), self._clock.now_ms())
                if isinstance(wanted, Held):
                    self._told(wanted)
                else:
                    yield wanted

    def _learn(self, closed: "Mapping[str, ClosedBar]", missing: Mapping[str, str]) -> None:
        for ticker, bar in closed.items():
            self._policy.learn(ticker, bar)
        if not isinstance(self._policy, Champion):
            return
        for ticker, why in missing.items():
            self._policy.miss(ticker, why)
        if self._policy.blind and self._newest(closed):
            self._mend(self._policy)

    def _mend(self, champion: Champion) -> None:
        try:
            folder = self._refetch()
        except CarryflowError:
            return  # the venue does not tell now; it is asked again at the next bar
        for ticker in champion.blind:
            try:
                champion.mend(ticker, folder, self._clock.now_ms())
            except CarryflowError as error:
                champion.miss(ticker, str(error))

    def _newest(self, closed: "Mapping[str, ClosedBar]") -> bool:
        """Say whether no later bar has closed by now."""
        opened = [round(bar.perp["timestamp"].timestamp() * 1000) for bar in closed.values()]
        return not opened or max(opened) + 2 * self._bar_ms > self._clock.now_ms()

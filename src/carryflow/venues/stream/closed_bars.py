"""Bars of both legs as they close at a venue, one instant after the other."""

from collections import deque
from collections.abc import AsyncIterator
from itertools import chain

from carryflow.execution.ports import Clock
from carryflow.features.alignment import feature_bar_ms
from carryflow.market.closed_bars import ClosedBar
from carryflow.market.data import DataSettings
from carryflow.venues.blocks import Block
from carryflow.venues.connection import VenueConnection, together
from carryflow.venues.stream.pair_bars import PairBars, ask_pair_bars, next_settlement_ms

MOST_BARS_AT_ONCE = 500
"""Bars of a backlog that are asked for together."""

GRACE_MS = 1_000
"""How long after a close its bar is asked for: venues write a bar, and stamp a settlement, moments late."""


class ClosedBars(AsyncIterator[dict[str, ClosedBar]]):
    """Bring the bars that close at one instant, of all tickers together.

    The rows are those that a fetch stores: traded bars, mark and index, what settled, and, where the bar is
    brought in time, the books and the predicted rate that a fetch would see then. So features streamed from
    them are those of a batch. Bars that had closed before the iteration began come at once.

    A ticker is left out where the venue, asked again and again, lacks the perpetual's bar, or a settlement
    that was due: `missing` says why, and its feature stream must be primed anew. A bar of spot that does not
    come is a halt. After an error the same instant is asked for again.

    Attributes:
        missing: why tickers were left out of the bars that were brought last.

    """

    def __init__(
        self,
        connection: VenueConnection,
        data: DataSettings,
        clock: Clock,
        start_ms: int,
        end_ms: int | None = None,
    ) -> None:
        """Ask for nothing yet.

        Args:
            connection: an open connection to the venue, whose clock says when a bar has closed.
            data: which coins, and how long a bar is.
            clock: waits for the next close.
            start_ms: open of the first bar to bring, as `FeatureStream.prime` returns it (UTC ms).
            end_ms: close of the last bar to bring, which is final (UTC ms); None: there is no last one.

        Raises:
            SettingsError: the bars are longer than an hour.

        """
        self._connection = connection
        self._data = data
        self._clock = clock
        self._bar_ms = feature_bar_ms(data.timeframe)
        self._next_ms = start_ms
        self._end_ms = end_ms
        self._ready: deque[tuple[dict[str, ClosedBar], dict[str, str]]] = deque()
        self._due_ms: dict[str, int | None] = {}
        self.missing: dict[str, str] = {}

    async def __anext__(self) -> dict[str, ClosedBar]:
        """Wait for the next bars to close, and return them by ticker.

        Raises:
            RetryableError: the venue did not answer; the next call asks again.
            MarketDataError: what it answers makes no sense.

        """
        if not self._ready:
            if self._end_ms is not None and self._next_ms >= self._end_ms:
                raise StopAsyncIteration
            await self._bring()
        bars, self.missing = self._ready.popleft()
        return bars

    async def _bring(self) -> None:
        """Make ready what has closed since the last time, one bar at least."""
        tickers = self._data.tickers
        unknown = [ticker for ticker in tickers if ticker not in self._due_ms]
        await together(*(self._learn_due(ticker) for ticker in unknown))
        block = self._closed_block(await self._wait_for(self._next_ms + self._bar_ms))
        found = await together(*(self._ask_until_whole(ticker, block) for ticker in tickers))
        for opened in range(*block, self._bar_ms):
            final = opened + self._bar_ms == self._end_ms
            bars = {one.ticker: one.closed(opened, final=final) for one in found if one.has(opened)}
            why = {one.ticker: one.lacks(opened) for one in found if not one.has(opened)}
            self._ready.append((bars, why))
        self._due_ms |= {one.ticker: one.due_ms for one in found}
        self._next_ms = block[1]

    async def _wait_for(self, close_ms: int) -> int:
        """Wait until the venue's clock is past a bar's close, and return what it says then (ms)."""
        while (now_ms := await self._connection.now_ms()) < close_ms + GRACE_MS:
            await self._clock.sleep((close_ms + GRACE_MS - now_ms) / 1000)
        return now_ms

    def _closed_block(self, now_ms: int) -> Block:
        """Return the time whose bars have closed and were not brought yet."""
        ends = [now_ms // self._bar_ms * self._bar_ms, self._next_ms + MOST_BARS_AT_ONCE * self._bar_ms]
        return self._next_ms, min(chain(ends, [] if self._end_ms is None else [self._end_ms]))

    async def _learn_due(self, ticker: str) -> None:
        symbol = self._connection.symbol("perp", ticker, self._data.quote)
        self._due_ms[ticker] = await next_settlement_ms(self._connection, symbol)

    async def _ask_until_whole(self, ticker: str, block: Block) -> PairBars:
        """Return the bars of one ticker, asked for again, later and later, while something is missing."""
        patience = self._connection.settings
        wait = patience.backoff_seconds
        for _ in range(patience.retries):
            found = await ask_pair_bars(self._connection, self._data, ticker, block, self._due_ms[ticker])
            if found.whole:
                return found
            await self._clock.sleep(wait)
            wait *= 2
        return await ask_pair_bars(self._connection, self._data, ticker, block, self._due_ms[ticker])

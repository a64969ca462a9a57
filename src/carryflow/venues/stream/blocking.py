"""Bars as they close, for whoever waits for them without an event loop, such as an environment."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from carryflow.execution.ports import Clock
from carryflow.market.closed_bars import ClosedBar
from carryflow.market.data import DataSettings
from carryflow.venues.connection import VenueConnection
from carryflow.venues.settings import VenueSettings
from carryflow.venues.stream.closed_bars import ClosedBars


@contextmanager
def blocking_bars(
    venue: VenueSettings, data: DataSettings, clock: Clock, start_ms: int, end_ms: int | None = None
) -> Iterator[Mapping[str, Iterator[ClosedBar]]]:
    """Lend an iterator of closed bars for each ticker, as `env.feed.stream_feed` takes them.

    Asking one for the next bar blocks until it has closed; the bars of the other tickers are kept for theirs.
    One that has raised goes on with the same bar. All belong to one thread, in which no event loop runs. The
    arguments are those of `ClosedBars`.

    Raises:
        VenueError: the venue did not answer, or refused.
    """
    with asyncio.Runner() as runner:
        connection = VenueConnection(venue)
        runner.run(connection.__aenter__())
        try:
            bars = ClosedBars(connection, data, clock, start_ms, end_ms)
            yield _Shared(runner, bars, data.tickers).by_ticker()
        finally:
            runner.run(connection.__aexit__(None, None, None))


class _Shared:
    """Ask for the bars of all tickers when one of them is out of bars."""

    def __init__(self, runner: asyncio.Runner, bars: ClosedBars, tickers: tuple[str, ...]) -> None:
        self._runner = runner
        self._bars = bars
        self._kept: dict[str, deque[ClosedBar]] = {ticker: deque() for ticker in tickers}

    def by_ticker(self) -> dict[str, Iterator[ClosedBar]]:
        """Return the iterator of each ticker."""
        return {ticker: _TickerBars(self, ticker) for ticker in self._kept}

    def next_of(self, ticker: str) -> ClosedBar:
        """Return the next bar of one ticker, asked for if none is kept."""
        while not self._kept[ticker]:
            for name, bar in self._ask().items():
                self._kept[name].append(bar)
        return self._kept[ticker].popleft()

    def _ask(self) -> dict[str, ClosedBar]:
        async def brought() -> dict[str, ClosedBar] | None:
            return await anext(self._bars, None)

        found = self._runner.run(brought())
        if found is None:
            raise StopIteration
        return found


class _TickerBars(Iterator[ClosedBar]):
    """Bring one ticker's bars; unlike a generator, go on after an error."""

    def __init__(self, shared: _Shared, ticker: str) -> None:
        self._shared, self._ticker = shared, ticker

    def __next__(self) -> ClosedBar:
        return self._shared.next_of(self._ticker)

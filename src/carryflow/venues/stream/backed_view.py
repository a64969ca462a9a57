"""The market as a feed sees it, and as the venue tells it when asked where the feed is blind."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TypeVar

from carryflow.core.errors import MarketDataError, RetryableError
from carryflow.core.leg import Leg
from carryflow.execution.market import Book, Mark
from carryflow.execution.ports import Clock, MarketView

Sight = TypeVar("Sight", Book, Mark)


class BackedView:
    """Show what the feed knows while it is new enough, else ask the venue; a `MarketView`.

    A leg without a hedge cannot wait for a socket to come back while the venue answers over REST.

    Args:
        feed: costs nothing to look at.
        rest: asks the venue each time.
        clock: the engine's.
        max_age_seconds: age at which the feed's word is not enough.

    """

    def __init__(self, feed: MarketView, rest: MarketView, clock: Clock, max_age_seconds: float) -> None:
        self._feed = feed
        self._rest = rest
        self._clock = clock
        self._max_age_ms = max_age_seconds * 1000

    async def book(self, leg: Leg, ticker: str) -> Book:
        """Return the order book; an old one where the venue does not answer either: see its `seen_ms`.

        Raises:
            RetryableError: the feed knows nothing of it, and the venue did not answer.
            MarketDataError: a side is empty.
        """
        return await self._newest(lambda: self._feed.book(leg, ticker), lambda: self._rest.book(leg, ticker))

    async def mark(self, ticker: str) -> Mark:
        """Return mark and funding; raises and ages as `book`."""
        return await self._newest(lambda: self._feed.mark(ticker), lambda: self._rest.mark(ticker))

    async def quote_price(self) -> Decimal | None:
        """Return what the quote coin is worth in dollars; None where the venue has no market that tells.

        Raises:
            RetryableError: there is one, the feed knows nothing of it, and the venue did not answer.
        """
        try:
            return await self._feed.quote_price()
        except RetryableError:
            return await self._rest.quote_price()

    async def _newest(
        self, look: Callable[[], Awaitable[Sight]], ask: Callable[[], Awaitable[Sight]]
    ) -> Sight:
        try:
            seen = await look()
        except RetryableError:
            return await ask()
        if self._clock.now_ms() - seen.seen_ms <= self._max_age_ms:
            return seen
        try:
            return await ask()
        except (RetryableError, MarketDataError):
            return seen

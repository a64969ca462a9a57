"""One budget of requests for all that asks a venue: places in flight, pauses for everybody, bans for good."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from carryflow.core.errors import RejectedError


class RequestBudget:
    """Let at most `places` requests be under way, none during a pause, and none at all after a ban.

    The venue's own weights are kept by ccxt's limiter, which all requests of a venue share as well; this
    holds what the limiter does not know: what the venue answered.
    """

    def __init__(self, places: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._resume_at = 0.0
        self._ban: str | None = None
        self.sent = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a place and for the end of a pause, then hold the place for one request.

        Raises:
            RejectedError: the venue has banned this address.
        """
        async with self._places:
            while (left := self._resume_at - time.monotonic()) > 0:
                await asyncio.sleep(left)
            if self._ban is not None:
                raise RejectedError(self._ban)
            self.sent += 1
            yield

    def pause(self, seconds: float) -> None:
        """Let nobody ask for so many seconds; the longer of two pauses counts."""
        self._resume_at = max(self._resume_at, time.monotonic() + seconds)

    def ban(self, words: str) -> None:
        """Let nobody ask any more, and say why in these words."""
        self._ban = words


def retry_after_seconds(header: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds that a `Retry-After` header asks for (RFC 9110, 10.2.3); None where it says nothing.

    >>> retry_after_seconds("120"), retry_after_seconds(None), retry_after_seconds("soon")
    (120.0, None, None)
    >>> now = datetime(2025, 1, 1, tzinfo=UTC)
    >>> retry_after_seconds("Wed, 01 Jan 2025 00:01:30 GMT", now)
    90.0
    """
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())

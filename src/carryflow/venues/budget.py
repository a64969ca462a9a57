"""One budget of requests for all that asks a venue: places in flight, a reserve, pauses, bans."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

from carryflow.core.errors import RejectedError


class Priority(Enum):
    """Say what a request is for, where not all can be sent."""

    QUESTION = "may wait"
    ORDER = "is not held back for what it weighs"
    URGENT = "makes a risk smaller, or finds out: may use the reserve"


@dataclass(slots=True)
class Errand:
    """Hold what one request is for, and what became of it.

    Attributes:
        priority: what it is for.
        valid_until_ms: when the venue must refuse it at the latest (the venue's clock, UTC ms).
        sends: how many requests went out for it, so that the venue may have them.
        status: HTTP status of the answer to the last of them; None before one came.
        body: that answer's text.
    """

    priority: Priority = Priority.QUESTION
    valid_until_ms: int | None = None
    sends: int = 0
    status: int | None = None
    body: str = ""

    def begin(self) -> None:
        """Send one more request; what the one before was answered says nothing of it."""
        self.sends += 1
        self.status, self.body = None, ""

    def end(self, status: int, body: str) -> None:
        """Take the answer."""
        self.status, self.body = status, body


_BLINK_SECONDS = 0.001
"""Shortest wait: less than this no clock of milliseconds can tell."""

_ERRAND: ContextVar[Errand | None] = ContextVar("errand", default=None)


@contextmanager
def on_errand(errand: Errand) -> Iterator[None]:
    """Let the requests of this task be one errand until the block ends."""
    token = _ERRAND.set(errand)
    try:
        yield
    finally:
        _ERRAND.reset(token)


def current_errand() -> Errand | None:
    """Return what this task's requests are for; None where nobody said."""
    return _ERRAND.get()


@dataclass(frozen=True, slots=True)
class Turn:
    """Hold a place of a budget for one request."""

    budget: "RequestBudget"
    priority: Priority

    async def __aenter__(self) -> None:
        """Wait for the place."""
        await self.budget.take(self.priority)

    async def __aexit__(self, *_: object) -> None:
        """Give it back."""
        self.budget.give_back(self.priority)


class RequestBudget:
    """Let at most `places` requests be under way, none during a pause, and none at all during a ban.

    All but urgent requests leave the last `reserve` places alone, and questions are held back while the
    venue's count of requests is nearly used up. The venue's own weights are kept by ccxt's limiter, which all
    requests of a venue share as well; this holds what the limiter does not know: what the venue answered.
    """

    def __init__(self, places: int, reserve: int = 0) -> None:
        self._places = asyncio.Semaphore(places)
        self._ordinary = asyncio.Semaphore(max(1, places - reserve))
        self._now: Callable[[], float] = time.monotonic
        self._sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        self._resume_at = 0.0
        self._held_until = 0.0
        self._ban: str | None = None
        self._banned_until: float | None = None
        self.sent = 0

    def keep_time(self, now: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        """Count pauses and bans by another clock (seconds): the venue's, where that plays the past."""
        self._now, self._sleep = now, sleep

    def turn(self) -> "Turn":
        """Return a context that waits for a place and for the end of a pause, and holds the place.

        Entering it raises a RejectedError while the venue has banned this address.
        """
        errand = current_errand()
        return Turn(self, Priority.QUESTION if errand is None else errand.priority)

    async def take(self, priority: Priority) -> None:
        """Wait for a place; see `turn`."""
        while True:
            if priority is Priority.QUESTION:
                await self._pass(lambda: self._held_until)  # in no place: orders need them meanwhile
            await self._occupy(priority)
            try:
                await self._pass(lambda: self._resume_at)
                self._require_no_ban()
            except BaseException:
                self.give_back(priority)
                raise
            if priority is not Priority.QUESTION or not self._left(self._held_until):
                break
            self.give_back(priority)  # it was held while it waited for the place
        self.sent += 1

    async def _occupy(self, priority: Priority) -> None:
        if priority is not Priority.URGENT:
            await self._ordinary.acquire()
        try:
            await self._places.acquire()
        except BaseException:
            if priority is not Priority.URGENT:
                self._ordinary.release()
            raise

    def give_back(self, priority: Priority) -> None:
        """Let somebody else have the place."""
        self._places.release()
        if priority is not Priority.URGENT:
            self._ordinary.release()

    async def _pass(self, until: Callable[[], float]) -> None:
        """Wait until an instant, which may be put off meanwhile."""
        while left := self._left(until()):
            await self._sleep(max(left, _BLINK_SECONDS))

    def _left(self, until: float) -> float:
        """Return the seconds until an instant, 0 if it has passed; where none is set, ask no clock."""
        return max(0.0, until - self._now()) if until else 0.0

    def _require_no_ban(self) -> None:
        if self._banned_until is not None and self._now() >= self._banned_until:
            self._ban = self._banned_until = None
        if self._ban is not None:
            raise RejectedError(self._ban)

    def pause(self, seconds: float) -> None:
        """Let nobody ask for so many seconds; the longer of two pauses counts."""
        self._resume_at = max(self._resume_at, self._now() + seconds)

    def hold(self, seconds: float) -> None:
        """Let no questions be asked for so many seconds; orders and what is urgent are sent."""
        self._held_until = max(self._held_until, self._now() + seconds)

    def ban(self, words: str, seconds: float | None = None) -> None:
        """Let nobody ask any more for so many seconds (None: ever), and say why in these words."""
        self._ban = words
        self._banned_until = None if seconds is None else self._now() + seconds


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

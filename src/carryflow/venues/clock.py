"""The time that a venue lives in: this machine's, or that of a simulated exchange."""

import asyncio
import json
import time
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import urlsplit

from carryflow.core.errors import RetryableError
from carryflow.execution.ports import Clock
from carryflow.venues.simulated.pace import SPEED_HEADER

if TYPE_CHECKING:
    from carryflow.venues.connection import VenueConnection

_LOOKS = 3
"""Round trips of which the shortest tells the venue's clock best."""


class MachineClock:
    """Tell this machine's time."""

    speed = 1.0

    def now_ms(self) -> int:
        """Return UTC milliseconds."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Return when so many seconds have passed."""
        await asyncio.sleep(seconds)


class VenueClock:
    """Tell the time of a simulated exchange, which plays the past at its own speed.

    Attributes:
        speed: seconds of the venue in a second of this machine; 0: its clock stands until somebody sets it,
            so that it is asked each time.
    """

    _POLL_SECONDS = 0.01

    def __init__(self, url: str, speed: float, told_ms: int, told_at: float) -> None:
        self.speed = speed
        self._told_ms = told_ms
        self._told_at = told_at
        host = urlsplit(url)
        self._line = HTTPConnection(host.hostname or "", host.port, timeout=5)

    @classmethod
    async def of(cls, connection: "VenueConnection") -> Self:
        """Look at an exchange's clock over a connection.

        Raises:
            VenueError: it did not answer.
        """
        best: tuple[float, int, float] | None = None
        for _ in range(_LOOKS):
            before = time.monotonic()
            told_ms = await connection.now_ms()
            after = time.monotonic()
            if best is None or after - before < best[0]:
                best = (after - before, told_ms, (before + after) / 2)
        if best is None:
            raise AssertionError("the clock is looked at more than once")
        headers = connection.exchange.last_response_headers or {}
        speed = {name.lower(): value for name, value in headers.items()}.get(SPEED_HEADER.lower(), "0")
        return cls(connection.settings.url or "", float(speed), best[1], best[2])

    def now_ms(self) -> int:
        """Return the venue's UTC milliseconds."""
        if self.speed > 0:
            return self._told_ms + int((time.monotonic() - self._told_at) * 1000 * self.speed)
        try:
            self._told_ms = self._ask()
        except (OSError, HTTPException, ValueError, KeyError):
            self._line.close()  # the clock stands: what it said last is the best that is known
        return self._told_ms

    async def sleep(self, seconds: float) -> None:
        """Return when so many seconds have passed at the venue."""
        if self.speed > 0:
            await asyncio.sleep(seconds / self.speed)
            return
        until = self.now_ms() + round(seconds * 1000)
        await asyncio.sleep(0)
        while self.now_ms() < until:
            await asyncio.sleep(self._POLL_SECONDS)

    def _ask(self) -> int:
        self._line.request("GET", "/api/v3/time")
        with self._line.getresponse() as answer:
            return int(json.load(answer)["serverTime"])


class CorrectedClock:
    """Tell the time of a clock that is off, put right by what it was off when somebody measured.

    Attributes:
        speed: as the other clock's.
    """

    def __init__(self, clock: Clock, skew_ms: int) -> None:
        """Put a clock right; `skew_ms` is the venue's less its own, see `skew_ms`."""
        self.speed: float = getattr(clock, "speed", 1.0)
        self._clock = clock
        self._skew_ms = skew_ms

    def now_ms(self) -> int:
        """Return UTC milliseconds by the venue's clock."""
        return self._clock.now_ms() + self._skew_ms

    async def sleep(self, seconds: float) -> None:
        """Return when so many seconds have passed."""
        await self._clock.sleep(seconds)


class Dated(Protocol):
    """Whoever can be asked for a venue's clock."""

    async def now_ms(self) -> int:
        """Return it (UTC ms)."""
        ...


async def skew_ms(venue: Dated, clock: Clock) -> int:
    """Return how far the venue's clock is ahead of ours (ms), as the shortest of three round trips tells.

    Raises:
        RetryableError: the venue did not answer once.
    """
    seen: list[tuple[int, int]] = []
    failure: RetryableError | None = None
    for _ in range(_LOOKS):
        before = clock.now_ms()
        try:
            told = await venue.now_ms()
        except RetryableError as error:
            failure = error
            continue
        after = clock.now_ms()
        seen.append((after - before, told - (before + after) // 2))
    if not seen and failure is not None:
        raise failure
    return min(seen)[1]

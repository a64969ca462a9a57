"""A clock that stands still unless somebody waits."""

import asyncio
import heapq
from collections.abc import Callable

_LOOK_SECONDS = 0.002
"""Pause of who waits without moving the clock (the machine's seconds)."""


class SteppedClock:
    """Step a venue's clock to the instant that the earliest sleeper waits for; between, no time passes.

    What is under way is not waited for: an answer that takes its time is met by a clock that has moved on.
    """

    def __init__(self, now_ms: Callable[[], int], step: Callable[[int], object]) -> None:
        self._now_ms = now_ms
        self._step = step
        self._alarms: list[int] = []

    def now_ms(self) -> int:
        """Return the venue's clock."""
        return self._now_ms()

    async def sleep(self, seconds: float) -> None:
        """Return when the venue's clock has moved by so much, after all that is ready has had its turn."""
        until = self._now_ms() + max(1, round(seconds * 1000))
        heapq.heappush(self._alarms, until)
        try:
            await asyncio.sleep(0)
            while (left := until - self._now_ms()) > 0:
                if self._alarms[0] == until:
                    self._step(left)
                await asyncio.sleep(0)
        finally:
            self._alarms.remove(until)
            heapq.heapify(self._alarms)

    async def passed(self, seconds: float) -> None:
        """Return once so much of the venue's time has passed by what others wait for."""
        until = self._now_ms() + round(seconds * 1000)
        while self._now_ms() < until:
            await asyncio.sleep(_LOOK_SECONDS)

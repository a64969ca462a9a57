"""The venue's clock: it stands until it is set, or runs with the machine's, as fast or faster."""

from collections.abc import Callable
from time import monotonic

SPEED_HEADER = "X-Carryflow-Speed"
"""Response header with the seconds of the venue's clock that pass in one second of the machine's; 0: none."""


class Pace:
    """Tell the venue's time (UTC ms).

    Attributes:
        speed: seconds of the venue in one of the machine; 0: the clock stands until it is set.
    """

    def __init__(
        self, start_ms: int, end_ms: int, speed: float = 0.0, machine: Callable[[], float] = monotonic
    ) -> None:
        self.speed = speed
        self._end_ms = end_ms
        self._machine = machine
        self._told_ms = start_ms
        self._since = machine()

    @property
    def slowness(self) -> float:
        """Return by how much a second of a client's own delay is worth more here: the speed, at least 1."""
        return max(1.0, self.speed)

    def now_ms(self) -> int:
        """Return the venue's time; a running clock stops where the tape ends."""
        if not self.speed:
            return self._told_ms
        run = int((self._machine() - self._since) * 1000 * self.speed)
        return max(self._told_ms, min(self._told_ms + run, self._end_ms))

    def set(self, now_ms: int) -> None:
        """Let the clock show this instant, and run on from there if it runs."""
        self._told_ms = now_ms
        self._since = self._machine()

    def seconds(self, venue_ms: float) -> float:
        """Return how long the machine waits for so much of the venue's time; 0 where the clock stands."""
        return venue_ms / 1000 / self.speed if self.speed else 0.0

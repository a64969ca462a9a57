"""What did not help, and is tried again: less and less often, and told only now and then."""

from dataclasses import dataclass

from carryflow.execution.ports import Clock

_TRIES = 12
"""How often the longest pause holds the first."""


@dataclass(slots=True)
class _Trouble:
    due_ms: int
    pause_ms: int
    told_ms: int


class Retries:
    """Pause after each try, twice as long as before it, up to a longest pause.

    Args:
        clock: the engine's clock.
        most_seconds: the longest pause, and the time between two times that a person is told.

    """

    def __init__(self, clock: Clock, most_seconds: float) -> None:
        self._clock = clock
        self._most_ms = round(most_seconds * 1_000)
        self._troubles: dict[str, _Trouble] = {}

    def is_due(self, name: str) -> bool:
        """Say whether something may be tried now."""
        trouble = self._troubles.get(name)
        return trouble is None or self._clock.now_ms() >= trouble.due_ms

    def begin(self, name: str) -> bool:
        """Take note of a try, and say whether to tell a person of it."""
        now_ms, trouble = self._clock.now_ms(), self._troubles.get(name)
        if trouble is None:
            first_ms = self._most_ms // _TRIES
            self._troubles[name] = _Trouble(now_ms + first_ms, first_ms, now_ms)
            return True
        trouble.pause_ms = min(2 * trouble.pause_ms, self._most_ms)
        trouble.due_ms = now_ms + trouble.pause_ms
        tells = now_ms - trouble.told_ms >= self._most_ms
        if tells:
            trouble.told_ms = now_ms
        return tells

    def end(self, name: str) -> None:
        """Take note that nothing is wrong any more: the next trouble is a new one."""
        self._troubles.pop(name, None)

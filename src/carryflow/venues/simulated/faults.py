"""What can go wrong at the venue on demand, so that a client can show what it does about it."""

import threading
from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum


class Fault(StrEnum):
    """Name one way in which a venue fails to answer a request."""

    TOO_MANY_REQUESTS = "429 with Retry-After"
    BANNED = "418 with Retry-After"
    SERVER_ERROR = "503"
    TRUNCATED = "200 with the first half of the JSON"
    RESET = "the connection closed without an answer"
    SKEWED_CLOCK = "a server time that is off"


@dataclass(frozen=True, slots=True)
class Injected:
    """Hold a fault that is due for some more requests.

    Attributes:
        fault: what goes wrong.
        times: how many requests it is still due for.
        path: it is due for requests whose path contains this.
        wait_seconds: what Retry-After says.
        skew_ms: by how much the told clock is ahead.
    """

    fault: Fault
    times: int
    path: str
    wait_seconds: int
    skew_ms: int

    def meets(self, path: str) -> bool:
        """Say whether a request to this path is one of those that it is due for."""
        tells_time = path.endswith("/time") or self.fault is not Fault.SKEWED_CLOCK
        return self.path in path and tells_time


class FaultBox:
    """Hold the faults that are due, and count requests by path; any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: list[Injected] = []
        self._requests: Counter[str] = Counter()

    @property
    def requests(self) -> Counter[str]:
        """Return how many requests each path has had so far."""
        with self._lock:
            return Counter(self._requests)

    def add(self, injected: Injected) -> None:
        """Let a fault happen, after those that were added before and meet the same requests."""
        with self._lock:
            self._due.append(injected)

    def take(self, path: str) -> Injected | None:
        """Count a request to this path, and return the fault that it meets."""
        with self._lock:
            self._requests[path] += 1
            for i, injected in enumerate(self._due):
                if injected.meets(path):
                    left = [replace(injected, times=injected.times - 1)] if injected.times > 1 else []
                    self._due[i : i + 1] = left
                    return injected
        return None

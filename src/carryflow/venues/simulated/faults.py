"""What can go wrong at the venue on demand, so that a client can show what it does about it."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from typing import Any


class Fault(StrEnum):
    """Name one way in which a venue fails a client."""

    TOO_MANY_REQUESTS = "429 with Retry-After"
    BANNED = "418 with Retry-After"
    SERVER_ERROR = "503"
    TRUNCATED = "200 with the first half of the JSON"
    RESET = "the connection closed without an answer, and nothing done"
    SKEWED_CLOCK = "a server time that is off"
    LOST_ANSWER = "done, and the connection closed without an answer"
    ERROR_AFTER = "done, and answered with 503, execution status unknown"
    DELAYED_REQUEST = "done late"
    DELAYED_ANSWER = "done, and answered late"
    REPEATED = "done twice, as a proxy does that sends again; one answer, the first"
    REFUSED = "refused, and nothing done"
    PARTIAL_FILL = "an order of which at most a part is filled at once"
    LATE_FILL = "an order that is matched late"
    STALE_BOOK = "the book that was told before"
    STREAM_DROP = "a stream's connection cut"
    STREAM_GAP = "a message of a stream left out"
    STREAM_DUPLICATE = "a message of a stream sent twice"
    STREAM_REORDER = "a message of a stream sent after the next one"
    STREAM_SILENCE = "a stream's connection that stays open and says nothing"


OF_MATCHING = frozenset({Fault.PARTIAL_FILL, Fault.LATE_FILL})
"""Faults of an order's match; one of them and one of its delivery may meet the same request."""

OF_STREAMS = frozenset(fault for fault in Fault if fault.name.startswith("STREAM_"))

_ASKED_FOR = {Fault.SKEWED_CLOCK: "/time", Fault.STALE_BOOK: "/depth"}
"""Faults that only requests to paths with this end can meet."""


_WHOLE: dict[str, tuple[float, float]] = {
    "times": (1, inf),
    "wait_seconds": (0, inf),
    "skew_ms": (-inf, inf),
    "late_ms": (0, inf),
    "code": (-inf, inf),
}
_NUMBERS: dict[str, tuple[float, float]] = {"delay_seconds": (0, 86_400), "fraction": (0, 1)}
_TEXTS = ("path", "method", "words")


@dataclass(frozen=True, slots=True)
class Injected:
    """Hold a fault that is due for some more requests, orders or messages.

    Attributes:
        fault: what goes wrong.
        times: how many requests it is still due for.
        path: it is due for requests whose path contains this; for messages of streams, the path of the
            connection and behind it the name of the stream.
        wait_seconds: what Retry-After says.
        skew_ms: by how much the told clock is ahead.
        method: HTTP method of the requests that it is due for; empty: every one.
        delay_seconds: how long a request, an answer or a stream is held back (the machine's seconds).
        fraction: of an order, the part that is filled at once at most (0 to 1).
        late_ms: how much later an order is matched (the venue's ms).
        code: Binance's code of a refusal.
        words: what a refusal says; empty: in Binance's words for orders.

    Raises:
        TypeError: one of them is no number, or no text.
        ValueError: a number is out of its range.
    """

    fault: Fault
    times: int = 1
    path: str = ""
    wait_seconds: int = 1
    skew_ms: int = 120_000
    method: str = ""
    delay_seconds: float = 0.0
    fraction: float = 0.0
    late_ms: int = 0
    code: int = -2010
    words: str = ""

    def __post_init__(self) -> None:
        """Refuse what would go wrong only when the fault is due."""
        for name, bounds in _WHOLE.items():
            _check_number(name, getattr(self, name), "a whole number", (int,), bounds)
        for name, bounds in _NUMBERS.items():
            _check_number(name, getattr(self, name), "a number", (int, float), bounds)
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be a text, was {getattr(self, name)!r}")

    def meets(self, path: str, method: str) -> bool:
        """Say whether a request is one of those that it is due for."""
        right_end = path.endswith(_ASKED_FOR.get(self.fault, ""))
        return right_end and self.path in path and self.method.upper() in ("", method)


def _check_number(
    name: str, value: Any, kind: str, types: tuple[type, ...], bounds: tuple[float, float]
) -> None:
    is_one: bool = isinstance(value, types) and not isinstance(value, bool)
    if not is_one:
        raise TypeError(f"{name} must be {kind}, was {value!r}")
    least, most = bounds
    if not least <= value <= most:
        end = "" if most == inf else f" to {most:g}"
        raise ValueError(f"{name} must be {kind} from {least:g}{end}, was {value!r}")


class FaultBox:
    """Hold the faults that are due, and count requests by path; any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: list[Injected] = []
        self._requests: Counter[str] = Counter()
        self._happened: Counter[Fault] = Counter()

    @property
    def requests(self) -> Counter[str]:
        """Return how many requests each path has had so far."""
        with self._lock:
            return Counter(self._requests)

    @property
    def happened(self) -> Counter[Fault]:
        """Return how often each fault has happened so far."""
        with self._lock:
            return Counter(self._happened)

    def add(self, injected: Injected) -> None:
        """Let a fault happen, after those that were added before and meet the same requests."""
        with self._lock:
            self._due.append(injected)

    def clear(self) -> None:
        """Forget the faults that are due."""
        with self._lock:
            self._due.clear()

    def take(self, path: str, method: str = "GET") -> Injected | None:
        """Count a request, and return the fault of its delivery."""
        with self._lock:
            self._requests[path] += 1
            return self._take(lambda i: i.fault not in OF_MATCHING | OF_STREAMS and i.meets(path, method))

    def take_match(self, path: str) -> Injected | None:
        """Return the fault of matching an order that was sent to this path."""
        with self._lock:
            return self._take(lambda i: i.fault in OF_MATCHING and i.meets(path, "POST"))

    def take_message(self, name: str) -> Injected | None:
        """Return the fault of a message of a stream, named by the connection's path and the stream."""
        if not self._due:
            return None
        with self._lock:
            return self._take(lambda i: i.fault in OF_STREAMS and i.path in name)

    def _take(self, is_met: Callable[[Injected], bool]) -> Injected | None:
        for i, injected in enumerate(self._due):
            if is_met(injected):
                left = [replace(injected, times=injected.times - 1)] if injected.times > 1 else []
                self._due[i : i + 1] = left
                self._happened[injected.fault] += 1
                return injected
        return None

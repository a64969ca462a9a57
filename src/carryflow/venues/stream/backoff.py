"""How long to wait before the next attempt."""

import numpy as np


class Backoff:
    """Double the wait with each attempt, up to a longest one, and shorten it by up to half, at random.

    Without the random part all markets of a connection that broke would come back in the same moment.
    """

    def __init__(self, generator: np.random.Generator, first_seconds: float, longest_seconds: float) -> None:
        """Begin with the first wait; `generator` draws the random part."""
        self._generator = generator
        self._first = first_seconds
        self._longest = longest_seconds
        self._attempts = 0

    def next_seconds(self) -> float:
        """Return the wait before the next attempt (seconds)."""
        full = min(self._longest, self._first * 2.0**self._attempts)
        if full < self._longest:
            self._attempts += 1
        return full * float(self._generator.uniform(0.5, 1.0))

    def reset(self) -> None:
        """Begin anew: the last attempt was good."""
        self._attempts = 0

"""Rounds on request: a line on standard input asks for one, a line of JSON answers with what it came to."""

import json
import sys
from collections.abc import Callable

ROUND_SECONDS = 1.0


def rate_of(play: Callable[[], float], amount: float) -> float:
    """Play until a second of CPU is spent; give how much was done in one.

    Args:
        play: does the work once and returns the CPU seconds of it, of all threads, setting up left out.
        amount: what it does each time.

    """
    seconds, times = 0.0, 0
    while seconds < ROUND_SECONDS:
        seconds += play()
        times += 1
    return times * amount / seconds


def answer(facts: Callable[[], dict[str, float]]) -> None:
    """Answer each line with a round's facts, until there are no more."""
    for _ in sys.stdin:
        print(json.dumps(facts()), flush=True)  # noqa: T201

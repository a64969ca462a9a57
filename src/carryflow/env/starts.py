"""Where an episode begins: the first hour, or a random one with a random position to inherit."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from carryflow.env.tape import MarketTape

FLAT_SHARE = 0.5
"""Share of random starts without a position: half must learn to enter, half to leave or to stay."""


class Starts(NamedTuple):
    """Place k accounts: tape, row of the tape, and the fraction of capital inherited, (k,) each."""

    tape: NDArray[np.int64]
    row: NDArray[np.int64]
    fraction: NDArray[np.float64]


def first_starts(tapes: Sequence[MarketTape], accounts: NDArray[np.int64]) -> Starts:
    """Place accounts on the first decision of the tapes in turn, flat."""
    tape = accounts % len(tapes)
    first = np.array([each.first for each in tapes], dtype=np.int64)
    return Starts(tape, first[tape], np.zeros(len(accounts)))


def random_starts(tapes: Sequence[MarketTape], count: int, rng: np.random.Generator) -> Starts:
    """Place `count` accounts anywhere: each hour of each tape is as likely, half of them begin flat.

    Starts from anywhere, in any position, let a policy see what it would never walk into by itself (exploring
    starts; Sutton and Barto, "Reinforcement Learning", 2nd ed., section 5.3).
    """
    first = np.array([each.first for each in tapes], dtype=np.int64)
    choices = np.array([len(each) - 1 for each in tapes], dtype=np.int64) - first
    tape = rng.choice(len(tapes), size=count, p=choices / choices.sum())
    row = first[tape] + rng.integers(0, choices[tape])
    fraction = np.where(rng.random(count) < FLAT_SHARE, 0.0, rng.uniform(-1.0, 1.0, count))
    return Starts(tape, row, fraction)


def reseeded(rng: np.random.Generator, seed: int | list[int | None] | None) -> np.random.Generator:
    """Return the generator that a reset of many draws from: a new one for a `seed` (of a list, the first)."""
    if isinstance(seed, list):
        seed = seed[0] if seed else None
    return rng if seed is None else np.random.default_rng(seed)


class StartQueue:
    """Deal random starts out one after another, drawn some hundreds at a time, for a draw is dear.

    Attributes:
        drawn: the starts that were drawn last.

    """

    BLOCK = 512

    def __init__(self, tapes: Sequence[MarketTape], rng: np.random.Generator) -> None:
        """Draw nothing yet; the generator fixes all that is dealt."""
        self._tapes = tapes
        self._rng = rng
        self.drawn = Starts(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        self._dealt = 0

    def reserve(self, count: int) -> int:
        """Deal the next `count` starts; give the index in `drawn` of the first of them."""
        first = self._dealt
        if first + count > len(self.drawn.row):
            self.drawn = random_starts(self._tapes, max(self.BLOCK, count), self._rng)
            first = 0
        self._dealt = first + count
        return first

    def take(self, count: int) -> Starts:
        """Deal the next `count` starts."""
        first = self.reserve(count)
        dealt = slice(first, first + count)
        return Starts(self.drawn.tape[dealt], self.drawn.row[dealt], self.drawn.fraction[dealt])

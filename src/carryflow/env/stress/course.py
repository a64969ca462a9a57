"""How a number moves after a shock, and what that makes of bars of an hour."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.errors import SettingsError
from carryflow.market.schema import INDEX_COLUMNS

Floats = NDArray[np.float64]

QUOTES = ("bid", "ask")
"""The prices among the columns of a book."""


class Bars(NamedTuple):
    """Give a factor over n bars: at their opens and closes, and its extremes within, (n,) each."""

    open: Floats
    close: Floats
    high: Floats
    low: Floats


@dataclass(frozen=True, slots=True)
class Course:
    """Tell how a number moves after the shock: in straight lines from knot to knot, and level beyond them.

    Attributes:
        hours: hours since the shock, increasing (k,).
        values: what the number is there (k,).

    Raises:
        SettingsError: the hours do not increase.

    """

    hours: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if any(late <= early for early, late in pairwise(self.hours)):
            raise SettingsError(f"the hours of a course must increase, were {self.hours}; put them in order")

    @classmethod
    def of(cls, value: Callable[[Floats], Floats], hours: Sequence[float]) -> Self:
        """Take a function's values at some hours since the shock."""
        return cls(tuple(hours), tuple(value(np.asarray(hours, dtype=np.float64)).tolist()))

    def at(self, hours: Floats) -> Floats:
        """Give the number at some hours since the shock (n,)."""
        return np.interp(hours, self.hours, self.values)

    def over(self, opens: Floats) -> Bars:
        """Follow the number over bars of an hour that open `opens` hours since the shock (n,).

        Up to 1.3 within ten minutes and down to 1.1 by the end of the hour:

        >>> squeeze = Course((0.0, 1 / 6, 1.0), (1.0, 1.3, 1.1))
        >>> [float(values[0]) for values in squeeze.over(np.array([0.0]))]
        [1.0, 1.1, 1.3, 1.0]
        """
        at_open, at_close = self.at(opens), self.at(opens + 1.0)
        high, low = np.maximum(at_open, at_close), np.minimum(at_open, at_close)
        for hour, value in zip(self.hours, self.values, strict=True):
            inside = (opens < hour) & (hour < opens + 1.0)
            high[inside], low[inside] = np.maximum(high[inside], value), np.minimum(low[inside], value)
        return Bars(at_open, at_close, high, low)

    def times(self, other: "Course") -> "Course":
        """Multiply two numbers, knot by knot of either.

        >>> Course((0.0, 2.0), (1.0, 3.0)).times(Course((1.0,), (2.0,))).values
        (2.0, 4.0, 6.0)
        """
        hours = np.union1d(self.hours, other.hours)
        return Course(tuple(hours.tolist()), tuple((self.at(hours) * other.at(hours)).tolist()))


def reprice(table: pl.DataFrame, by: Bars) -> pl.DataFrame:
    """Multiply a leg's prices: a bar's own wicks stay on top of what the factor does within it."""
    prices = {name: table[name].to_numpy() for name in ("open", "high", "low", "close")}
    opens, closes = prices["open"], prices["close"]
    top, bottom = np.maximum(opens, closes), np.minimum(opens, closes)
    new = {"open": opens * by.open, "close": closes * by.close}
    peak = np.maximum.reduce([*new.values(), opens * by.high])
    trough = np.minimum.reduce([*new.values(), opens * by.low])
    new |= {"high": peak * (prices["high"] / top), "low": trough * (prices["low"] / bottom)}
    still = (by.high == 1.0) & (by.low == 1.0)
    moved = [pl.Series(name, np.where(still, prices[name], values)) for name, values in new.items()]
    quotes = [pl.col(name) * by.close for name in QUOTES]
    index = [
        pl.col(name) * factor
        for name, factor in zip(INDEX_COLUMNS, (by.open, by.close), strict=True)
        if name in table.columns
    ]
    return table.with_columns(*moved, *quotes, *index)

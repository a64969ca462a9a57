"""Bars of both legs as they close, one at a time."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import polars as pl

Row = dict[str, Any]
"""One bar by the column names of its leg's table; `timestamp` is its open (UTC)."""


class Settlement(NamedTuple):
    """Tell what settled: the rate that longs pay to shorts (fraction of notional) and the mark (quote)."""

    rate: float
    mark: float


class ClosedBar(NamedTuple):
    """Bring the bars of both legs that have just closed.

    Attributes:
        spot: bar of the spot leg; None where spot was halted.
        perp: bar of the perpetual with the same open.
        settlement: what settled at the very close of the bar, as the venue says moments later; None where
            nothing did. The row of the next bar says it again.
        final: True where it is known that no bar follows.

    """

    spot: Row | None
    perp: Row
    settlement: Settlement | None = None
    final: bool = False


def recorded_bars(spot: pl.DataFrame, perp: pl.DataFrame) -> Iterator[ClosedBar]:
    """Bring recorded legs (`market.store.read_leg`) bar by bar, as they closed; spot without a bar is halted.

    A settlement is read off the bar that opens when it is paid, so the last bar comes without one.
    """
    known = {row["timestamp"]: row for row in spot.iter_rows(named=True)}
    bars = perp.iter_rows(named=True)
    bar = next(bars, None)
    while bar is not None:
        following = next(bars, None)
        settlement = None
        if following is not None and following["funding_rate"] is not None:
            mark = following["mark_open"]
            settlement = Settlement(following["funding_rate"], following["open"] if mark is None else mark)
        yield ClosedBar(known.get(bar["timestamp"]), bar, settlement, final=following is None)
        bar = following

"""What one file holds of one leg, before it is joined with the others."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from carryflow.core.errors import MarketDataError
from carryflow.core.leg import Leg
from carryflow.market.timeframe import Timeframe, bar_ms

Kind = Literal["bars", "values", "mark", "index", "settlements"]
"""What a file's rows are: bars, columns for bars that are elsewhere, bars of the mark or the index price, or
settlements."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Hold one file's rows: stamps on a bar's open (settlements: on their instant), columns in our names.

    `mark` and `index` have the columns open and close, of bars `length_ms` long; every other kind has columns
    of the leg's table. `length_ms` is 0 for settlements.
    """

    path: Path
    leg: Leg
    ticker: str
    kind: Kind
    length_ms: int
    table: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Reading:
    """Hold the pieces that a source's files came to, and the length of their bars.

    `venue` is whose prices they are, `notes` say what was left out.
    """

    pieces: tuple[Piece, ...]
    timeframe: Timeframe
    venue: str
    notes: tuple[str, ...]


def choose_timeframe(wanted: Timeframe | None, found: Iterable[Timeframe], source: Path) -> Timeframe:
    """Return the length of bars to take: the one wanted, else the only one there is, else an hour.

    Raises:
        MarketDataError: none is wanted, and files of several lengths are there.
    """
    lengths = sorted(set(found), key=bar_ms)
    if wanted is None and len(lengths) > 1:
        raise MarketDataError(
            f"{source} holds bars of {', '.join(lengths)}; name the timeframe that you want"
        )
    return wanted or (lengths[0] if lengths else "1h")

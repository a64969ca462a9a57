"""What to import, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from carryflow.core.errors import SettingsError
from carryflow.core.leg import Leg
from carryflow.market.schema import PERP_COLUMNS
from carryflow.market.timeframe import Timeframe

Format = Literal["binance", "freqtrade", "table"]
"""Binance's public data dumps, freqtrade's feather files, or plain CSV and Parquet."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """Say what the files are, where they do not say so themselves.

    Attributes:
        format: who wrote the files.
        ticker: the coin of files whose names do not tell; elsewhere, the only coin to take.
        leg: the leg of files whose names and folders do not tell.
        quote: asset that prices are in.
        timeframe: length of the bars to take; None: the only one there is.
        columns: name in the schema → name in the file, for tables.
        on_conflict: refuse values that contradict stored ones or each other, or let the newer file replace
            them.
        venue: whose prices they are; None: what the format tells, or "imported".

    Raises:
        SettingsError: the mapping names a column that the schema does not have, or one twice.
    """

    format: Format
    ticker: str | None = None
    leg: Leg | None = None
    quote: str = "USDT"
    timeframe: Timeframe | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    on_conflict: Literal["refuse", "replace"] = "refuse"
    venue: str | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.columns) - set(PERP_COLUMNS))
        if unknown:
            raise SettingsError(
                f"the mapping names columns {unknown} that no table has; it may name {list(PERP_COLUMNS)}"
            )
        if self.columns and self.format != "table":
            raise SettingsError(
                f"files of {self.format} have fixed columns; leave the mapping out, or import them as table"
            )


@dataclass(frozen=True, slots=True)
class ImportedLeg:
    """Count what one leg of one ticker got: rows touched and new, and their first and last open (ms)."""

    leg: Leg
    ticker: str
    rows: int
    rows_new: int
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Say which files were read and what came of them; `notes` name what was left out, and why."""

    files: tuple[Path, ...]
    legs: tuple[ImportedLeg, ...]
    settlements_new: Mapping[str, int]
    notes: tuple[str, ...]

    @property
    def words(self) -> str:
        """Say the same in one line per leg, then one per note."""
        lines = [
            f"{one.leg} {one.ticker}: {one.rows_new} new of {one.rows} rows, "
            f"{_words(one.start_ms)} to {_words(one.end_ms)}"
            for one in self.legs
        ]
        lines += [f"perp {ticker}: {new} new settlements" for ticker, new in self.settlements_new.items()]
        return "\n".join([*lines, *self.notes])


def _words(stamp_ms: int) -> str:
    return f"{datetime.fromtimestamp(stamp_ms / 1000, UTC):%Y-%m-%d %H:%M}"

"""An account of a ticker's bars, marks and settlements, and a refusal when what pays or marks is missing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from carryflow.core.errors import CoverageError, SettingsError
from carryflow.core.leg import LEGS, Leg
from carryflow.market.absences import BarGrid, absent_marks, absent_settlements, no_mark
from carryflow.market.data import DataSettings, to_ms
from carryflow.market.gaps import KnownGap, read_gaps
from carryflow.market.ledger import Absence, CoverageLedger, write_ledger
from carryflow.market.leg_files import is_stored, settlements_path
from carryflow.market.schedule import Segment, read_schedule
from carryflow.market.schema import leg_columns
from carryflow.market.settlements import SETTLEMENT_COLUMNS, read_settlements, settlements_of
from carryflow.market.store import read_leg, read_source
from carryflow.market.timeframe import holds_settlements

__all__ = [
    "Absence",
    "CoverageLedger",
    "check_coverage",
    "survey",
    "survey_folder",
    "write_ledger",
]


UNREADABLE = "no funding schedule can be read off the settlements"


def check_coverage(
    spot: pl.DataFrame,
    perp: pl.DataFrame,
    ticker: str,
    settings: DataSettings,
    *,
    settlements: pl.DataFrame | None = None,
    gaps: Sequence[KnownGap] = (),
) -> CoverageLedger:
    """Account for the validated legs of one ticker in the bars that they share, as `survey` does.

    Hours that the settings ask for beyond those are gaps here: the venue may have nothing there.

    Raises:
        CoverageError: the legs share no bars, or one of them begins or ends alone; spot halts for longer than
            `max_halt_hours`; a bar of the perpetual, a settlement or a published mark is missing. Rows are
            named.
    """
    ledger = survey(spot, perp, ticker, settings, settlements=settlements, gaps=gaps, beyond="gap")
    if ledger.holes:
        raise CoverageError(ledger.refusal)
    return ledger


def survey_folder(data_dir: Path, settings: DataSettings) -> list[CoverageLedger]:
    """Survey every ticker of the settings in a folder, with the gaps that were recorded there.

    Raises:
        SettingsError: the folder holds bars of another length than the settings name.
        MarketDataError: neither leg of a ticker is there, or what is there is broken.
    """
    source = read_source(data_dir)
    if source is not None and source.timeframe != settings.timeframe:
        raise SettingsError(
            f"{data_dir} holds bars of {source.timeframe}, and data.timeframe is {settings.timeframe}; this "
            f"folder wants --timeframe {source.timeframe}"
        )
    gaps = read_gaps(data_dir)
    return [_survey_stored(data_dir, ticker, settings, gaps) for ticker in settings.tickers]


def _survey_stored(
    data_dir: Path, ticker: str, settings: DataSettings, gaps: Sequence[KnownGap]
) -> CoverageLedger:
    start, end = (None if at is None else to_ms(at) for at in (settings.start, settings.end))
    there = [leg for leg in LEGS if is_stored(data_dir, leg, ticker)]

    def read(leg: Leg) -> pl.DataFrame:
        if there and leg not in there:
            return pl.DataFrame(schema=leg_columns(leg))  # what is absent is told by the ledger
        return read_leg(data_dir, leg, ticker, start, end, settings.timeframe)

    spot, perp = (read(leg) for leg in LEGS)
    beside = None
    if not holds_settlements(settings.timeframe):
        beside = pl.DataFrame(schema=SETTLEMENT_COLUMNS)
        if "perp" in there or settlements_path(data_dir, ticker).is_file():
            beside = read_settlements(data_dir, ticker, start, end, settings.timeframe)
    return survey(spot, perp, ticker, settings, settlements=beside, gaps=gaps)


def survey(
    spot: pl.DataFrame,
    perp: pl.DataFrame,
    ticker: str,
    settings: DataSettings,
    *,
    settlements: pl.DataFrame | None = None,
    gaps: Sequence[KnownGap] = (),
    beyond: Literal["hole", "gap"] = "hole",
) -> CoverageLedger:
    """Account for every bar, mark and settlement that is expected while both validated legs have bars.

    What is absent is a gap where the reason is known: the venue was asked and has nothing (`gaps`), spot has
    no bars while the perpetual traded on, or the venue published no mark yet. None of them but the marks may
    be longer than `settings.max_halt_hours`. Anything else is a hole.

    Args:
        spot: spot leg, as `read_leg` gives it.
        perp: perpetual leg.
        ticker: the coin.
        settings: length of the bars, and what is tolerated.
        settlements: settlements beside bars longer than an hour, as `read_settlements` gives them.
        gaps: ranges in which the venue was asked and has no bars.
        beyond: what hours are that `settings.start` and `settings.end` ask for, that the legs do not share
            and that no gap explains.

    """
    own = [gap for gap in gaps if gap.ticker == ticker]
    grid = BarGrid(settings, {"spot": _opens(spot), "perp": _opens(perp)}, own)
    found = list(grid.edges())
    first, end = grid.shared()
    if end <= first:
        return CoverageLedger(ticker, settings.timeframe, first, first, 0, (), 0, 0, (), (), (), tuple(found))
    found += grid.beyond(refused=beyond == "hole")
    found += [absence for leg in LEGS for absence in grid.absent_bars(leg)]
    stamp = pl.col("timestamp").dt.epoch("ms")
    perp = perp.filter(stamp.is_between(first, end, closed="left"))
    paid = settlements_of(perp) if settlements is None else settlements
    paid = paid.filter(stamp.is_between(first, end, closed="left"))
    segments: tuple[Segment, ...] = ()
    displaced: tuple[int, ...] = ()
    try:
        schedule = read_schedule(_opens(paid), paid["funding_rate"].to_numpy())
    except CoverageError as unknown:  # no schedule at all can be read off them
        found.append(Absence("settlement", "perp", first, end, 1, UNREADABLE, str(unknown)))
    else:
        segments, displaced = schedule.segments, schedule.displaced
        found += absent_settlements(schedule, first, end, own)
    found += absent_marks(perp, settings, grid.bar)
    if settlements is not None:
        found += absent_marks(paid.select("timestamp", mark_open="mark", mark_close="mark"), settings, 0)
    return CoverageLedger(
        ticker=ticker,
        timeframe=settings.timeframe,
        start_ms=first,
        end_ms=end,
        bars=(end - first) // grid.bar,
        halted_ms=tuple(grid.halted().tolist()),
        settlements=len(paid),
        unpublished_marks=perp.filter(no_mark()).height,
        segments=segments,
        displaced_ms=displaced,
        gaps=tuple(absence for absence in found if not absence.remedy),
        holes=tuple(absence for absence in found if absence.remedy),
    )


def _opens(table: pl.DataFrame) -> NDArray[np.int64]:
    return table["timestamp"].dt.epoch("ms").to_numpy()

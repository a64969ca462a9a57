"""What the hours of a ticker hold, and a refusal when something that pays or marks is missing."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import polars as pl

from carryflow.core.errors import CoverageError
from carryflow.market.data import DataSettings, to_ms
from carryflow.market.schema import BAR_MS, name_rows

MAX_SETTLEMENT_HOURS = 8
"""Longest interval between two settlements that the venues here use."""

_HOUR = timedelta(milliseconds=BAR_MS)


@dataclass(frozen=True, slots=True)
class Coverage:
    """Count what the hours of one ticker hold.

    `start_ms` is the open of the first hour that both legs have, `end_ms` the close of the last, `bars` the
    hours from one to the other. `halted_ms` are the opens of the hours in which spot did not trade,
    `settlements` counts funding payments, `unpublished_marks` the hours for which the venue gave no mark
    price.
    """

    ticker: str
    start_ms: int
    end_ms: int
    bars: int
    halted_ms: tuple[int, ...]
    settlements: int
    unpublished_marks: int

    @property
    def words(self) -> str:
        """Say the same in one line."""
        return (
            f"{self.ticker}: {self.bars} hours, {self.settlements} settlements, spot halted in "
            f"{len(self.halted_ms)} hours, no mark published in {self.unpublished_marks}"
        )


def check_coverage(spot: pl.DataFrame, perp: pl.DataFrame, ticker: str, settings: DataSettings) -> Coverage:
    """Count what the two validated legs of one ticker hold in the hours that they share.

    Raises:
        CoverageError: the legs share no hours, or one of them begins or ends alone; spot halts for longer
        than
            `max_halt_hours`; a bar of the perpetual, a settlement or a published mark is missing. Rows are
            named.
    """
    first, last = _shared_hours(spot, perp, ticker, settings)
    hours = pl.DataFrame({"timestamp": pl.datetime_range(first, last, "1h", time_unit="ms", eager=True)})
    perp = perp.filter(pl.col("timestamp").is_between(first, last))
    gone = hours.join(perp, on="timestamp", how="anti")["timestamp"]
    if len(gone):
        raise CoverageError(
            f"{ticker}: the perpetual's bars are missing at {name_rows(gone)}; fetch them again"
        )
    halted = hours.join(spot, on="timestamp", how="anti")["timestamp"].sort()
    _refuse_long_halts(halted, ticker, settings.max_halt_hours)
    settled = perp.filter(pl.col("funding_rate").is_not_null())["timestamp"]
    _refuse_missing_settlements(settled, first, last, ticker)
    return Coverage(
        ticker=ticker,
        start_ms=to_ms(first),
        end_ms=to_ms(last) + BAR_MS,
        bars=len(hours),
        halted_ms=tuple(halted.dt.epoch("ms").to_list()),
        settlements=len(settled),
        unpublished_marks=_count_unpublished_marks(perp, ticker, settings),
    )


def _shared_hours(
    spot: pl.DataFrame, perp: pl.DataFrame, ticker: str, settings: DataSettings
) -> tuple[datetime, datetime]:
    """Return the opens of the first and last hour that both legs have."""
    edges = [(leg["timestamp"][0], leg["timestamp"][-1]) for leg in (spot, perp) if len(leg)]
    if len(edges) < 2:
        raise CoverageError(
            f"{ticker}: the {'perp' if len(spot) else 'spot'} leg holds no rows; widen data.start, data.end"
        )
    first, last = max(edges[0][0], edges[1][0]), min(edges[0][1], edges[1][1])
    if first > last:
        raise CoverageError(f"{ticker}: spot holds {edges[0]}, perp {edges[1]}, and no hour is in both")
    for side, (a, b) in {"begins": (edges[0][0], edges[1][0]), "ends": (edges[0][1], edges[1][1])}.items():
        if abs(a - b) > settings.max_halt_hours * _HOUR:
            raise CoverageError(
                f"{ticker}: spot {side} at {a:%Y-%m-%d %H:%M} and perp at {b:%Y-%m-%d %H:%M}; choose hours "
                "that both have with data.start and data.end"
            )
    return first, last


def _refuse_long_halts(halted: pl.Series, ticker: str, most: int) -> None:
    """Refuse a run of more than `most` consecutive hours without spot trading."""
    runs = pl.DataFrame({"hour": halted}).with_columns(
        run=(pl.col("hour").diff() != _HOUR).fill_null(True).cum_sum()
    )
    for run in runs.partition_by("run"):
        if len(run) > most:
            raise CoverageError(
                f"{ticker}: spot has no bars for {len(run)} hours at {name_rows(run['hour'])}; fetch them "
                f"again, or raise data.max_halt_hours (now {most}) if the venue was halted"
            )


def _refuse_missing_settlements(settled: pl.Series, first: datetime, last: datetime, ticker: str) -> None:
    """Refuse hours in which funding must have settled and no row says so.

    Two settlements are never more than eight hours apart. Where they come more often, an interval twice
    as long as the one before and the one after has lost one, too.
    """
    if not len(settled):
        raise CoverageError(
            f"{ticker}: no settlement at all from {first:%Y-%m-%d %H:%M} on; fetch funding again"
        )
    most = MAX_SETTLEMENT_HOURS * _HOUR
    stamps = settled.to_list()
    gaps = [later - earlier for earlier, later in pairwise(stamps)]
    holes = [i for i, gap in enumerate(gaps) if gap > most or _is_skipped(gaps, i)]
    edges = [(stamps[i], stamps[i + 1]) for i in holes]
    if stamps[0] - first > most:  # one at the first stamp itself would pay nobody: no position is older
        edges.insert(0, (first, stamps[0]))
    if last + _HOUR - stamps[-1] > most:
        edges.append((stamps[-1], last + _HOUR))
    if edges:
        named = ", ".join(f"{a:%Y-%m-%d %H:%M} and {b:%Y-%m-%d %H:%M}" for a, b in edges[:3])
        raise CoverageError(
            f"{ticker}: {len(edges)} time(s) a settlement is missing, between {named}; funding that was paid "
            "cannot be taken for zero: fetch these hours again"
        )


def _is_skipped(gaps: list[timedelta], i: int) -> bool:
    """Say whether an interval between settlements is twice as long as the one before and the one after."""
    return 0 < i < len(gaps) - 1 and gaps[i] == 2 * gaps[i - 1] == 2 * gaps[i + 1]


def _count_unpublished_marks(perp: pl.DataFrame, ticker: str, settings: DataSettings) -> int:
    """Count hours without a mark; refuse them where they are required, or missing between others."""
    absent = pl.any_horizontal(pl.col("mark_open", "mark_close").is_null())
    published = pl.col("mark_close").is_not_null()
    begun = published.cum_max() & published.reverse().cum_max().reverse()
    refused = perp.filter(absent if settings.mark == "required" else absent & begun)["timestamp"]
    if len(refused):
        raise CoverageError(
            f"{ticker}: the mark price is missing at {name_rows(refused)}; fetch these hours again"
            + (", or take the perpetual's own price (data.mark=perp)" if settings.mark == "required" else "")
        )
    return perp.filter(absent).height

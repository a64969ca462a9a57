"""What a fetch of one ticker came to: its legs folded and surveyed, and why they are refused, if they are."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from carryflow.core.errors import MarketDataError
from carryflow.core.leg import LEGS
from carryflow.market.coverage import survey
from carryflow.market.data import DataSettings
from carryflow.market.gaps import KnownGap
from carryflow.market.ledger import CoverageLedger, name_minute
from carryflow.market.parts import compact
from carryflow.market.schema import name_rows
from carryflow.market.settlements import read_settlements
from carryflow.market.store import is_stored, read_leg
from carryflow.market.timeframe import HOUR_MS, holds_settlements
from carryflow.venues.blocks import Block
from carryflow.venues.stored import NO_BARS


@dataclass(frozen=True, slots=True)
class TickerOutcome:
    """Say what a fetch of one ticker found.

    `gaps` are those that are new; `refusal` says what is missing and may not be, empty where nothing is.
    """

    rows_new: int
    coverage: CoverageLedger
    gaps: tuple[KnownGap, ...]
    refusal: str


def fold_in(data_dir: Path, ticker: str, data: DataSettings) -> None:
    """Fold the parts of both legs into their files.

    Raises:
        MarketDataError: the venue has no bars at all of one of them.
    """
    for leg in LEGS:
        if not is_stored(data_dir, leg, ticker):
            raise MarketDataError(
                f"{ticker}: the venue has no {leg} bars of {data.timeframe} in these hours; "
                "set data.start and data.end to hours in which it traded"
            )
        compact(data_dir, leg, ticker, data.timeframe)


def survey_stored(
    data_dir: Path,
    ticker: str,
    data: DataSettings,
    wanted: Block,
    gaps: list[KnownGap],
    settled: pl.DataFrame,
) -> tuple[CoverageLedger, str]:
    """Return the coverage of the wanted time, and why it is refused; the bars must reach up to its end.

    Args:
        data_dir: folder of the store, in which nothing of this ticker waits to be folded in.
        ticker: the coin.
        data: length of the bars, and what is tolerated.
        wanted: time of which all is wanted.
        gaps: what the venue is known not to have, new gaps included.
        settled: what the venue said settled; some of it may be in bars that are not there.

    """
    span = (*wanted, data.timeframe)
    spot, perp = (read_leg(data_dir, leg, ticker, *span) for leg in LEGS)
    beside = None if holds_settlements(data.timeframe) else read_settlements(data_dir, ticker, *span)
    ledger = survey(spot, perp, ticker, data, settlements=beside, gaps=gaps)
    problems = [ledger.refusal] if ledger.holes else []
    unpaid = settled.filter(
        pl.col("timestamp").is_between(perp["timestamp"].min(), perp["timestamp"].max())
    ).join(perp, on="timestamp", how="anti")["timestamp"]
    if len(unpaid) and beside is None:
        problems.append(f"{ticker}: funding settled at {name_rows(unpaid)}, where the perpetual has no bar")
    around = [(hole.start_ms, hole.end_ms) for hole in ledger.holes]
    around += [(at, at + 1) for at in unpaid.dt.epoch("ms")]
    known = [gap for gap in gaps if gap.reason == NO_BARS and any(_overlap(gap, block) for block in around)]
    if problems and known:
        named = ", ".join(f"{g.leg} {name_minute(g.start_ms)} to {name_minute(g.end_ms)}" for g in known)
        problems.append(
            f"{ticker}: {NO_BARS} of {named}; choose other hours with data.start and data.end, or have it "
            f"asked once more by taking these out of {data_dir / 'gaps.json'}"
        )
    missing = (wanted[1] - ledger.end_ms) / HOUR_MS
    if not ledger.holes and missing > data.max_halt_hours:
        problems.append(
            f"{ticker}: the venue's hours stop at {name_rows(perp['timestamp'].tail(1))}, "
            f"{missing:g} hours too early; set data.end to an earlier time, or leave the coin out of "
            "data.tickers"
        )
    return ledger, ". ".join(problems)


def _overlap(gap: KnownGap, block: Block) -> bool:
    return gap.start_ms < block[1] and block[0] < gap.end_ms

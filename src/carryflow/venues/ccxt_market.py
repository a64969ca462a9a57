"""Fetch the market of a venue through ccxt into the store: resumable, and never half-written."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from carryflow.core.errors import CoverageError
from carryflow.core.lock import lock
from carryflow.market.contracts import ContractTerms, record_contracts
from carryflow.market.data import DataSettings, to_ms
from carryflow.market.gaps import KnownGap, read_gaps, record_gaps
from carryflow.market.ledger import CoverageLedger
from carryflow.market.store import Source, market_version, write_source
from carryflow.market.timeframe import bar_ms
from carryflow.venues.progress import Progress
from carryflow.venues.settings import VenueSettings

__all__ = ["MarketSnapshot", "Progress", "VenueSettings", "fetch_market"]

_PARTS_UNDER_WAY = 2
"""Parts that are fetched at once, of all tickers: enough to keep every place for a request taken."""


@dataclass(frozen=True, slots=True)
class MarketSnapshot:
    """Say what the store holds after a fetch.

    `end_ms` is the close of the last bar wanted and closed, `venue_time_ms` the venue's clock, `rows_new`
    the bars of both legs that were fetched, `version` the content's hash, `coverage` one entry per ticker,
    `gaps` the ranges that the venue is known not to have, `requests` how many requests were sent.
    """

    version: str
    end_ms: int
    venue_time_ms: int
    tickers: tuple[str, ...]
    rows_new: int
    coverage: tuple[CoverageLedger, ...]
    gaps: tuple[KnownGap, ...] = ()
    requests: int = 0


def machine_clock_ms() -> int:
    """Return this machine's clock, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def fetch_market(
    data_dir: Path,
    venue: VenueSettings,
    data: DataSettings,
    progress: Progress | None = None,
    clock: Callable[[], int] = machine_clock_ms,
) -> MarketSnapshot:
    """Fetch both legs of every ticker into `data_dir`: bars, marks, index, funding, books, contract terms.

    Only bars that are not stored yet are asked for, and the bar that is still open is left out. What has
    come is written in parts, so a killed fetch goes on where it stopped; at the end the parts are folded
    into one file per leg. Order books and predicted rates cannot be asked for later: they are written into
    the last bar, if that has just closed. `clock` (ms) is held against the venue's. A second fetch into the
    same folder waits for the first.

    Raises:
        VenueError: the venue did not answer, refused, has banned this address, or its clock is off.
        SettingsError: the venue lacks a feature, or bars of this length.
        UnknownTickerError: the venue does not list a ticker; the message names the nearest that it lists.
        MarketDataError: the folder holds bars of another source, or the venue's answer makes no sense.
        CoverageError: bars, marks or settlements are missing in what the venue has.
    """
    with lock(data_dir.parent / f".{data_dir.name}.lock"):
        return asyncio.run(_fetch(data_dir, venue, data, progress or (lambda *_: None), clock))


async def _fetch(
    data_dir: Path, venue: VenueSettings, data: DataSettings, progress: Progress, clock: Callable[[], int]
) -> MarketSnapshot:
    from carryflow.venues.connection import VenueConnection, together
    from carryflow.venues.listing import first_bar
    from carryflow.venues.stored import StoredTicker
    from carryflow.venues.terms import fetch_terms
    from carryflow.venues.ticker_fetch import TickerFetch

    async with VenueConnection(venue) as connection:
        connection.require_features(data.timeframe)
        connection.require_listed(data.tickers, data.quote)
        venue_time = await connection.clock_ms(clock())
        source = Source(venue.name, connection.tape_id, venue_time, data.timeframe)
        end = venue_time if data.end is None else min(venue_time, to_ms(data.end))
        end = end // bar_ms(data.timeframe) * bar_ms(data.timeframe)
        stored = [StoredTicker(data_dir, t, data.timeframe, data.max_halt_hours) for t in data.tickers]
        terms, firsts = await asyncio.gather(
            fetch_terms(connection, data.tickers, data.quote, venue_time),
            together(*(first_bar(connection, one, data, venue_time) for one in stored)),
        )
        before = [gap for _, gaps in firsts for gap in gaps]
        begin = asyncio.ensure_future(asyncio.to_thread(_begin, data_dir, source, terms, before))
        parts, folding = asyncio.Semaphore(_PARTS_UNDER_WAY), asyncio.Lock()
        fetches = [
            TickerFetch(connection, data_dir, data, one, end, venue_time, parts, folding, begin, progress)
            for one in stored
        ]
        found = await together(*(fetch.run(*first) for fetch, first in zip(fetches, firsts, strict=True)))
        record_gaps(data_dir, [gap for one in found for gap in one.gaps])
        if any(one.refusal for one in found):
            raise CoverageError(". ".join(one.refusal for one in found if one.refusal))
        hashing = asyncio.ensure_future(
            asyncio.to_thread(market_version, data_dir, data.tickers, data.sentiment, data.timeframe, end)
        )  # while the sockets close
    return MarketSnapshot(
        version=await hashing,
        end_ms=end,
        venue_time_ms=venue_time,
        tickers=data.tickers,
        rows_new=sum(one.rows_new for one in found),
        coverage=tuple(one.coverage for one in found),
        gaps=tuple(gap for gap in read_gaps(data_dir) if gap.ticker in data.tickers),
        requests=connection.budget.sent,
    )


def _begin(
    data_dir: Path, source: Source, terms: Sequence[ContractTerms], before: Sequence[KnownGap]
) -> None:
    """Write where the bars will come from; nothing is on disk before all tickers are known to be there.

    Raises:
        MarketDataError: the folder holds bars of another venue, tape or length.
    """
    write_source(data_dir, source)
    record_contracts(data_dir, terms)
    record_gaps(data_dir, before)

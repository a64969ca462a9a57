"""Fetch the market of a venue through ccxt into the store: resumable, and never half-written."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from carryflow.core.errors import CoverageError, MarketDataError
from carryflow.market.coverage import Coverage, check_coverage
from carryflow.market.data import DataSettings, to_ms
from carryflow.market.schema import BAR_MS, LEGS, Leg
from carryflow.market.store import (
    Source,
    leg_path,
    market_version,
    merge_leg,
    read_leg,
    write_source,
)
from carryflow.venues.blocks import Block, plan_blocks
from carryflow.venues.leg_tables import bars_table, book_columns, perp_table
from carryflow.venues.settings import VenueSettings

if TYPE_CHECKING:
    from carryflow.venues.connection import VenueConnection

__all__ = ["MarketSnapshot", "Progress", "VenueSettings", "fetch_market"]

Progress = Callable[[str, int, int], None]
"""Told (ticker, hours done, hours in all) after each block."""


@dataclass(frozen=True, slots=True)
class MarketSnapshot:
    """Say what the store holds after a fetch.

    `end_ms` is the close of the last hour wanted and closed, `venue_time_ms` the venue's clock, `rows_new`
    the bars of both legs that were not stored before, `version` the content's hash, `coverage` one entry
    per ticker.
    """

    version: str
    end_ms: int
    venue_time_ms: int
    tickers: tuple[str, ...]
    rows_new: int
    coverage: tuple[Coverage, ...]


def fetch_market(
    data_dir: Path, venue: VenueSettings, data: DataSettings, progress: Progress | None = None
) -> MarketSnapshot:
    """Fetch bars, marks, settlements and present order books of both legs of every ticker into `data_dir`.

    Only hours that are not stored yet are asked for, and the bar that is still open is left out. Each block
    is merged atomically, so a killed fetch goes on where it stopped.

    Raises:
        VenueError: the venue did not answer, or refused.
        UnknownTickerError: the venue does not list a ticker; the message names the nearest that it lists.
        MarketDataError: the folder holds hours of another source, or the venue's answer makes no sense.
        CoverageError: hours are missing in what the venue has.
    """
    return asyncio.run(_fetch(data_dir, venue, data, progress or (lambda *_: None)))


async def _fetch(
    data_dir: Path, venue: VenueSettings, data: DataSettings, progress: Progress
) -> MarketSnapshot:
    from carryflow.venues.connection import VenueConnection

    async with VenueConnection(venue) as connection:
        venue_time = await connection.clock_ms()
        connection.require_listed(data.tickers, data.quote)
        write_source(data_dir, Source(venue.name, connection.tape_id, venue_time))
        closed = venue_time // BAR_MS * BAR_MS
        end = closed if data.end is None else min(closed, to_ms(data.end) // BAR_MS * BAR_MS)
        jobs = [
            asyncio.create_task(_TickerFetch(connection, data_dir, data, t, end, progress).run(closed))
            for t in data.tickers
        ]
        try:
            found = await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
    return MarketSnapshot(
        version=market_version(data_dir, data.tickers, data.sentiment),
        end_ms=end,
        venue_time_ms=venue_time,
        tickers=data.tickers,
        rows_new=sum(rows for rows, _ in found),
        coverage=tuple(coverage for _, coverage in found),
    )


@dataclass(frozen=True, slots=True)
class _TickerFetch:
    """Fetch one ticker up to `end` (ms)."""

    connection: "VenueConnection"
    data_dir: Path
    data: DataSettings
    ticker: str
    end: int
    progress: Progress

    async def run(self, closed: int) -> tuple[int, Coverage]:
        """Bring the store up to `end`; return how many bars are new, and the coverage of the hours wanted.

        `closed` is the close of the venue's last closed bar: the present book belongs to it and to no other.
        """
        start = await self._first_hour()
        blocks = plan_blocks(start, self.end, self._stored(), self.connection.limits.bars)
        done, total = 0, sum(b - a for a, b in blocks) // BAR_MS
        new = 0
        for block in blocks:
            new += await self._fetch_block(block)
            done += (block[1] - block[0]) // BAR_MS
            self.progress(self.ticker, done, total)
        if self.end == closed:
            await self._record_books(closed - BAR_MS)
        return new, self._check(start)

    async def _first_hour(self) -> int:
        """Return the first hour to fetch: as wanted, but not before the venue listed both legs."""
        wanted = 0 if self.data.start is None else -(-to_ms(self.data.start) // BAR_MS) * BAR_MS
        if not self.connection.limits.finds_first:
            markets = [self.connection.legs[leg].market(self._symbol(leg)) for leg in LEGS]
            listed = max(int(market.get("created") or 0) for market in markets)
            if max(wanted, listed) == 0:
                raise MarketDataError(
                    f"{self.ticker}: the venue does not say since when it is listed; set data.start"
                )
            return max(wanted, -(-listed // BAR_MS) * BAR_MS)
        firsts = await asyncio.gather(*(self._candles(leg, since=wanted, limit=1) for leg in LEGS))
        if not all(firsts):
            raise MarketDataError(
                f"{self.ticker}: the venue has no hours from {self.data.start} on; set data.start earlier"
            )
        return max(int(first[0][0]) for first in firsts)

    def _stored(self) -> Block | None:
        """Return the opens of the first and last hour that both legs have in the store."""
        if not all(leg_path(self.data_dir, leg, self.ticker).is_file() for leg in LEGS):
            return None
        stamps = [read_leg(self.data_dir, leg, self.ticker)["timestamp"].dt.epoch("ms") for leg in LEGS]
        return max(int(s[0]) for s in stamps), min(int(s[-1]) for s in stamps)

    async def _fetch_block(self, block: Block) -> int:
        """Fetch one block of both legs, merge it, and return how many bars are new."""
        limit = self.connection.limits.bars
        until: dict[str, int | str] = {"until": block[1] - 1}
        perp = self.connection.legs["perp"]
        spot_bars, perp_bars, marks, settlements = await asyncio.gather(
            self._candles("spot", since=block[0], limit=limit, params=until),
            self._candles("perp", since=block[0], limit=limit, params=until),
            self._candles("perp", since=block[0], limit=limit, params=until | {"price": "mark"}),
            self.connection.ask(
                perp.fetch_funding_rate_history, self._symbol("perp"), block[0], limit, until
            ),
        )
        tables: dict[Leg, pl.DataFrame] = {
            "spot": bars_table(spot_bars, block),
            "perp": perp_table(perp_bars, marks, settlements, block),
        }
        return sum(merge_leg(self.data_dir, leg, self.ticker, t) for leg, t in tables.items() if len(t))

    async def _candles(
        self, leg: Leg, since: int, limit: int, params: dict[str, int | str] | None = None
    ) -> list[list[float]]:
        exchange = self.connection.legs[leg]
        if params and params.get("price") == "mark" and not exchange.has.get("fetchMarkOHLCV"):
            return []
        return await self.connection.ask(
            exchange.fetch_ohlcv, self._symbol(leg), "1h", since, limit, params or {}
        )

    async def _record_books(self, last_open: int) -> None:
        """Write the present books into the row of the last closed bar, where both legs have it."""
        rows = {leg: read_leg(self.data_dir, leg, self.ticker, last_open, last_open + BAR_MS) for leg in LEGS}
        if not all(len(row) for row in rows.values()):
            return
        for leg, row in rows.items():
            ask = self.connection.legs[leg].fetch_order_book
            book = await self.connection.ask(ask, self._symbol(leg), self.connection.limits.levels)
            columns = [pl.lit(value).alias(name) for name, value in book_columns(book).items()]
            merge_leg(self.data_dir, leg, self.ticker, row.with_columns(columns))

    def _check(self, start: int) -> Coverage:
        """Return the coverage of the hours wanted, which must reach up to `end`."""
        spot, perp = (read_leg(self.data_dir, leg, self.ticker, start, self.end) for leg in LEGS)
        coverage = check_coverage(spot, perp, self.ticker, self.data)
        missing = (self.end - coverage.end_ms) // BAR_MS
        if missing > self.data.max_halt_hours:
            last = perp["timestamp"][-1]
            raise CoverageError(
                f"{self.ticker}: the venue's hours stop at {last:%Y-%m-%d %H:%M}, {missing} hours too early; "
                "set data.end to an earlier time, or leave the coin out of data.tickers"
            )
        return coverage

    def _symbol(self, leg: Leg) -> str:
        return self.connection.symbol(leg, self.ticker, self.data.quote)

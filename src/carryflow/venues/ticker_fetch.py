"""Bring both legs of one ticker up to date: ask for what is missing, write it in parts, check the whole."""

import asyncio
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import polars as pl

from carryflow.core.errors import CoverageError
from carryflow.core.leg import LEGS, Leg
from carryflow.market.data import DataSettings
from carryflow.market.gaps import KnownGap
from carryflow.market.parts import append_part
from carryflow.market.schema import TIMESTAMP
from carryflow.market.settlements import merge_settlements
from carryflow.market.store import is_stored, merge_leg, read_leg
from carryflow.market.timeframe import bar_ms, holds_settlements
from carryflow.venues.blocks import Block, cut, join, subtract
from carryflow.venues.connection import VenueConnection, together
from carryflow.venues.leg_tables import bars_table, perp_table, price_table
from carryflow.venues.outcome import TickerOutcome, fold_in, survey_stored
from carryflow.venues.paging import Candles, Price, fetch_bars, fetch_settlements
from carryflow.venues.present import Seen, latest_look_ms, look
from carryflow.venues.progress import Progress
from carryflow.venues.stored import NO_BARS, StoredTicker

PAGES_IN_A_PART = 32
"""Pages of bars that are written as one part: enough that writing is cheap, few enough to lose to a kill."""

_PRICES: dict[Leg, dict[Price, str]] = {
    "spot": {"last": "fetchOHLCV"},
    "perp": {"last": "fetchOHLCV", "mark": "fetchMarkOHLCV", "index": "fetchIndexOHLCV"},
}
"""Prices of each leg, and what ccxt calls asking for their bars."""


@dataclass(frozen=True)
class TickerFetch:
    """Fetch one ticker up to `end_ms`.

    `parts` bounds how many parts of all tickers are under way, `folding` lets one ticker at a time be held as
    a whole in memory, and nothing is written before `begin` is done.
    """

    connection: VenueConnection
    data_dir: Path
    data: DataSettings
    stored: StoredTicker
    end_ms: int
    venue_time_ms: int
    parts: asyncio.Semaphore
    folding: asyncio.Lock
    begin: "asyncio.Future[None]"
    progress: Progress

    @property
    def _bar(self) -> int:
        return bar_ms(self.data.timeframe)

    @property
    def ticker(self) -> str:
        """Return the coin that is fetched."""
        return self.stored.ticker

    @cached_property
    def _symbols(self) -> dict[Leg, str]:
        return {leg: self.connection.symbol(leg, self.ticker, self.data.quote) for leg in LEGS}

    async def run(self, start: int, unlisted: list[KnownGap]) -> TickerOutcome:
        """Bring the store up from `start` (ms) to `end_ms`, and survey the whole.

        Bars that do not come are asked for once more, on their own. What does not come then, either, is a gap
        if it is short enough to be borne; longer ones are asked for again by the next fetch. `unlisted` are
        gaps that were found before.

        Raises:
            VenueError: the venue did not answer, or refused.
            MarketDataError: what it answered makes no sense.
            CoverageError: the venue does not keep settlements for that long.
        """
        wanted = (start, self.end_ms)
        missing = {leg: self.stored.missing(leg, wanted) for leg in LEGS}
        ranges = self.stored.unsettled(wanted, missing["perp"])
        self._require_kept(ranges)
        looking = asyncio.ensure_future(self._look())
        paying = asyncio.ensure_future(self._settlements(join([*ranges, *self.stored.barless(wanted)])))
        gaps: list[KnownGap] = []
        try:
            new = await self._fetch_bars(missing, paying, looking, self.progress)
            if new < sum(end - at for blocks in missing.values() for at, end in blocks) // self._bar:
                lost = await asyncio.to_thread(self._lost, missing)
                new += await self._fetch_bars(lost, paying, looking, lambda *_: None)
                still = await asyncio.to_thread(self._lost, lost)
                bearable = [(leg, gap) for leg in LEGS for gap in still[leg] if self.stored.bearable(gap)]
                gaps = [KnownGap(self.ticker, leg, *gap, NO_BARS) for leg, gap in bearable]
            settled = await paying
            await asyncio.to_thread(self._amend, settled, await looking)
        finally:
            looking.cancel()
            paying.cancel()
        known = [*self.stored.gaps, *unlisted, *gaps]
        async with self.folding:
            await asyncio.to_thread(fold_in, self.data_dir, self.ticker, self.data)
            found = await asyncio.to_thread(
                survey_stored, self.data_dir, self.ticker, self.data, wanted, known, settled
            )
        return TickerOutcome(new, found[0], tuple(gaps), found[1])

    def _lost(self, asked: dict[Leg, list[Block]]) -> dict[Leg, list[Block]]:
        """Return what was asked for and did not come, where later bars did."""
        bars = replace(self.stored).bars  # as they are on disk by now
        last = {leg: max((end for _, end in bars[leg]), default=0) for leg in LEGS}
        return {
            leg: [gap for a, b in asked[leg] for gap in subtract((a, min(b, last[leg])), bars[leg])]
            for leg in LEGS
        }

    def _require_kept(self, ranges: list[Block]) -> None:
        """Refuse settlements that are older than what the venue keeps of them."""
        kept = self.connection.dialect.funding.kept_ms
        if kept is None or not ranges or ranges[0][0] >= self.venue_time_ms - kept - self._bar:
            return
        first, reach = (
            pl.Series([ms]).cast(TIMESTAMP)[0] for ms in (ranges[0][0], self.venue_time_ms - kept)
        )
        raise CoverageError(
            f"{self.ticker}: settled funding is wanted from {first:%Y-%m-%d %H:%M} on, and "
            f"{self.connection.settings.name} keeps it from {reach:%Y-%m-%d %H:%M} on only; set data.start "
            "to that or later, or import older hours from files"
        )

    async def _settlements(self, ranges: list[Block]) -> pl.DataFrame:
        """Return what settled in these ranges; beside coarse bars it is on disk before the bars are."""
        found = await together(
            *(fetch_settlements(self.connection, self._symbols["perp"], block) for block in ranges)
        )
        await self.begin
        settled = pl.concat(found) if found else pl.DataFrame(schema={"timestamp": TIMESTAMP})
        if len(settled) and not holds_settlements(self.data.timeframe):
            await asyncio.to_thread(merge_settlements, self.data_dir, self.ticker, settled.sort("timestamp"))
        return settled

    async def _look(self) -> dict[Leg, Seen]:
        """Return what is seen now; it belongs to the bar that has just closed, and to no other."""
        closed = self.venue_time_ms // self._bar * self._bar
        timeframe = self.data.timeframe
        if self.end_ms != closed or self.venue_time_ms - closed > latest_look_ms(timeframe):
            return {}
        return await look(self.connection, self._symbols, closed, timeframe)

    async def _fetch_bars(
        self,
        missing: dict[Leg, list[Block]],
        paying: "asyncio.Future[pl.DataFrame]",
        looking: "asyncio.Future[dict[Leg, Seen]]",
        tell: Progress,
    ) -> int:
        """Fetch the missing bars of both legs in parts, each leg's in order; return how many there are."""
        longest = PAGES_IN_A_PART * self.connection.dialect.bars * self._bar
        pieces = {leg: [p for block in missing[leg] for p in cut(block, longest)] for leg in LEGS}
        total = sum(end - start for leg in LEGS for start, end in pieces[leg]) // self._bar
        done = 0

        async def part(leg: Leg, block: Block, before: asyncio.Event, after: asyncio.Event) -> int:
            nonlocal done
            async with self.parts:
                prices = await self._prices(leg, block)
                settled = await paying if leg == "perp" else None
                seen = (await looking).get(leg) if block[1] == self.end_ms else None
                await self.begin
                await before.wait()
                alone = len(pieces[leg]) == 1 and not is_stored(self.data_dir, leg, self.ticker)
                rows = await asyncio.to_thread(self._write, leg, block, prices, settled, seen, alone)
            after.set()
            done += (block[1] - block[0]) // self._bar
            tell(self.ticker, done, total)
            return rows

        jobs = []
        for leg in LEGS:
            turns = [asyncio.Event() for _ in range(len(pieces[leg]) + 1)]
            turns[0].set()
            jobs += [part(leg, p, turns[i], turns[i + 1]) for i, p in enumerate(pieces[leg])]
        return sum(await together(*jobs))

    async def _prices(self, leg: Leg, block: Block) -> dict[Price, Candles]:
        """Return the bars of each price that the venue has of a leg."""
        here = [price for price, feature in _PRICES[leg].items() if self.connection.has(feature)]
        ask = partial(fetch_bars, self.connection, self._symbols[leg], self.data.timeframe, block)
        found = await together(*(ask(price=price) for price in here))
        return dict(zip(here, found, strict=True))

    def _write(
        self,
        leg: Leg,
        block: Block,
        prices: dict[Price, Candles],
        settled: pl.DataFrame | None,
        seen: Seen | None,
        alone: bool,
    ) -> int:
        """Put a block of one leg on disk, and return how many bars it holds.

        A part that is `alone` is the leg's file: there is nothing to fold it with.
        """
        rows = bars_table(prices["last"])
        if not len(rows):
            return 0
        if settled is not None:
            settled = settled.filter(_within("timestamp", block))
            none = prices["last"][:0]
            marks, indices = (price_table(prices.get(p, none), p) for p in ("mark", "index"))
            rows = perp_table(rows, marks, indices, settled, self.ticker, self.data.timeframe)
        if seen:
            rows = _stamp(rows, seen, block[1] - self._bar)
        write = merge_leg if alone else append_part
        write(self.data_dir, leg, self.ticker, rows, self.data.timeframe)
        return len(rows)

    def _amend(self, settled: pl.DataFrame, seen: dict[Leg, Seen]) -> None:
        """Write what came too late for its row, which was stored before: settlements, and what was seen."""
        last = (self.end_ms - self._bar, self.end_ms)
        for leg in LEGS:
            known = self.stored.bars[leg]
            paid = settled[:0]
            if leg == "perp" and holds_settlements(self.data.timeframe) and known:
                paid = settled.filter(pl.any_horizontal([_within("timestamp", block) for block in known]))
            watched = seen.get(leg) if any(a <= last[0] < b for a, b in known) else None
            changed = paid.select("timestamp")
            if watched:
                now = pl.Series("timestamp", [last[0]]).cast(TIMESTAMP)
                changed = pl.concat([changed, now.to_frame()]).unique()
            if not len(changed):
                continue
            low = int(changed["timestamp"].dt.epoch("ms").sort()[0])
            rows = read_leg(self.data_dir, leg, self.ticker, low, self.end_ms, self.data.timeframe)
            rows = rows.join(changed, on="timestamp", how="semi")
            if len(paid):
                rows = rows.join(paid.select("timestamp", paid="funding_rate"), on="timestamp", how="left")
                rows = rows.with_columns(funding_rate=pl.coalesce("paid", "funding_rate")).drop("paid")
            rows = _stamp(rows, watched, last[0]) if watched else rows
            append_part(self.data_dir, leg, self.ticker, rows, self.data.timeframe)


def _stamp(rows: pl.DataFrame, seen: Seen, at_ms: int) -> pl.DataFrame:
    """Return the rows with what was seen in the one that opens at `at_ms`."""
    here = _within("timestamp", (at_ms, at_ms + 1))
    return rows.with_columns(
        pl.when(here)
        .then(pl.lit(value, pl.Float64))
        .otherwise(pl.col(name) if name in rows.columns else None)
        .alias(name)
        for name, value in seen.items()
    )


def _within(column: str, block: Block) -> pl.Expr:
    return pl.col(column).dt.epoch("ms").is_between(block[0], block[1], closed="left")

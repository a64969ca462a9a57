"""Both legs' bars of one ticker as a venue tells them, in the very rows that a fetch stores."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import polars as pl

from carryflow.core.leg import LEGS, Leg
from carryflow.market.closed_bars import ClosedBar, Row, Settlement
from carryflow.market.data import DataSettings
from carryflow.market.timeframe import HOUR_MS, bar_ms
from carryflow.venues.blocks import Block
from carryflow.venues.connection import VenueConnection, together
from carryflow.venues.leg_tables import bars_table, perp_table, price_table
from carryflow.venues.paging import Candles, Price, fetch_bars, fetch_settlements
from carryflow.venues.present import Seen, latest_look_ms, look

_MINUTE_MS = 60_000
"""A settlement is stamped up to a minute late, so those at an instant are asked for up to a minute after."""

_PRICES: dict[Price, str] = {"last": "fetchOHLCV", "mark": "fetchMarkOHLCV", "index": "fetchIndexOHLCV"}
"""Prices of the perpetual, and what ccxt calls asking for their bars."""


@dataclass(frozen=True, slots=True)
class PairBars:
    """Hold what a venue has of the bars that open in [start, end) of one ticker.

    Attributes:
        ticker: the coin.
        block: start and end (UTC ms), both on the bar's grid.
        bar_ms: how long a bar is.
        spot: spot's rows by their opens (UTC ms).
        perp: the perpetual's.
        settled: what settled after the start, up to the end, by instant (UTC ms).
        owed: whether a settlement was due at the end, of which the venue says nothing yet.
        due_ms: the next settlement, as the venue says now (UTC ms); None where it does not tell.

    """

    ticker: str
    block: Block
    bar_ms: int
    spot: Mapping[int, Row]
    perp: Mapping[int, Row]
    settled: Mapping[int, Settlement]
    owed: bool
    due_ms: int | None

    @property
    def whole(self) -> bool:
        """Say whether the newest bars and what is due are there; what lacks earlier will not come."""
        newest = self.block[1] - self.bar_ms
        return newest in self.spot and newest in self.perp and not self.owed

    def has(self, opened_ms: int) -> bool:
        """Say whether there is a bar of which all is known."""
        last = opened_ms + self.bar_ms == self.block[1]
        return opened_ms in self.perp and not (last and self.owed)

    def lacks(self, opened_ms: int) -> str:
        """Say in words what is missing of a bar."""
        opened = datetime.fromtimestamp(opened_ms / 1000, UTC)
        what = "the settlement at the close" if opened_ms in self.perp else "the perpetual"
        return (
            f"{self.ticker}: the venue has nothing of {what} of the bar of {opened:%Y-%m-%d %H:%M}, however "
            "often it was asked; fetch these hours and prime the feature stream anew"
        )

    def closed(self, opened_ms: int, *, final: bool) -> ClosedBar:
        """Return one bar; it must be there."""
        settlement = self.settled.get(opened_ms + self.bar_ms)
        return ClosedBar(self.spot.get(opened_ms), self.perp[opened_ms], settlement, final)


async def ask_pair_bars(
    connection: VenueConnection, data: DataSettings, ticker: str, block: Block, due_ms: int | None
) -> PairBars:
    """Ask for the bars that open within a block that has closed, and for what settled up to its end.

    Args:
        connection: the venue.
        data: length of the bars.
        ticker: the coin.
        block: start and end (UTC ms), on the bar's grid.
        due_ms: the settlement that the venue announced before (UTC ms); None where it does not tell.

    """
    symbols: dict[Leg, str] = {leg: connection.symbol(leg, ticker, data.quote) for leg in LEGS}
    step = bar_ms(data.timeframe)
    opened = (block[0], block[1] + step)  # the bar that has just opened tells the mark of a settlement
    ask = partial(fetch_bars, connection, symbols["perp"], data.timeframe, opened)
    here = [price for price, feature in _PRICES.items() if connection.has(feature)]
    spot, *prices = await together(
        fetch_bars(connection, symbols["spot"], data.timeframe, block), *(ask(price=price) for price in here)
    )
    settled = await fetch_settlements(connection, symbols["perp"], (block[0], block[1] + _MINUTE_MS))
    next_ms = await next_settlement_ms(connection, symbols["perp"])
    table = _perp_rows(dict(zip(here, prices, strict=True)), settled, ticker, data)
    perp = _by_open(table)
    rows: dict[Leg, dict[int, Row]] = {"spot": _by_open(bars_table(spot)), "perp": perp}
    seen = await _seen(connection, symbols, block[1], data)
    for leg, columns in seen.items():
        if block[1] - step in rows[leg]:
            rows[leg][block[1] - step] |= columns
    paid = {at: mark for at, mark in _settlements(settled, perp).items() if block[0] < at <= block[1]}
    return PairBars(
        ticker=ticker,
        block=block,
        bar_ms=step,
        spot=rows["spot"],
        perp={at: row for at, row in perp.items() if at < block[1]},
        settled=paid,
        owed=block[1] not in paid and _settles(connection, block[1], due_ms, next_ms),
        due_ms=next_ms,
    )


async def next_settlement_ms(connection: VenueConnection, symbol: str) -> int | None:
    """Return when funding settles next (UTC ms), as the venue announces it; None where it does not."""
    if not connection.dialect.predicts or not connection.has("fetchFundingRate"):
        return None
    rate = await connection.ask(connection.exchange.fetch_funding_rate, symbol)
    due = rate["fundingTimestamp"]
    return None if due is None else int(due)


def _settles(connection: VenueConnection, at_ms: int, announced_ms: int | None, next_ms: int | None) -> bool:
    """Say whether a settlement was due at an instant: announced before it, or still announced after it."""
    if announced_ms is None and next_ms is None:
        hours = connection.dialect.interval_hours
        return hours is not None and at_ms % int(hours * HOUR_MS) == 0
    return at_ms in {announced_ms, next_ms}


async def _seen(
    connection: VenueConnection, symbols: Mapping[Leg, str], closed_ms: int, data: DataSettings
) -> dict[Leg, Seen]:
    """Return the books and the predicted rate, where it is not too late to take them for the close's."""
    if await connection.now_ms() - closed_ms > latest_look_ms(data.timeframe):
        return {}
    return await look(connection, symbols, closed_ms, data.timeframe)


def _perp_rows(
    prices: Mapping[Price, Candles], settled: pl.DataFrame, ticker: str, data: DataSettings
) -> pl.DataFrame:
    none = prices["last"][:0]
    marks, indices = (price_table(prices.get(price, none), price) for price in ("mark", "index"))
    return perp_table(bars_table(prices["last"]), marks, indices, settled, ticker, data.timeframe)


def _settlements(settled: pl.DataFrame, perp: Mapping[int, Row]) -> dict[int, Settlement]:
    """Return what settled, by instant, on the mark that its bar opened with, as a batch takes it.

    Where there is no such mark yet: on the venue's own of the settlement, else on the price of that bar.
    """
    found: dict[int, Settlement] = {}
    for stamp, rate, own in settled.select("timestamp", "funding_rate", "mark").iter_rows():
        at = round(stamp.timestamp() * 1000)
        bar = perp.get(at, {})
        mark = next((m for m in (bar.get("mark_open"), own, bar.get("open")) if m is not None), None)
        if mark is not None:
            found[at] = Settlement(rate, mark)
    return found


def _by_open(table: pl.DataFrame) -> dict[int, Row]:
    stamps = table["timestamp"].dt.epoch("ms")
    return dict(zip(stamps.to_list(), table.to_dicts(), strict=True))

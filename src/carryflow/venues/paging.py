"""Long ranges of bars and settlements, page by page as each venue gives them."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from carryflow.core.errors import RejectedError, SettingsError
from carryflow.market.timeframe import Timeframe, bar_ms
from carryflow.venues.blocks import Block, cut
from carryflow.venues.connection import VenueConnection, together
from carryflow.venues.leg_tables import settlements_table

Candles = npt.NDArray[np.float64]
"""Bars as rows (open time ms, open, high, low, close, volume in base coins), in the order they came."""

Price = Literal["last", "mark", "index"]

_NO_SUCH_LENGTH = "-1120"
"""Binance's code for bars of a length that it does not have."""


async def ask_bars(
    connection: VenueConnection,
    symbol: str,
    timeframe: Timeframe,
    start: int,
    count: int,
    asked: Mapping[str, object] | None = None,
) -> Sequence[Sequence[float]]:
    """Return at most `count` bars from `start` (ms) on, as ccxt gives them.

    Raises:
        SettingsError: the venue has no bars of this length.
    """
    try:
        bars: Sequence[Sequence[float]] = await connection.ask(
            connection.exchange.fetch_ohlcv, symbol, timeframe, start, count, dict(asked or {})
        )
    except RejectedError as refusal:
        if _NO_SUCH_LENGTH not in str(refusal):
            raise
        raise SettingsError(
            f"{connection.settings.name} has no bars of {timeframe} of {symbol}: what is played from a tape "
            "has the tape's bars and longer ones; set data.timeframe to the length of the tape's bars (1h if "
            "none was recorded) or longer"
        ) from refusal
    return bars


async def fetch_bars(
    connection: VenueConnection, symbol: str, timeframe: Timeframe, block: Block, price: Price = "last"
) -> Candles:
    """Return the bars of one price that open within a block, `(n, 6)`; none where the venue has none."""
    page = connection.dialect.bars if price == "last" else connection.dialect.price_bars
    step = bar_ms(timeframe)
    asked = {} if price == "last" else {"price": price}

    async def one(start: int, end: int) -> Candles:
        rows = await ask_bars(
            connection, symbol, timeframe, start, (end - start) // step, asked | {"until": end - 1}
        )
        return np.fromiter(chain.from_iterable(rows), np.float64, 6 * len(rows)).reshape(-1, 6)

    pages = await together(*(one(*piece) for piece in cut(block, page * step)))
    found = np.concatenate(pages)
    return found[(found[:, 0] >= block[0]) & (found[:, 0] < block[1])]


async def fetch_settlements(connection: VenueConnection, symbol: str, block: Block) -> pl.DataFrame:
    """Return what settled within a block: timestamp, funding_rate, mark (null where the venue says none)."""
    funding = connection.dialect.funding
    pieces = [block] if funding.window_ms is None else cut(block, funding.window_ms)
    found = await together(*(_settlements_in(connection, symbol, piece) for piece in pieces))
    entries = [entry for piece in found for entry in piece]
    return settlements_table(entries, funding.rate, block, symbol)


async def _settlements_in(connection: VenueConnection, symbol: str, block: Block) -> list[dict[str, object]]:
    """Return the entries of a block: further pages are asked for as long as the answers are full."""
    funding = connection.dialect.funding
    start, end = block
    entries: list[dict[str, object]] = []
    while start < end:
        page: list[dict[str, object]] = await connection.ask(
            connection.exchange.fetch_funding_rate_history,
            symbol,
            start,
            funding.page,
            funding.bounds(start, end),
        )
        entries += page
        if len(page) < funding.page:
            break
        stamps = [int(str(entry["timestamp"])) for entry in page]
        start, end = (start, min(stamps)) if funding.newest_first else (max(stamps) + 1, end)
    return entries

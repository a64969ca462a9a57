"""What can be seen of a ticker only now: order books, and the funding rate that the venue predicts.

It is stamped on the bar that has just closed, where it is known a little later than that bar's close says: by
a tenth of the bar at most, and never by more than two minutes. What is seen later than that is not kept.
"""

import asyncio
from collections.abc import Mapping

from carryflow.core.leg import Leg
from carryflow.market.schedule import MAX_INTERVAL_MS
from carryflow.market.timeframe import HOUR_MS, Timeframe, bar_ms
from carryflow.venues.books import book_columns
from carryflow.venues.connection import VenueConnection
from carryflow.venues.terms import interval_hours

Seen = dict[str, float | None]
"""Columns of a leg's table with what was seen; None where the venue shows nothing."""


_LATEST_MS = 120_000


def latest_look_ms(timeframe: Timeframe) -> int:
    """Return how long after a bar's close the present may still be taken for that close (ms).

    >>> latest_look_ms("1m"), latest_look_ms("1h")
    (6000, 120000)
    """
    return min(bar_ms(timeframe) // 10, _LATEST_MS)


async def look(
    connection: VenueConnection, symbols: Mapping[Leg, str], closed_ms: int, timeframe: Timeframe
) -> dict[Leg, Seen]:
    """Return the books of both legs and, for the perpetual, the predicted rate, as of a bar's close.

    The venue is asked for its clock once all answers are there: nothing counts if it is too late by then.
    The rate is the one predicted for the first settlement after the close; another's is null.
    """
    spot, perp, predicted = await asyncio.gather(
        _book(connection, "spot", symbols["spot"]),
        _book(connection, "perp", symbols["perp"]),
        _predicted_rate(connection, symbols["perp"], closed_ms),
    )
    if await connection.now_ms() - closed_ms > latest_look_ms(timeframe):
        return {}
    return {"spot": spot, "perp": perp | {"predicted_rate": predicted}}


async def _book(connection: VenueConnection, leg: Leg, symbol: str) -> Seen:
    levels = connection.dialect.levels[leg]
    book = await connection.ask(connection.exchange.fetch_order_book, symbol, levels)
    counted = leg == "perp" and connection.dialect.sizes_in_contracts
    size = float(connection.exchange.market(symbol)["contractSize"]) if counted else 1.0
    return book_columns(book, levels, size)


async def _predicted_rate(connection: VenueConnection, symbol: str, closed_ms: int) -> float | None:
    """Return the rate per interval predicted for the first settlement after a close; None if it is not known.

    A rate that is due at the close or before has settled and stands in the history; one that is due more than
    an interval after it belongs to a settlement after the next.
    """
    if not connection.dialect.predicts or not connection.has("fetchFundingRate"):
        return None
    rate = await connection.ask(connection.exchange.fetch_funding_rate, symbol)
    due = rate["fundingTimestamp"]
    stated = interval_hours(rate["interval"])
    longest = MAX_INTERVAL_MS if stated is None else stated * HOUR_MS
    if rate["fundingRate"] is None or due is None or not closed_ms < due <= closed_ms + longest:
        return None
    return float(rate["fundingRate"])

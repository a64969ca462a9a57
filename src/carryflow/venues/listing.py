"""Since when a venue has both legs of a ticker."""

from carryflow.core.errors import MarketDataError
from carryflow.core.leg import LEGS, Leg
from carryflow.market.data import DataSettings, to_ms
from carryflow.market.gaps import KnownGap
from carryflow.market.timeframe import bar_ms
from carryflow.venues.blocks import Block
from carryflow.venues.connection import VenueConnection, together
from carryflow.venues.paging import ask_bars
from carryflow.venues.stored import NOT_LISTED, StoredTicker


async def first_bar(
    connection: VenueConnection, stored: StoredTicker, data: DataSettings, now_ms: int
) -> tuple[int, list[KnownGap]]:
    """Return the first bar to fetch (ms): as wanted, once both legs are there; and what lies before it.

    Without a start: all that the venue has, settled funding included. A leg counts as not listed yet only if
    its first bar from the wanted one on is its first bar of all, or if the venue's market list says so;
    otherwise it was halted at the start.

    Raises:
        MarketDataError: the venue has no bars, or does not say since when.
    """
    step, kept = bar_ms(data.timeframe), connection.dialect.funding.kept_ms
    wanted = 0 if data.start is None else to_ms(data.start)
    if data.start is None and kept is not None:
        wanted = now_ms - kept
    wanted = -(-wanted // step) * step
    known = stored.first_bar(wanted)
    if known is not None:
        return known, []
    symbols = {leg: connection.symbol(leg, stored.ticker, data.quote) for leg in LEGS}
    if connection.dialect.finds_first:
        listed = await _asked_for(connection, stored.ticker, symbols, data, wanted)
    else:
        listed = _stated(connection, stored.ticker, symbols, (wanted, step))
    gaps = [KnownGap(stored.ticker, leg, wanted, at, NOT_LISTED) for leg, at in listed.items() if wanted < at]
    return max(wanted, *listed.values()), gaps


async def _asked_for(
    connection: VenueConnection, ticker: str, symbols: dict[Leg, str], data: DataSettings, wanted: int
) -> dict[Leg, int]:
    """Return the first bar of each leg; `wanted` where it was listed earlier, even if it was halted then."""

    async def first(since: int) -> list[int]:
        ask = (ask_bars(connection, symbol, data.timeframe, since, 1) for symbol in symbols.values())
        found = await together(*ask)
        if not all(found):
            raise MarketDataError(
                f"{ticker}: the venue has no hours from {data.start} on; set data.start earlier"
            )
        return [int(bars[0][0]) for bars in found]

    here = of_all = await first(wanted)
    if wanted > 0 and max(here) > wanted:
        of_all = await first(0)
    pairs = zip(LEGS, here, of_all, strict=True)
    return {leg: at if at == earliest else wanted for leg, at, earliest in pairs}


def _stated(connection: VenueConnection, ticker: str, symbols: dict[Leg, str], grid: Block) -> dict[Leg, int]:
    """Return the first bar of each leg after the venue's market list says that it was there."""
    wanted, step = grid
    created = {leg: int(connection.exchange.market(s).get("created") or 0) for leg, s in symbols.items()}
    if max(wanted, *created.values()) == 0:
        raise MarketDataError(f"{ticker}: the venue does not say since when it is listed; set data.start")
    return {leg: max(wanted, -(-at // step) * step) for leg, at in created.items()}

"""One leg of one coin as the venue sees it at an instant: bars up to now, and the book."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import numpy as np
import polars as pl

from carryflow.core.leg import Leg
from carryflow.market.premium import Floats
from carryflow.market.schema import DEPTH_BANDS
from carryflow.venues.simulated.bars import PriceBars
from carryflow.venues.simulated.book import Quote, modelled_quote
from carryflow.venues.simulated.filters import MarketFilters, market_filters
from carryflow.venues.simulated.funding import Stamps
from carryflow.venues.simulated.prices import Price, index_bars, leg_bars, mark_bars, premium_bars


@dataclass(frozen=True, slots=True)
class VenueMarket:
    """Hold one leg's table as arrays `(rows,)`, its steps, and its prices' bars.

    What is `standing` has a price that was set, and that does not come bar by bar.
    """

    leg: Leg
    ticker: str
    quote: str
    bar_ms: int
    open_ms: Stamps
    columns: Mapping[str, Floats]
    filters: MarketFilters
    prices: Mapping[Price, PriceBars]
    standing: bool = False

    @property
    def symbol(self) -> str:
        """Return the venue's name of the market."""
        return self.ticker + self.quote

    def last(self, column: str, now_ms: int) -> float:
        """Return a column's value at the last closed bar; NaN where none was recorded."""
        row = self.row_at(now_ms)
        return float(self.columns[column][row]) if row >= 0 else float("nan")

    def quote_at(self, now_ms: int) -> Quote | None:
        """Return the touch and its depth at the close of the last bar; None before the first."""
        return self.quote_of(self.row_at(now_ms))

    def quote_of(self, row: int) -> Quote | None:
        """Return the touch and its depth at the close of a row's bar; None of row −1."""
        if row < 0:
            return None
        bid, ask = self._value("bid", row), self._value("ask", row)
        if np.isfinite((bid, ask)).all():
            depths = [
                tuple(self._value(c, row) for c in side) for side in zip(*DEPTH_BANDS.values(), strict=True)
            ]
            if np.isfinite(depths).any(axis=1).all():
                return Quote(bid, ask, *depths)
        high, low, close, volume = (self._value(name, row) for name in ("high", "low", "close", "volume"))
        return modelled_quote(high, low, close, volume, self.filters.tick)

    def row_at(self, now_ms: int) -> int:
        """Return the last row whose bar has closed; −1 before the first."""
        return bisect_right(self.open_ms, now_ms - self.bar_ms) - 1

    def close_after(self, now_ms: int) -> int | None:
        """Return when the next bar closes (UTC ms); None after the last."""
        row = self.row_at(now_ms) + 1
        return int(self.open_ms[row]) + self.bar_ms if row < len(self.open_ms) else None

    def shut_after(self, row: int) -> float:
        """Return the instant (UTC ms) from which a row's bar is not the last one any more.

        Where no other has closed by then the tape has a gap, in which the market is shut: what the row says
        is no price of then.
        """
        return inf if self.standing else int(self.open_ms[row]) + 2 * self.bar_ms

    def shut_at(self, now_ms: int) -> bool:
        """Say whether nobody trades: before the first bar has closed, and in a gap of the tape."""
        row = self.row_at(now_ms)
        return row < 0 or now_ms >= self.shut_after(row)

    def _value(self, column: str, row: int) -> float:
        return float(self.columns[column][row])


def venue_markets(
    tables: Mapping[tuple[Leg, str], pl.DataFrame], quote: str, bar_ms: int
) -> dict[tuple[Leg, str], VenueMarket]:
    """Make the venue's markets, by leg and symbol, out of the tables of both legs of every coin."""
    markets: dict[tuple[Leg, str], VenueMarket] = {}
    for (leg, ticker), table in sorted(tables.items()):
        prices: dict[Price, PriceBars] = {"trade": leg_bars(table, bar_ms)}
        if leg == "perp":
            prices["mark"] = mark_bars(table, bar_ms)
            prices["index"] = index_bars(table, tables.get(("spot", ticker)), bar_ms)
            prices["premium"] = premium_bars(table, prices["index"], bar_ms)
        markets[leg, ticker + quote] = _market(leg, ticker, quote, bar_ms, table, prices)
    return markets


def _market(
    leg: Leg, ticker: str, quote: str, bar_ms: int, table: pl.DataFrame, prices: Mapping[Price, PriceBars]
) -> VenueMarket:
    columns = {name: table[name].to_numpy() for name in table.columns if name != "timestamp"}
    return VenueMarket(
        leg=leg,
        ticker=ticker,
        quote=quote,
        bar_ms=bar_ms,
        open_ms=table["timestamp"].dt.epoch("ms").to_numpy(),
        columns=columns,
        filters=market_filters(leg, columns["close"]),
        prices=prices,
    )

"""One leg of one coin as the venue sees it at an instant: bars up to now, marks, settlements and the book."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from carryflow.market.premium import Floats
from carryflow.market.schema import BAR_MS, BOOK_COLUMNS, Leg
from carryflow.venues.simulated.book import Quote, modelled_quote
from carryflow.venues.simulated.decimals import plain
from carryflow.venues.simulated.filters import MarketFilters, market_filters

Stamps = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class VenueMarket:
    """Hold one leg's table as arrays `(rows,)`, its steps, and answer what the venue knew at an instant."""

    leg: Leg
    ticker: str
    quote: str
    open_ms: Stamps
    columns: dict[str, Floats]
    filters: MarketFilters

    @property
    def symbol(self) -> str:
        """Return the venue's name of the market."""
        return self.ticker + self.quote

    def rows(self, start_ms: int | None, end_ms: int, now_ms: int, limit: int) -> slice:
        """Return which rows a kline request gets: from the start on, or the last ones without a start."""
        stop = int(np.searchsorted(self.open_ms, min(end_ms, now_ms - 1), side="right"))
        if start_ms is None:
            return slice(max(0, stop - limit), stop)
        first = int(np.searchsorted(self.open_ms, start_ms))
        return slice(first, max(first, min(stop, first + limit)))

    def klines(self, rows: slice, now_ms: int) -> list[list[object]]:
        """Return bars in Binance's form; of a bar that is still open an hourly tape knows only its open.

        Quote volume is base volume at the bar's mean price; counts of trades and taker volumes were not
        recorded and are zero.
        """
        table = [self.columns[name][rows].tolist() for name in ("open", "high", "low", "close", "volume")]
        bars = []
        for stamp, *bar in zip(self.open_ms[rows].tolist(), *table, strict=True):
            o, h, low, c, v = bar if stamp + BAR_MS <= now_ms else (*[bar[0]] * 4, 0.0)
            prices = [plain(o), plain(h), plain(low), plain(c), plain(v)]
            bars.append(
                [stamp, *prices, stamp + BAR_MS - 1, plain(v * (o + h + low + c) / 4), 0, "0", "0", "0"]
            )
        return bars

    def mark_klines(self, rows: slice, now_ms: int) -> list[list[object]]:
        """Return the mark price's bars, without the hours for which none was published.

        Only open and close were recorded: high and low are the larger and the smaller of them.
        """
        opens, closes = self.columns["mark_open"][rows].tolist(), self.columns["mark_close"][rows].tolist()
        bars: list[list[object]] = []
        for stamp, o, c in zip(self.open_ms[rows].tolist(), opens, closes, strict=True):
            if np.isfinite(o) and np.isfinite(c):
                close = c if stamp + BAR_MS <= now_ms else o
                prices = [plain(o), plain(max(o, close)), plain(min(o, close)), plain(close)]
                bars.append([stamp, *prices, "0", stamp + BAR_MS - 1, "0", 0, "0", "0", "0"])
        return bars

    def settled(self, now_ms: int) -> Stamps:
        """Return the rows at whose stamp funding settled, up to now."""
        rows: Stamps = np.flatnonzero(np.isfinite(self.columns["funding_rate"]) & (self.open_ms <= now_ms))
        return rows

    def last_row(self, now_ms: int) -> int:
        """Return the last row whose bar has closed; -1 before the first."""
        return int(np.searchsorted(self.open_ms, now_ms - BAR_MS, side="right")) - 1

    def quote_at(self, now_ms: int) -> Quote | None:
        """Return the touch and its depth at the close of the last bar; None before the first."""
        row = self.last_row(now_ms)
        if row < 0:
            return None
        recorded = [float(self.columns[name][row]) for name in BOOK_COLUMNS]
        if np.isfinite(recorded).all():
            return Quote(*recorded)
        high, low, close, volume = (
            float(self.columns[name][row]) for name in ("high", "low", "close", "volume")
        )
        return modelled_quote(high, low, close, volume, self.filters.tick)


def venue_market(leg: Leg, ticker: str, quote: str, table: pl.DataFrame) -> VenueMarket:
    """Make a venue's market out of a leg's table."""
    stamps = table["timestamp"].dt.epoch("ms").to_numpy()
    columns = {name: table[name].to_numpy() for name in table.columns if name != "timestamp"}
    return VenueMarket(leg, ticker, quote, stamps, columns, market_filters(leg, float(columns["close"][-1])))

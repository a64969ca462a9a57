"""Bars of one price, at the tape's length and every longer one, as the venue knew them at an instant."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from carryflow.venues.simulated.decimals import plain_column

_TOTALS = ("volume", "quote_volume")
_BAR = ("open", "high", "low", "close", *_TOTALS)


@dataclass(frozen=True, slots=True)
class PriceBars:
    """Hold one price's bars: open_ms, open, high, low, close, volume (base), quote_volume; no nulls.

    Longer bars are made from the tape's when they are first asked for. Like Binance's, they begin at whole
    multiples of their length since 1970, and where the tape holds nothing there is no bar.
    """

    tape: pl.DataFrame
    bar_ms: int
    _longer: dict[int, pl.DataFrame] = field(default_factory=dict)

    def page(
        self, length_ms: int, start_ms: int | None, end_ms: int, now_ms: int, limit: int
    ) -> pl.DataFrame:
        """Return at most `limit` bars that open in [start, end]; without a start the last ones up to the end.

        Of the bar that is still open the venue knows the tape's bars that have closed, and the open of the
        one that has not.
        """
        bars = self._of_length(length_ms)
        opens = bars["open_ms"].to_numpy()
        stop = int(np.searchsorted(opens, min(end_ms, now_ms - 1), side="right"))
        first = max(0, stop - limit) if start_ms is None else int(np.searchsorted(opens, start_ms))
        rows = bars[first : max(first, min(stop, first + limit))]
        if len(rows) and rows["open_ms"][-1] + length_ms > now_ms:
            return pl.concat([rows[:-1], self._running(length_ms, rows["open_ms"][-1], now_ms)])
        return rows

    def closed(self, start_ms: int, now_ms: int) -> pl.DataFrame:
        """Return the tape's bars that open at the start or later and have closed."""
        opens = self.tape["open_ms"].to_numpy()
        first, stop = (int(np.searchsorted(opens, at)) for at in (start_ms, now_ms - self.bar_ms + 1))
        return self.tape[first : max(first, stop)]

    def _of_length(self, length_ms: int) -> pl.DataFrame:
        if length_ms == self.bar_ms:
            return self.tape
        if length_ms not in self._longer:
            self._longer[length_ms] = _lengthen(self.tape, length_ms)
        return self._longer[length_ms]

    def _running(self, length_ms: int, open_ms: int, now_ms: int) -> pl.DataFrame:
        """Return the bar that opened at `open_ms`, as far as it has come."""
        opened = self.tape.filter(pl.col("open_ms").is_between(open_ms, now_ms - 1))
        unfinished = pl.col("open_ms") + self.bar_ms > now_ms
        known = opened.with_columns(
            *(pl.when(unfinished).then("open").otherwise(c).alias(c) for c in ("high", "low", "close")),
            *(pl.when(unfinished).then(0.0).otherwise(c).alias(c) for c in _TOTALS),
        )
        return _lengthen(known, length_ms)


def _lengthen(bars: pl.DataFrame, length_ms: int) -> pl.DataFrame:
    """Join bars that begin in the same multiple of `length_ms`."""
    return bars.group_by(pl.col("open_ms") // length_ms * length_ms, maintain_order=True).agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        *(pl.col(c).sum() for c in _TOTALS),
    )


def klines_json(bars: pl.DataFrame, length_ms: int) -> str:
    """Return bars as the JSON of Binance's klines.

    Counts of trades and taker volumes were not recorded and are zero.
    """
    opens = bars["open_ms"]
    cells = bars.select(opens, (opens + length_ms - 1).alias("close_ms"), *map(plain_column, bars[_BAR]))
    row = pl.format(
        '[{},"{}","{}","{}","{}","{}",{},"{}",0,"0","0","0"]', "open_ms", *_BAR[:5], "close_ms", _BAR[5]
    )
    return f"[{','.join(cells.select(row).to_series().to_list())}]"

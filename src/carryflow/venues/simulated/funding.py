"""What a perpetual has settled up to an instant, and what its next settlement would be if it came now."""

import zlib
from dataclasses import dataclass
from math import isnan
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from carryflow.market.premium import INTERVAL_HOURS, Floats, settled_rate
from carryflow.market.timeframe import HOUR_MS
from carryflow.venues.simulated.bars import PriceBars
from carryflow.venues.simulated.decimals import plain

Stamps = npt.NDArray[np.int64]

RATE_DECIMALS = 8
"""Decimals that Binance gives a funding rate."""

_LATEST_STAMP_MS = 12


def settlement_delay_ms(symbol: str, settled_ms: int) -> int:
    """Return how late a settlement is stamped, 0 to 12 ms, as in the field, and always alike."""
    return zlib.crc32(f"{symbol}{settled_ms}".encode()) % (_LATEST_STAMP_MS + 1)


@dataclass(frozen=True, slots=True)
class Settlement:
    """Tell what settles when: the rate (fraction of notional) and the mark; None where the tape has none."""

    settled_ms: int
    rate: float
    mark: float | None


@dataclass(frozen=True, slots=True)
class FundingHistory:
    """Hold a perpetual's settlements `(n,)`: when they happened, how they are stamped, rate and mark."""

    symbol: str
    settled_ms: Stamps
    stamped_ms: Stamps
    rate: Floats
    mark: Floats

    @classmethod
    def of(cls, symbol: str, perp: pl.DataFrame) -> Self:
        """Take the settlements out of a perpetual's table; the mark is the one that the bar opened with."""
        paid = perp.filter(pl.col("funding_rate").is_not_null())
        settled = paid["timestamp"].dt.epoch("ms").to_numpy()
        late = np.array([settlement_delay_ms(symbol, at) for at in settled.tolist()], dtype=np.int64)
        return cls(
            symbol, settled, settled + late, paid["funding_rate"].to_numpy(), paid["mark_open"].to_numpy()
        )

    def page(self, start_ms: int | None, end_ms: int, limit: int) -> list[dict[str, Any]]:
        """Return at most `limit` settlements stamped in [start, end]; without a start the last ones."""
        stop = int(np.searchsorted(self.stamped_ms, end_ms, side="right"))
        if start_ms is None:
            return [self._entry(row) for row in range(max(0, stop - limit), stop)]
        first = int(np.searchsorted(self.stamped_ms, start_ms))
        return [self._entry(row) for row in range(first, min(stop, first + limit))]

    def next_after(self, now_ms: int) -> Settlement | None:
        """Return the first settlement after an instant; None after the last."""
        row = self._count(now_ms)
        if row == len(self.settled_ms):
            return None
        mark = float(self.mark[row])
        return Settlement(int(self.settled_ms[row]), float(self.rate[row]), None if isnan(mark) else mark)

    def last_ms(self, now_ms: int) -> int | None:
        """Return when funding last settled; None before the first time."""
        settled = self._count(now_ms)
        return int(self.settled_ms[settled - 1]) if settled else None

    def interval_hours(self, now_ms: int) -> int:
        """Return the hours between the last two settlements; Binance's eight before there are two."""
        settled = self._count(now_ms)
        if settled < 2:
            return INTERVAL_HOURS
        return int(self.settled_ms[settled - 1] - self.settled_ms[settled - 2]) // HOUR_MS

    def _count(self, now_ms: int) -> int:
        return int(np.searchsorted(self.settled_ms, now_ms, side="right"))

    def _entry(self, row: int) -> dict[str, Any]:
        mark = float(self.mark[row])
        return {
            "symbol": self.symbol,
            "fundingTime": int(self.stamped_ms[row]),
            "fundingRate": plain(float(self.rate[row])),
            "markPrice": "" if isnan(mark) else plain(mark),
        }


def running_rate(premium: PriceBars, since_ms: int, interval_hours: int, now_ms: int) -> float:
    """Return the rate per interval that would settle if the interval ended now; NaN without any premium.

    It averages the premium index at the closes of the bars since the last settlement, as the venue's formula
    does with its minutes; before the first of them has closed, the last premium before stands for them.
    Intervals other than eight hours pay their share of the eight hours' rate. Settlements that a tape
    recorded came from finer premiums than its bars hold, so they differ from the last running rate.

    Source of the share: Binance, "Introduction to Binance Futures Funding Rates",
    F = [P̄ + clamp(I − P̄, −0.05 %, 0.05 %)] / (8 / N) with N hours between settlements.
    """
    values = premium.closed(since_ms, now_ms)["close"].to_numpy()
    if not len(values):
        values = premium.closed(now_ms - 2 * premium.bar_ms + 1, now_ms)["close"].to_numpy()
    if not len(values):
        return float("nan")
    return float(settled_rate(values)) * interval_hours / INTERVAL_HOURS

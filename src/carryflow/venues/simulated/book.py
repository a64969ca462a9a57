"""The order book at the close of a bar: recorded quotes and depth where there are any, else a simple model.

The model: the spread is one tick or 0.05 % of the bar's range, whichever is wider, and 1 % of the bar's
turnover rests within 10 bp of the mid on each side. One-second books of BTC and ETH on Binance (8 August
2024) held 0.7 to 2.2 % of the hour's turnover there. Quantity grows linearly away from the touch up to 10 bp
and stays as it was there beyond, so that 5, 50 and 100 bp hold a quarter, nine and nineteen times as much.
"""

from dataclasses import dataclass

import numpy as np

from carryflow.market.premium import Floats
from carryflow.market.schema import DEPTH_BANDS

_BANDS = tuple(DEPTH_BANDS)
_MODEL = np.array([0.25, 1.0, 9.0, 19.0])
"""Depth within each band over the depth within 10 bp."""

_TEN_BP = 1
_LEVELS_PER_BAND = 20
_RANGE_SHARE = 0.0005
_TURNOVER_SHARE = 0.01
_LEAST_DEPTH = 1_000.0

Depths = tuple[float, ...]
"""Quote value resting within 5, 10, 50 and 100 bp of the mid; NaN where nobody recorded it."""


@dataclass(frozen=True, slots=True)
class Quote:
    """Hold the touch, and each side's depth within each band; at least one of them is known."""

    bid: float
    ask: float
    bid_depths: Depths
    ask_depths: Depths


@dataclass(frozen=True, slots=True)
class Ladder:
    """Hold both sides of a book, best price first: price and quantity (base), `(levels,)` of at most 80."""

    bid_price: Floats
    bid_qty: Floats
    ask_price: Floats
    ask_qty: Floats


def modelled_quote(high: float, low: float, close: float, volume: float, tick: float) -> Quote:
    """Return the quote that the module's model gives for a bar whose book nobody recorded."""
    ticks = max(1, round(_RANGE_SHARE * (high - low) / tick))
    depth = max(_LEAST_DEPTH, _TURNOVER_SHARE * volume * close)
    bid = (round(close / tick) - ticks // 2) * tick
    digits = round(-np.log10(tick))
    depths = tuple((_MODEL * depth).tolist())
    return Quote(round(bid, digits), round(bid + ticks * tick, digits), depths, depths)


def ladder(quote: Quote, tick: float) -> Ladder:
    """Spread a quote's depth over price levels, so that those within each band sum up to its depth."""
    mid = (quote.bid + quote.ask) / 2
    bids = _side(mid, mid - quote.bid, quote.bid_depths, tick)
    asks = _side(mid, quote.ask - mid, quote.ask_depths, tick)
    digits = round(-np.log10(tick)) + 2
    below, above = (
        np.concatenate([[touch], np.round(touch + away * steps[1:] * tick, digits)])
        for touch, away, (steps, _) in ((quote.bid, -1, bids), (quote.ask, 1, asks))
    )
    return Ladder(below, bids[1] / below, above, asks[1] / above)


def _side(mid: float, reach: float, depths: Depths, tick: float) -> tuple[Floats, Floats]:
    """Return one side's levels, in ticks from the touch, and the quote value at each.

    `reach` is how far the touch is from the mid. A band in which no tick fits leaves its value to the next;
    what the touch itself lies beyond rests at the touch.
    """
    ends = [int(np.floor((mid * band - reach) / tick + 1e-7)) for band in _BANDS]
    steps: list[Floats] = []
    values: list[Floats] = []
    begin, owed = 0, 0.0
    for end, more in zip(ends, np.diff(_whole(depths), prepend=0.0), strict=True):
        owed += float(more)
        if begin <= end and owed > 0:
            count = min(_LEVELS_PER_BAND, end - begin + 1)
            fresh = np.unique(np.linspace(begin, end, count).round())
            weight = np.minimum(fresh, max(ends[_TEN_BP], 0)) + 1
            steps.append(fresh)
            values.append(owed * weight / weight.sum())
            begin, owed = end + 1, 0.0
    if not steps:
        return np.zeros(1), np.array([owed])
    return np.concatenate(steps), np.concatenate(values)


def _whole(depths: Depths) -> Floats:
    """Fill depths that nobody recorded from the model, between the recorded ones."""
    known = np.array(depths)
    has = np.isfinite(known)
    nearest = int(np.argmin(np.where(has, np.abs(np.arange(len(known)) - _TEN_BP), len(known))))
    filled = np.where(has, known, _MODEL * known[nearest] / _MODEL[nearest])
    capped: Floats = np.minimum.accumulate(np.where(has, known, np.inf)[::-1])[::-1]
    whole: Floats = np.maximum.accumulate(np.minimum(filled, capped))
    return whole

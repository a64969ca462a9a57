"""What ccxt answers, as tables of the market's schema."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from carryflow.core.errors import CoverageError, MarketDataError
from carryflow.market.schema import BAR_MS, DEPTH_BAND, TIMESTAMP, name_rows
from carryflow.venues.blocks import Block

SETTLEMENT_GRID_MS = 60_000
"""Settlements are stamped milliseconds late; what happened within this minute happened at its start."""

_BAR = ("open", "high", "low", "close", "volume")


def bars_table(candles: Sequence[Sequence[float]], block: Block) -> pl.DataFrame:
    """Return ccxt's candles (stamp, open, high, low, close, volume) within a block as a table."""
    inside = [row for row in candles if block[0] <= row[0] < block[1]]
    table = pl.DataFrame(
        [[row[i] for row in inside] for i in range(6)],
        schema={"timestamp": pl.Int64, **dict.fromkeys(_BAR, pl.Float64)},
    )
    return (
        table.with_columns(pl.col("timestamp").cast(TIMESTAMP))
        .unique("timestamp", keep="last")
        .sort("timestamp")
    )


def perp_table(
    candles: Sequence[Sequence[float]],
    marks: Sequence[Sequence[float]],
    settlements: Sequence[dict[str, Any]],
    block: Block,
) -> pl.DataFrame:
    """Return the perpetual's bars in a block with the mark price's and the settlements beside them.

    Raises:
        CoverageError: funding settled in an hour that has no bar.
        MarketDataError: a settlement's stamp is not on the hour.
    """
    bars = bars_table(candles, block)
    mark = bars_table(marks, block).select("timestamp", mark_open="open", mark_close="close")
    stamps = [snap_settlement(int(s["timestamp"])) for s in settlements]
    paid = pl.DataFrame(
        {"timestamp": stamps, "funding_rate": [float(s["fundingRate"]) for s in settlements]},
        schema={"timestamp": pl.Int64, "funding_rate": pl.Float64},
    ).filter(pl.col("timestamp").is_between(block[0], block[1], closed="left"))
    paid = paid.with_columns(pl.col("timestamp").cast(TIMESTAMP))
    lost = paid.join(bars, on="timestamp", how="anti")["timestamp"]
    if len(lost):
        raise CoverageError(
            f"funding settled at {name_rows(lost)} but the perpetual has no bar there; fetch again"
        )
    return (
        bars.join(mark, on="timestamp", how="left").join(paid, on="timestamp", how="left").sort("timestamp")
    )


def snap_settlement(stamp_ms: int) -> int:
    """Return the instant that a settlement belongs to, given the venue's slightly late stamp.

    >>> snap_settlement(1_735_689_600_007)
    1735689600000

    Raises:
        MarketDataError: the minute it fell in is not a full hour.
    """
    instant = stamp_ms // SETTLEMENT_GRID_MS * SETTLEMENT_GRID_MS
    if instant % BAR_MS:
        raise MarketDataError(
            f"a settlement is stamped {stamp_ms} ms, which is not on the hour; hourly bars cannot hold it"
        )
    return instant


def book_columns(book: dict[str, Any]) -> dict[str, float]:
    """Return the touch of ccxt's order book, and the quote value within 10 bp of the mid on each side.

    Where the venue's answer ends before 10 bp, the depth is what the answer held.

    Raises:
        MarketDataError: a side of the book is empty.
    """
    if not book["bids"] or not book["asks"]:
        raise MarketDataError(
            f"the order book of {book.get('symbol')} is empty on one side; fetch again later"
        )
    bids, asks = (
        np.array([level[:2] for level in book[side]], dtype=np.float64) for side in ("bids", "asks")
    )
    mid = (bids[0, 0] + asks[0, 0]) / 2
    near = mid * DEPTH_BAND * (1 + 1e-9)
    return {
        "bid": float(bids[0, 0]),
        "ask": float(asks[0, 0]),
        "bid_depth": float(np.prod(bids[mid - bids[:, 0] <= near], axis=1).sum()),
        "ask_depth": float(np.prod(asks[asks[:, 0] - mid <= near], axis=1).sum()),
    }

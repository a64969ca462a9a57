"""The market that faults are injected into: minutes that move, the same for every seed."""

from functools import cache

import polars as pl

from carryflow.market.coins import COINS, tick_size
from carryflow.market.schema import TIMESTAMP
from carryflow.market.synthetic import SyntheticSettings, synthetic_market
from carryflow.market.timeframe import HOUR_MS
from carryflow.venues.simulated.tape import Tape

TICKERS = ("BTC", "ETH", "SOL")
QUOTE = "USDT"
MINUTE_MS = 60_000

_CALM = 0.3
"""Exponent that makes a synthetic hour's move one that a minute may have: a tenth of a percent, or so."""

_FUNDING_HOURS = 8


@cache
def minute_tape(hours: int) -> Tape:
    """Return a tape of minutes, so many hours long; each is a synthetic hour, calmed down."""
    settings = SyntheticSettings(seed=11, hours=hours * 60)
    drawn = synthetic_market(settings, TICKERS)
    first = int(drawn["perp", TICKERS[0]]["timestamp"].dt.epoch("ms")[0])
    tables = {}
    for (leg, ticker), table in drawn.items():
        anchor = float(drawn["spot", ticker]["close"][0])
        minutes = _calmed(table, anchor, tick_size(COINS[ticker].price))
        if leg == "perp":
            due = pl.int_range(pl.len()) % (_FUNDING_HOURS * 60) == 0
            minutes = minutes.with_columns(pl.when(due).then(0.0003).alias("funding_rate"))
        stamps = pl.int_range(first, first + hours * HOUR_MS, MINUTE_MS, eager=True).cast(TIMESTAMP)
        tables[leg, ticker] = minutes.with_columns(stamps.alias("timestamp"))
    return Tape(f"minutes-{hours}", tables, first + hours * HOUR_MS, QUOTE, MINUTE_MS)


def _calmed(table: pl.DataFrame, anchor: float, tick: float) -> pl.DataFrame:
    """Shrink the moves of a leg around a price; what stands beside the close keeps its distance from it."""
    beside = [c for c in ("high", "low", "bid", "ask", "mark_close") if c in table.columns]
    calm = anchor * (pl.col("close") / anchor) ** _CALM
    moved = table.with_columns(calm.alias("close"), *(pl.col(c) / pl.col("close") * calm for c in beside))
    opens = [pl.col("close").shift(1).fill_null(pl.col("close")).alias("open")]
    if "mark_open" in table.columns:
        opens.append(pl.col("mark_close").shift(1).fill_null(pl.col("mark_close")).alias("mark_open"))
    moved = moved.with_columns(*opens)
    on_tick = [(pl.col(c) / tick).round() * tick for c in ("open", "high", "low", "close", "bid", "ask")]
    digits = len(f"{tick:.10f}".rstrip("0").split(".")[1])
    return moved.with_columns(*(price.round(digits) for price in on_tick)).with_columns(
        pl.max_horizontal("open", "high", "close").alias("high"),
        pl.min_horizontal("open", "low", "close").alias("low"),
    )

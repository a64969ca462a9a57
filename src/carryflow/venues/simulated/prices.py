"""The prices that a venue publishes bars of: traded, mark, index, and the premium of the perpetual."""

from typing import Literal

import polars as pl

from carryflow.venues.simulated.bars import PriceBars

Price = Literal["trade", "mark", "index", "premium"]

_OPEN_MS = pl.col("timestamp").dt.epoch("ms").alias("open_ms")
_NOTHING = pl.lit(0.0)

_DECIMALS = 8
"""Decimals that Binance gives a premium."""


def leg_bars(table: pl.DataFrame, bar_ms: int) -> PriceBars:
    """Return a leg's traded bars; quote volume is base volume at the bar's mean price, in cents."""
    mean = (pl.col("open") + pl.col("high") + pl.col("low") + pl.col("close")) / 4
    columns = ("open", "high", "low", "close", "volume")
    return PriceBars(
        table.select(_OPEN_MS, *columns, quote_volume=(pl.col("volume") * mean).round(2)), bar_ms
    )


def mark_bars(perp: pl.DataFrame, bar_ms: int) -> PriceBars:
    """Return the mark price's bars, without those for which none was published."""
    return PriceBars(_from_edges(perp.select(_OPEN_MS, open="mark_open", close="mark_close")), bar_ms)


def index_bars(perp: pl.DataFrame, spot: pl.DataFrame | None, bar_ms: int) -> PriceBars:
    """Return the index price's bars: as recorded, else the spot price, the only one in a one-venue world.

    While spot is halted there is no index, unless one was recorded.
    """
    prices = perp.select(_OPEN_MS, "index_open", "index_close")
    if spot is None:
        return PriceBars(_from_edges(prices.rename({"index_open": "open", "index_close": "close"})), bar_ms)
    both = prices.join(
        spot.select(_OPEN_MS, "open", "high", "low", "close"), on="open_ms", how="full", coalesce=True
    ).sort("open_ms")
    recorded = pl.col("index_open").is_not_null() & pl.col("index_close").is_not_null()
    edges = _from_edges(both.filter(recorded).select("open_ms", open="index_open", close="index_close"))
    traded = both.filter(~recorded & pl.col("open").is_not_null()).select(
        "open_ms", "open", "high", "low", "close", volume=_NOTHING, quote_volume=_NOTHING
    )
    return PriceBars(pl.concat([edges, traded]).sort("open_ms"), bar_ms)


def premium_bars(perp: pl.DataFrame, index: PriceBars, bar_ms: int) -> PriceBars:
    """Return the bars of the premium index: by how much the perpetual traded over the index, as a fraction.

    Binance takes the premium from the impact bid and ask of each moment; a tape of bars has the traded
    price at each bar's edges instead.
    """
    joined = perp.select(_OPEN_MS, "open", "close").join(
        index.tape.select("open_ms", index_open="open", index_close="close"), on="open_ms"
    )
    edges = joined.select(
        "open_ms",
        open=(pl.col("open") / pl.col("index_open") - 1).round(_DECIMALS),
        close=(pl.col("close") / pl.col("index_close") - 1).round(_DECIMALS),
    )
    return PriceBars(_from_edges(edges), bar_ms)


def _from_edges(bars: pl.DataFrame) -> pl.DataFrame:
    """Return bars of which only open and close are known: high and low are the larger and the smaller."""
    known = bars.filter(pl.col("open").is_not_null() & pl.col("close").is_not_null())
    return known.select(
        "open_ms",
        "open",
        high=pl.max_horizontal("open", "close"),
        low=pl.min_horizontal("open", "close"),
        close="close",
        volume=_NOTHING,
        quote_volume=_NOTHING,
    )

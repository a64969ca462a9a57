"""What ccxt answers, as tables of the market's schema."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from carryflow.core.errors import MarketDataError
from carryflow.market.schema import TIMESTAMP, name_rows
from carryflow.market.settlements import snap_settlement
from carryflow.market.timeframe import Timeframe, bar_ms, holds_settlements
from carryflow.venues.blocks import Block

_BAR = ("open", "high", "low", "close", "volume")


def bars_table(candles: npt.NDArray[np.float64]) -> pl.DataFrame:
    """Return candles `(n, 6)` (stamp ms, open, high, low, close, volume) as a table, one row per stamp."""
    columns = {name: np.ascontiguousarray(candles[:, i + 1]) for i, name in enumerate(_BAR)}
    table = pl.DataFrame({"timestamp": candles[:, 0].astype(np.int64), **columns})
    if not (np.diff(candles[:, 0]) > 0).all():
        table = table.unique("timestamp", keep="last").sort("timestamp")
    return table.with_columns(pl.col("timestamp").cast(TIMESTAMP))


def price_table(candles: npt.NDArray[np.float64], price: str) -> pl.DataFrame:
    """Return the opens and closes of mark or index candles as `{price}_open`, `{price}_close`."""
    table = bars_table(candles).select(
        "timestamp", pl.col("open").alias(f"{price}_open"), pl.col("close").alias(f"{price}_close")
    )
    return table.with_columns(pl.col(pl.Float64).fill_nan(None))


def perp_table(
    bars: pl.DataFrame,
    marks: pl.DataFrame,
    indices: pl.DataFrame,
    settled: pl.DataFrame,
    ticker: str,
    timeframe: Timeframe = "1h",
) -> pl.DataFrame:
    """Return the perpetual's bars with mark and index prices beside them, and the settlements at their opens.

    Bars of more than an hour may see several settlements: their `funding_rate` is null. What settled where
    the perpetual has no bar is left out; whoever checks the whole must tell.

    Raises:
        MarketDataError: a settlement's stamp is at no bar's open.
    """
    table = bars.join(marks, on="timestamp", how="left").join(indices, on="timestamp", how="left")
    if not holds_settlements(timeframe):
        return table.with_columns(funding_rate=pl.lit(None, pl.Float64)).sort("timestamp")
    off = settled.filter(pl.col("timestamp").dt.epoch("ms") % bar_ms(timeframe) != 0)["timestamp"]
    if len(off):
        raise MarketDataError(
            f"{ticker}: funding settled at {name_rows(off)}, where no bar of {timeframe} opens: bars "
            "of this length cannot hold it; set data.timeframe=1m"
        )
    paid = settled.select("timestamp", "funding_rate")
    return table.join(paid, on="timestamp", how="left").sort("timestamp")


def settlements_table(
    entries: Sequence[Mapping[str, Any]], rate: Callable[[Mapping[str, Any]], Any], block: Block, symbol: str
) -> pl.DataFrame:
    """Return the entries of ccxt's funding history that settled within a block, one row per instant.

    `rate` says which of an entry's numbers settled. The mark is Binance's own at the settlement; others give
    none, and it is null.

    Raises:
        MarketDataError: an entry holds no rate.
    """
    stamps = [snap_settlement(int(entry["timestamp"])) for entry in entries]
    rates = [rate(entry) for entry in entries]
    if None in rates:
        at = pl.Series([stamps[i] for i, value in enumerate(rates) if value is None]).cast(TIMESTAMP)
        raise MarketDataError(
            f"{symbol}: the venue names no settled rate at {name_rows(at)}; fetch again later"
        )
    marks = [float(entry["info"].get("markPrice") or "nan") for entry in entries]
    table = pl.DataFrame(
        {"timestamp": stamps, "funding_rate": [float(value) for value in rates], "mark": marks},
        schema={"timestamp": pl.Int64, "funding_rate": pl.Float64, "mark": pl.Float64},
    )
    inside = table.filter(pl.col("timestamp").is_between(block[0], block[1], closed="left"))
    return (
        inside.with_columns(pl.col("timestamp").cast(TIMESTAMP), pl.col("mark").fill_nan(None))
        .unique("timestamp", keep="last")
        .sort("timestamp")
    )

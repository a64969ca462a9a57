"""Two legs on one hourly grid: prices at each close, settlements at each open, halts marked."""

import polars as pl

from carryflow.core.errors import CoverageError
from carryflow.market.coverage import check_coverage
from carryflow.market.data import DataSettings
from carryflow.market.schema import BAR_MS


def align_legs(spot: pl.DataFrame, perp: pl.DataFrame, ticker: str, data: DataSettings) -> pl.DataFrame:
    """Join the two legs of a ticker on the hours that both cover, one row per hour and no hour left out.

    Where spot was halted and the perpetual traded on, the row carries the last spot price, trades nothing
    there (`Tradable` false) and keeps the last basis at which both legs could be traded: a basis against a
    price that nobody could trade at is no basis. Where the venue published no mark, the perpetual's own price
    stands in, as `data.mark` allows.

    Returns:
        Ticker, Date (bar's open), KnownAt (its close), SpotPrice, PerpPrice, MarkPrice (at KnownAt),
        SettleMark (mark at Date), FundingRate (settled at Date, null where nothing did), Basis (PerpPrice −
        SpotPrice, quote), basis_bp (of spot price, halts carried), Spread (recorded quoted spread, mean of
        the legs, basis points; null where no book was recorded), Depth (recorded quote value within 10 bp,
        thinnest of the four sides), perp_high, perp_low, perp_quote_volume (close × volume), Tradable.

    Raises:
        CoverageError: bars, marks or settlements are missing beyond what the settings tolerate.

    """
    coverage = check_coverage(spot, perp, ticker, data)
    joined = (
        perp.join(spot, on="timestamp", how="full", suffix="_spot", coalesce=True)
        .sort("timestamp")
        .with_columns(halted=pl.col("close_spot").is_null(), spot=pl.col("close_spot").forward_fill())
        .filter(pl.col("timestamp").dt.epoch("ms").is_between(coverage.start_ms, coverage.end_ms - BAR_MS))
    )
    if joined["spot"].null_count():
        raise CoverageError(
            f"{ticker}: spot was halted at {joined['timestamp'][0]:%Y-%m-%d %H:%M} and no earlier price is "
            "known; set data.start to a later hour"
        )
    basis = pl.col("close") - pl.col("spot")
    return joined.select(
        Ticker=pl.lit(ticker),
        Date="timestamp",
        KnownAt=pl.col("timestamp") + pl.duration(milliseconds=BAR_MS),
        SpotPrice="spot",
        PerpPrice="close",
        MarkPrice=pl.coalesce("mark_close", "close"),
        SettleMark=pl.coalesce("mark_open", "open"),
        FundingRate="funding_rate",
        Basis=basis,
        basis_bp=pl.when(~pl.col("halted")).then(basis / pl.col("spot") * 1e4).forward_fill(),
        Spread=(_spread_bp("") + _spread_bp("_spot")) / 2,
        Depth=_thinnest("bid_depth", "ask_depth", "bid_depth_spot", "ask_depth_spot"),
        perp_high="high",
        perp_low="low",
        perp_quote_volume=pl.col("close") * pl.col("volume"),
        Tradable=~pl.col("halted"),
    )


def _spread_bp(leg: str) -> pl.Expr:
    bid, ask = pl.col(f"bid{leg}"), pl.col(f"ask{leg}")
    return (ask - bid) / ((ask + bid) / 2) * 1e4


def _thinnest(*sides: str) -> pl.Expr:
    recorded = pl.all_horizontal(pl.col(sides).is_not_null())
    return pl.when(recorded).then(pl.min_horizontal(sides))

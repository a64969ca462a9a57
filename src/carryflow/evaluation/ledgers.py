"""What is read off a ledger: the tickers pooled into one account, and what it was all worth."""

import polars as pl

from carryflow.evaluation.metrics import PARTS, Metrics, PolicyScore, Split, measure


def pool(ledger: pl.DataFrame) -> pl.DataFrame:
    """Add up the tickers' accounts hour by hour.

    Args:
        ledger: one policy's rows, as `backtest` gives them.

    Returns:
        timestamp, equity, traded and the parts of profit (quote), sorted by timestamp.
    """
    return ledger.group_by("timestamp").agg(pl.col("equity", "traded", *PARTS).sum()).sort("timestamp")


def score(ledger: pl.DataFrame) -> PolicyScore:
    """Measure one policy's ledger, pooled and ticker by ticker.

    Args:
        ledger: one policy's rows, as `backtest` gives them.
    """
    accounts = {str(ticker): account for (ticker,), account in sorted(ledger.group_by("ticker"))}
    return PolicyScore(
        portfolio=_measure(pool(ledger), ledger),
        tickers={ticker: _measure(account, account) for ticker, account in accounts.items()},
    )


def _measure(money: pl.DataFrame, accounts: pl.DataFrame) -> Metrics:
    """Measure hourly money by the accounts that made it."""
    money = money.sort("timestamp")
    lived = accounts.filter(pl.col("timestamp") > accounts["timestamp"].min())
    return measure(
        money["equity"].to_numpy(),
        Split(**{part: float(money[part].sum()) for part in PARTS}),
        traded_quote=float(money["traded"].sum()),
        time_in_market=float((lived["position"] != 0.0).sum()) / len(lived),
        liquidations=lived.filter("liquidated")["ticker"].n_unique(),
    )

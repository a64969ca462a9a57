"""Backtest the carry series with vectorbt: both legs of a pair in a group that shares cash, and its value.

Orders are the coins wanted after each change, which is the least work that `from_orders` can be given. Frames
are made beforehand, row by row and column by column in memory; the quicker of the two counts, and compiling
is left out. Answers with pair-bars per CPU second. Stand-alone: it runs in the environment of the peers.
"""

import sys
from functools import partial
from time import process_time

import numpy as np
import pandas as pd
import vectorbt as vbt
from carry_series import CAPITAL, PERP_FEE, SLIPPAGE, SPOT_FEE, carry_series
from rounds import answer, rate_of


def main(pairs: int, hours: int) -> None:
    """Answer with rounds."""
    series = carry_series(pairs, hours)
    legs = pd.MultiIndex.from_product([range(pairs), ["spot", "perp"]], names=["pair", "leg"])
    dates = pd.date_range("2020-01-01", periods=hours, freq="h")
    close = np.stack((series.spot, series.perp), axis=2).reshape(hours, -1)
    coins = np.stack((series.coins, -series.coins), axis=2).reshape(hours, -1)
    frames = [
        [pd.DataFrame(order(values), index=dates, columns=legs) for values in (close, coins)]
        for order in (np.ascontiguousarray, np.asfortranarray)
    ]
    fees = np.tile([SPOT_FEE, PERP_FEE], pairs)

    def backtest(close: pd.DataFrame, coins: pd.DataFrame) -> vbt.Portfolio:
        portfolio = vbt.Portfolio.from_orders(
            close,
            size=coins,
            size_type="targetamount",
            fees=fees,
            slippage=SLIPPAGE,
            init_cash=CAPITAL,
            group_by="pair",
            cash_sharing=True,
            freq="h",
        )
        portfolio.value()
        return portfolio

    def play(frame: list[pd.DataFrame]) -> float:
        begun = process_time()
        backtest(*frame)
        return process_time() - begun

    orders = len(backtest(*frames[0]).orders.records)
    play(frames[1])

    def facts() -> dict[str, float]:
        by_rows, by_columns = (rate_of(partial(play, frame), pairs * hours) for frame in frames)
        rates = {"by rows": by_rows, "by columns": by_columns}
        return {"rate": max(by_rows, by_columns), **rates, "orders": orders}

    answer(facts)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

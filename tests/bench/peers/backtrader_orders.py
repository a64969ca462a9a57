"""Backtest the carry series with backtrader: two feeds a pair, one strategy, value at each bar by its broker.

Feeds are made beforehand, but backtrader reads their rows into its lines at the beginning of a run, which
takes most of it. Answers with pair-bars per CPU second both ways: with that reading, and of what comes after.
Stand-alone: it runs in the environment of the peers.
"""

import sys
from time import process_time

import backtrader as bt
import numpy as np
import pandas as pd
from carry_series import CAPITAL, PERP_FEE, SLIPPAGE, SPOT_FEE, carry_series
from rounds import answer, rate_of


class Feed(bt.feeds.PandasData):
    """Note down the CPU seconds that reading takes."""

    reading = 0.0

    def preload(self) -> None:
        """Read all rows."""
        begun = process_time()
        super().preload()
        Feed.reading += process_time() - begun


class FollowCoins(bt.Strategy):
    """Order the coins wanted after each change of the target: long spot, short perpetual."""

    params = (("coins", None),)

    def next(self) -> None:
        """Look at this bar's wishes; only changes are ordered."""
        row = len(self) - 1
        wanted = self.p.coins[row]
        for pair in np.flatnonzero(np.isfinite(wanted)):
            self.order_target_size(self.datas[2 * pair], wanted[pair])
            self.order_target_size(self.datas[2 * pair + 1], -wanted[pair])


def main(pairs: int, hours: int) -> None:
    """Answer with rounds."""
    series = carry_series(pairs, hours)
    dates = pd.date_range("2020-01-01", periods=hours, freq="h")
    orders, spent = 0, np.zeros(2)

    def play() -> float:
        nonlocal orders
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.broker.setcash(CAPITAL * pairs)
        cerebro.broker.set_slippage_perc(SLIPPAGE)
        cerebro.broker.set_coc(True)
        for pair in range(pairs):
            for leg, close, fee in (("spot", series.spot, SPOT_FEE), ("perp", series.perp, PERP_FEE)):
                bars = dict.fromkeys(("open", "high", "low", "close"), close[:, pair])
                name = f"{leg} {pair}"
                cerebro.adddata(Feed(dataname=pd.DataFrame(bars, index=dates)), name=name)
                cerebro.broker.setcommission(commission=fee, name=name)
        cerebro.addstrategy(FollowCoins, coins=series.coins)
        cerebro.addobserver(bt.observers.Value)
        Feed.reading, begun = 0.0, process_time()
        (strategy,) = cerebro.run()
        seconds = process_time() - begun
        spent[:] += seconds, seconds - Feed.reading
        orders = len(cerebro.broker.orders)
        assert len(strategy.observers[0]) == hours
        return seconds

    def facts() -> dict[str, float]:
        spent[:] = 0.0
        rate = rate_of(play, pairs * hours)
        return {"rate": rate, "once read": rate * spent[0] / spent[1], "orders": orders}

    answer(facts)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

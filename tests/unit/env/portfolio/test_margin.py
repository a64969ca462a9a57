"""The wallets that all coins of a portfolio share, and the hedge of each."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from carryflow.core.account import Column
from carryflow.core.costs import Bracket, MarginSettings
from carryflow.env.crypto import CryptoTradingEnv
from carryflow.env.portfolio.env import CryptoPortfolioEnv
from carryflow.env.settings import EnvSettings, PortfolioSettings
from carryflow.env.tape import MarketTape

TapeMaker = Callable[..., MarketTape]
FlatMarket = Callable[[int], dict[str, np.ndarray]]
Wild = Callable[..., list[MarketTape]]


OPEN = PortfolioSettings(ticker_limit=1.0, total_limit=1.0, hysteresis=0.25)


def coins(env: CryptoPortfolioEnv) -> np.ndarray:
    return env.simulator.books[0, :-1]


@pytest.mark.pitfall("P13")
def test_the_gain_of_one_short_keeps_another_alive_that_would_die_alone(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    # each short of 2500 stands on 2500 of margin; A doubles and a little, B falls by half and more
    risen, fallen = flat_market(4), flat_market(4)
    for name in ("spot", "perp", "mark"):
        risen[name][2:], fallen[name][2:] = 200.0, 40.0
    a = make_tape(n=4, lookback=1, ticker="A", **risen)
    b = make_tape(n=4, lookback=1, ticker="B", **fallen)
    still = make_tape(n=4, lookback=1, ticker="B", **flat_market(4))
    settings = free.model_copy(
        update={
            "spot_share": 0.6,
            "portfolio": PortfolioSettings(ticker_limit=0.5, total_limit=1.0),
            "margin": MarginSettings(brackets=(Bracket(0.0, 0.004),), liquidation_fee_rate=0.001),
        }
    )

    def play(*tapes: MarketTape) -> tuple[CryptoPortfolioEnv, dict[str, Any], bool]:
        env = CryptoPortfolioEnv(list(tapes), settings)
        env.reset()
        env.step([0.5] * len(tapes))
        _, _, ended, _, info = env.step([0.5] * len(tapes))
        return env, info, ended

    env, info, ended = play(a, b)
    assert not ended
    # 30 coins short each: margin 4000 − 30 · 100 + 30 · 60, and the venue asks 0.4 % of 30 · 240
    assert info["used_margin"] == pytest.approx(0.004 * 30 * 240 / (4000 - 3000 + 1800))
    assert coins(env)[:, Column.PERP_QTY] == pytest.approx([-30.0, -30.0])

    alone = CryptoTradingEnv([a], settings.model_copy(update={"capital_quote": 5000.0}))
    alone.reset()
    alone.step([1.0])
    assert alone.step([1.0])[2], "A alone, on its half of the capital, is liquidated"

    dear = make_tape(n=4, lookback=1, ticker="A", **{name: value.copy() for name, value in risen.items()})
    for price in (dear.spot, dear.perp, dear.mark):
        price[2:] = 232.5
    env, info, ended = play(dear, still)
    assert ended, (
        "30 coins lost 132.5 each, of the 4000 that both have; 25 are less than 0.4 % of the notional"
    )
    assert not coins(env)[:, [Column.PERP_QTY, Column.SPOT_QTY]].any(), "all are closed, and the spot is sold"
    # on the way from 100 the margin of both is gone at m: 4000 − 30 · (m − 100) = 0.004 · 30 · (m + 100)
    closed = (4000 + 3000 - 12) / 30.12
    # the spot gained what the short lost, and a little until it was sold; the venue keeps its fee on both
    assert info["equity"] == pytest.approx(10_000 + 30 * (232.5 - closed) - 1e-3 * 30 * (closed + 100))
    env.simulator.check_books()


def test_a_trade_in_one_coin_evens_out_the_wallets_of_all(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    market = flat_market(5)
    for name in ("spot", "perp", "mark"):
        market[name][2:] = 110.0
    a = make_tape(n=5, lookback=1, ticker="A", **market)
    b = make_tape(n=5, lookback=1, ticker="B", **flat_market(5))
    settings = free.model_copy(update={"portfolio": PortfolioSettings(hysteresis=0.2)})
    env = CryptoPortfolioEnv([a, b], settings)

    def spot_wallet() -> float:
        rows = coins(env)
        held = rows[:, Column.SPOT_QTY] * rows[:, Column.SPOT_PRICE]
        return float((rows[:, Column.SPOT_CASH] + held).sum())

    env.reset()
    env.step([0.5, 0.0])
    env.step([0.5, 0.0])
    assert spot_wallet() == pytest.approx(5000 + 25 * 10), "the coins rose, and their short pays for it"
    env.step([0.5, 0.5])
    assert spot_wallet() == pytest.approx(5000.0)
    assert coins(env)[0, Column.SPOT_QTY] == 25.0, "A itself did not trade"


@pytest.mark.pitfall("P13")
def test_coins_left_by_a_liquidation_are_sold_as_soon_as_each_trades(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    market = flat_market(6)
    for name in ("spot", "perp", "mark"):
        market[name][2:] = 250.0
    halted = np.array([True, True, False, False, True, True])
    a = make_tape(n=6, lookback=1, ticker="A", tradable=halted, **market)
    b = make_tape(n=6, lookback=1, ticker="B", **market)
    env = CryptoPortfolioEnv([a, b], free.model_copy(update={"portfolio": OPEN}))
    env.reset()
    env.step([0.5, 0.5])
    left, ends = [], []
    for _ in range(3):
        _, _, ended, _, info = env.step([0.5, 0.5])
        left.append(info["delta_base"].tolist())
        ends.append(ended)
    assert left == [[25.0, 0.0], [25.0, 0.0], [0.0, 0.0]]
    assert ends == [False, False, True]
    assert info["equity"] == pytest.approx(5000 + 50 * 150)


def test_deleveraging_of_a_short_leaves_its_coins_until_the_hedge_is_mended(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    taken = np.array([0.0, 0.0, 0.4, 0.0, 0.0])
    a = make_tape(n=5, lookback=1, ticker="A", deleveraged=taken, **flat_market(5))
    b = make_tape(n=5, lookback=1, ticker="B", **flat_market(5))
    env = CryptoPortfolioEnv([a, b], free)
    env.reset()
    env.step([0.5, 0.5])
    assert env.step([0.5, 0.5])[4]["delta_base"] == pytest.approx([0.4 * 25, 0.0])
    *_, info = env.step([0.5, 0.5])
    assert info["delta_base"] == pytest.approx([0.0, 0.0])
    assert info["positions"] == pytest.approx([0.5, 0.5])


def test_many_small_gaps_in_the_hedges_are_mended_before_they_add_up(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    # 19 % of each short: of 10 coins 0.95 % of the capital each, which one account would put up with
    taken = np.array([0.0, 0.0, 0.19, 0.0, 0.0])
    tapes = [
        make_tape(n=5, lookback=1, ticker=f"C{k}", deleveraged=taken, **flat_market(5)) for k in range(10)
    ]
    env = CryptoPortfolioEnv(tapes, free)
    env.reset()
    env.step([0.1] * 10)
    *_, info = env.step([0.1] * 10)
    assert (info["delta_base"] * 100.0).sum() == pytest.approx(0.19 * 5000)
    *_, info = env.step([0.1] * 10)
    assert info["delta_base"] == pytest.approx(np.zeros(10))

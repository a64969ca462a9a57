"""What a portfolio may hold of each coin and of all, and what is worth a trade."""

from collections.abc import Callable

import numpy as np
import pytest

from carryflow.env.portfolio.env import CryptoPortfolioEnv
from carryflow.env.portfolio.limits import grant
from carryflow.env.settings import EnvSettings, PortfolioSettings
from carryflow.env.tape import MarketTape

TapeMaker = Callable[..., MarketTape]
FlatMarket = Callable[[int], dict[str, np.ndarray]]
Wild = Callable[..., list[MarketTape]]


def test_the_limits_cut_each_coin_and_scale_back_all(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    tapes = [make_tape(n=8, lookback=1, ticker=name, **flat_market(8)) for name in "ABC"]
    limits = PortfolioSettings(ticker_limit=0.5, total_limit=0.8, hysteresis=0.3)
    env = CryptoPortfolioEnv(tapes, free.model_copy(update={"portfolio": limits}))
    env.reset()
    _, _, _, _, info = env.step([1.0, -1.0, 0.5])
    assert info["positions"] == pytest.approx([0.8 / 3, -0.8 / 3, 0.8 / 3])
    assert info["cut_back"] == pytest.approx(2.5 - 0.8)
    _, _, _, _, info = env.step([0.0, -0.3, 0.3])
    assert info["cut_back"] == 0.0
    _, _, _, _, info = env.step([0.5, -0.3, 0.3])
    # B and C are kept, within the hysteresis; A gets what they leave
    assert info["positions"] == pytest.approx([0.8 - 2 * 0.8 / 3, -0.8 / 3, 0.8 / 3])
    assert info["cut_back"] == pytest.approx(0.5 - 0.8 / 3)


@pytest.mark.parametrize(("ticker_limit", "total_limit"), [(0.5, 1.0), (0.5, 0.2), (0.02, 1.0)])
def test_however_many_coins_each_can_take_its_equal_part(
    ticker_limit: float, total_limit: float, make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    tapes = [make_tape(n=4, lookback=1, ticker=f"C{k}", **flat_market(4)) for k in range(25)]
    limits = PortfolioSettings(ticker_limit=ticker_limit, total_limit=total_limit)
    env = CryptoPortfolioEnv(tapes, free.model_copy(update={"portfolio": limits}))
    env.reset()
    *_, info = env.step([1 / 25] * 25)
    assert info["positions"] == pytest.approx(np.full(25, min(ticker_limit, total_limit / 25)))


def test_no_trade_is_smaller_than_the_hysteresis_nor_goes_beyond_a_limit() -> None:
    rng = np.random.default_rng(0)
    smallest = 1.0
    for _ in range(3000):
        wanted, held = rng.uniform(-1, 1, 6), rng.uniform(-0.4, 0.4, 6) * (rng.random(6) < 0.7)
        tradable = (rng.random(6) < 0.8).astype(float)
        granted = np.empty(6)
        cut = grant(wanted, held, tradable, 0.5, 1.0, 0.05, granted)
        trades = granted != held
        assert not trades[tradable == 0].any()
        assert (np.abs(granted - held)[trades & (granted != 0)] > 0.05).all()
        assert np.abs(granted[trades]).max(initial=0.0) <= 0.5
        assert np.abs(granted).sum() <= max(1.0, np.abs(held).sum()) + 1e-6
        assert 0.0 <= cut <= np.abs(wanted).sum()
        smallest = min(smallest, np.abs(granted - held)[trades].min(initial=1.0))
    assert smallest < 0.06, "the draws come near the hysteresis"


def test_at_its_limit_a_portfolio_rests_until_prices_have_moved_it(wild: Wild) -> None:
    env = CryptoPortfolioEnv(wild(4, seed=3, calm=True), EnvSettings(random_start=False))
    _, before = env.reset()
    traded = []
    for _ in range(150):
        *_, info = env.step([1.0] * 4)
        traded.append(info["turnover"] > before["turnover"])
        before = info
    assert 1 <= sum(traded) < 6
    assert np.abs(info["positions"]).sum() == pytest.approx(1.0, abs=0.15)


def test_random_starts_inherit_within_the_limits_and_a_seed_fixes_them(wild: Wild) -> None:
    limits = PortfolioSettings(ticker_limit=0.4, total_limit=0.7)
    env = CryptoPortfolioEnv(wild(3), EnvSettings(portfolio=limits))

    def starts(seed: int) -> list[tuple[int, tuple[float, ...]]]:
        told = [env.reset(seed=seed if k == 0 else None)[1] for k in range(40)]
        return [(info["now_ms"], tuple(info["positions"])) for info in told]

    held = np.abs([positions for _, positions in starts(5)])
    assert held.max() <= 0.4 + 1e-9
    assert held.sum(axis=1).max() <= 0.7 + 1e-9
    assert 8 < (held.sum(axis=1) == 0).sum() < 32
    assert starts(5) == starts(5) != starts(6)

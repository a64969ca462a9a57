"""The portfolio as an environment: its spaces, its books, and what it refuses."""

import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from carryflow.core.account import PARTS, Column
from carryflow.core.errors import ActionError, MarketDataError, SchemaMismatchError, SettingsError
from carryflow.core.instrument import ContractType
from carryflow.env.crypto import CryptoTradingEnv
from carryflow.env.portfolio.env import CryptoPortfolioEnv
from carryflow.env.portfolio.vector import VectorPortfolioEnv
from carryflow.env.settings import EnvSettings, PortfolioSettings
from carryflow.env.tape import MarketTape, PairLots
from carryflow.features.spec import FeatureSpec

TapeMaker = Callable[..., MarketTape]
FlatMarket = Callable[[int], dict[str, np.ndarray]]
Wild = Callable[..., list[MarketTape]]


OPEN = PortfolioSettings(ticker_limit=1.0, total_limit=1.0, hysteresis=0.25)


@pytest.mark.parametrize("random_start", [True, False])
def test_it_passes_gymnasiums_own_check(wild: Wild, random_start: bool) -> None:
    env = CryptoPortfolioEnv(wild(3), EnvSettings(random_start=random_start), render_mode="figure")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_env(env)
    expected = ("Box observation space", "does not have a spec", "not having a spec")
    assert [
        str(each.message) for each in said if not any(part in str(each.message) for part in expected)
    ] == []


@pytest.mark.parametrize("calm", [True, False])
def test_a_portfolio_of_one_coin_is_the_single_environment(wild: Wild, calm: bool) -> None:
    share = 0.5 if calm else 0.9
    settings = EnvSettings(random_start=False, episode_bars=500, portfolio=OPEN, spot_share=share)
    tape = replace(wild(1, seed=4, calm=calm)[0], lots=PairLots(0.001, 0.01, 50.0))
    alone, one = CryptoTradingEnv([tape], settings), CryptoPortfolioEnv([tape], settings)
    seen, told = alone.reset(seed=0), one.reset(seed=0)
    rng = np.random.default_rng(1)
    ended, steps = False, 0
    while not ended:
        assert np.array_equal(seen[0][:-1], told[0][: len(seen[0]) - 1]), "window and position"
        action = rng.uniform(-1, 1, 1).astype(np.float32)
        *seen, ended, cut, info = alone.step(action)
        *told, same_end, same_cut, portfolio = one.step(action)
        assert (ended, cut) == (same_end, same_cut)
        assert told[1] == pytest.approx(seen[1], abs=1e-6)
        mine = one.simulator.books[0, 0, : len(Column)]
        assert mine == pytest.approx(alone.simulator.ledger[0], rel=1e-9, abs=1e-6)
        for name in ("equity", "turnover", "drawdown", *PARTS):
            assert portfolio[name] == pytest.approx(info[name], abs=1e-6)
        ended, steps = ended or cut, steps + 1
    assert steps > 20
    assert info["fees"] < 0
    assert cut == calm, "the wild market liquidates, the calm one lasts"


def test_every_row_and_the_sum_explain_their_profit_in_a_wild_market(wild: Wild) -> None:
    settings = EnvSettings(episode_bars=150, spot_share=0.95, portfolio=PortfolioSettings(hysteresis=0.05))
    env = CryptoPortfolioEnv(wild(4, rows=400, seed=2), settings)
    rng = np.random.default_rng(3)
    liquidated = 0
    for episode in range(8):
        _, before = env.reset(seed=9 if episode == 0 else None)
        ended = cut = False
        while not (ended or cut):
            _, _, ended, cut, info = env.step(rng.uniform(-1, 1, 4).astype(np.float32))
            gained = info["equity"] - before["equity"]
            assert sum(info[part] - before[part] for part in PARTS) == pytest.approx(gained, abs=1e-4)
            assert info["parts_quote"].sum(axis=0) == pytest.approx([info[part] for part in PARTS], abs=1e-6)
            env.simulator.check_books()
            before = info
        liquidated += ended
    assert liquidated, "the market is not wild enough to see a liquidation"


def test_moving_capital_between_coins_costs_the_fees_of_both_legs_of_both(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    costs = free.costs.model_copy(update={"spot_taker_bp": 10.0, "perp_taker_bp": 5.0})
    settings = free.model_copy(update={"costs": costs, "portfolio": OPEN})
    tapes = [make_tape(n=6, lookback=1, ticker=name, **flat_market(6)) for name in "AB"]
    env = CryptoPortfolioEnv(tapes, settings)
    env.reset()
    _, _, _, _, opened = env.step([0.5, 0])
    _, _, _, _, moved = env.step([0, 0.5])
    held_a, held_b = opened["turnover"] / 2, (moved["turnover"] - 2 * opened["turnover"]) / 2
    assert held_a == pytest.approx(2500, rel=3e-3)
    assert moved["fees"] - opened["fees"] == pytest.approx(-(held_a + held_b) * 15e-4, abs=1e-9)
    assert moved["equity"] - opened["equity"] == pytest.approx(-(held_a + held_b) * 15e-4, abs=1e-9)
    assert moved["parts_quote"][0, 2] == pytest.approx(-2 * held_a * 15e-4), "opened and closed"
    assert moved["parts_quote"][1, 2] == pytest.approx(-held_b * 15e-4)
    assert moved["positions"][0] == 0.0


def test_the_observation_is_each_coins_window_and_position_then_the_state_of_all(wild: Wild) -> None:
    tapes = wild(2, calm=True)
    env = CryptoPortfolioEnv(tapes, EnvSettings(random_start=False))
    env.reset()
    seen, _, _, _, info = env.step([0.4, -0.3])
    first = tapes[0].first
    for k, tape in enumerate(tapes):
        assert np.array_equal(seen[k * 7 : k * 7 + 6], tape.features[first - 1 : first + 2].reshape(-1))
        assert seen[k * 7 + 6] == np.float32(info["positions"][k])
    assert seen[-2:] == pytest.approx([info["drawdown"], info["used_margin"]])
    assert info["used_margin"] > 0
    assert info["now_ms"] == tapes[0].decision_ms[first + 1]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([0.1, np.nan], "C1: an action must be a fraction in .*, was nan"),
        ([np.inf, 0.1], "C0: an action must be a fraction in .*, was inf"),
        ([0.1, -1.1], "C1: .* was -1.1"),
        ([0.1], r"an action must be \(2,\) real numbers, was .* of shape \(1,\)"),
    ],
)
def test_an_action_that_is_none_is_refused_and_nothing_moves(
    wild: Wild, action: np.ndarray, message: str
) -> None:
    env = CryptoPortfolioEnv(wild(2), EnvSettings())
    env.reset(seed=1)
    before = env.simulator.books.copy()
    with pytest.raises(ActionError, match=message):
        env.step(action)
    assert np.array_equal(env.simulator.books, before)


def test_tapes_that_make_no_portfolio_are_refused(make_tape: TapeMaker) -> None:
    a, b = make_tape(ticker="A"), make_tape(ticker="B")
    free = EnvSettings()
    inverse = replace(b, kind=ContractType.INVERSE, settlement_cash=np.zeros(len(b)))
    for tapes, error, message in (
        ([], MarketDataError, "at least one tape"),
        ([a, a], MarketDataError, "each coin once"),
        ([a, inverse], MarketDataError, "B is margined in its own coin"),
        ([a, make_tape(ticker="B", n=50)], MarketDataError, "B has 48 decisions"),
        ([a, make_tape(ticker="B", spec=FeatureSpec(("x", "y"), 3))], SchemaMismatchError, "feature specs"),
    ):
        with pytest.raises(error, match=message):
            CryptoPortfolioEnv(tapes, free)
    with pytest.raises(SettingsError, match=r'env\.action was "weights"'):
        CryptoPortfolioEnv([a, b], EnvSettings(action="weights"))


def test_before_a_reset_there_is_no_step_and_no_option_is_overheard(wild: Wild) -> None:
    for env in (CryptoPortfolioEnv(wild(2), EnvSettings()), VectorPortfolioEnv(wild(2), 3, EnvSettings())):
        with pytest.raises(ResetNeeded, match="call reset"):
            env.step(np.zeros(env.action_space.shape))
        with pytest.raises(SettingsError, match="no options, got 'row'"):
            env.reset(options={"row": 3})


def test_a_copy_goes_on_by_itself_as_the_first_does(wild: Wild) -> None:
    env = CryptoPortfolioEnv(wild(2), EnvSettings())
    env.reset(seed=3)
    again = deepcopy(env)
    for action in ([0.5, -0.5], [0.0, 0.3]):
        seen, reward, *_ = env.step(action)
        same, as_much, *_ = again.step(action)
        assert np.array_equal(seen, same)
        assert reward == as_much != 0.0

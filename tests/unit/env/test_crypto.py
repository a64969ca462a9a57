"""The single environment behaves as Gymnasium says it must, in each way to act, and tells the truth."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import plotly.graph_objects as go
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from carryflow.core.account import PARTS, Column
from carryflow.core.errors import ActionError, CoverageError, MarketDataError, SettingsError
from carryflow.core.instrument import ContractType
from carryflow.env.crypto import CryptoTradingEnv
from carryflow.env.reward import REWARD_TERMS
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape
from carryflow.env.vector import VectorCryptoEnv
from carryflow.env.windowed import WindowedTradingEnv

TapeMaker = Callable[..., MarketTape]
FlatMarket = Callable[[int], dict[str, np.ndarray]]
Mode = Literal["fraction", "weights", "fraction_and_margin"]


def act(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float32)


@pytest.mark.parametrize(
    ("mode", "random_start"), [("fraction", True), ("weights", False), ("fraction_and_margin", True)]
)
def test_it_passes_gymnasiums_own_check(make_tape: TapeMaker, mode: Mode, random_start: bool) -> None:
    settings = EnvSettings(random_start=random_start, episode_bars=20, action=mode)
    env = CryptoTradingEnv([make_tape(), make_tape(seed=1)], settings, render_mode="figure")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_env(env)
    # features have no bound of their own, and there is no registered name; all else must pass in silence
    expected = ("Box observation space", "not having a spec")
    assert [
        str(each.message) for each in said if not any(part in str(each.message) for part in expected)
    ] == []


def test_it_is_a_windowed_environment_over_a_flat_window(make_tape: TapeMaker) -> None:
    env = CryptoTradingEnv([make_tape(lookback=6)], EnvSettings())
    assert isinstance(env, WindowedTradingEnv)
    assert isinstance(env, gym.Env)
    assert env.observation_space.shape == (6 * 2 + 2,)
    assert env.observation_space.dtype == np.float32


def test_the_info_explains_profit_and_reward_by_name(make_tape: TapeMaker) -> None:
    env = CryptoTradingEnv([make_tape()], EnvSettings(random_start=False))
    _, info = env.reset(seed=1)
    assert info["equity"] == 100_000.0
    before = info
    for _ in range(20):
        _, reward, _, _, info = env.step(act(1.0))
        change, costs, *penalties = (info[term] for term in REWARD_TERMS)
        assert reward == pytest.approx(change - costs - sum(penalties), abs=1e-9)
        assert info["equity"] - before["equity"] == pytest.approx(10 * (change - costs), abs=1e-6)
        before = info
    assert info["equity"] - 100_000.0 == pytest.approx(sum(info[part] for part in PARTS), abs=1e-4)
    assert info["fees"] < 0 < info["funding"]
    assert info["turnover"] > 50_000
    assert info["position"] == pytest.approx(env.simulator.fraction[0])
    assert info["margin_ratio"] == pytest.approx(env.simulator.margin_ratio[0])
    assert info["delta_base"] == pytest.approx(0.0, abs=1e-9)
    assert info["now_ms"] == env.tapes[0].decision_ms[22]
    _, again = env.reset()
    assert again["turnover"] == 0.0
    assert all(again[name] == 0.0 for name in (*PARTS, *REWARD_TERMS)), "nothing is left of the last episode"


def test_deleveraging_of_the_short_shows_as_coins_without_a_hedge(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    tape = make_tape(n=4, lookback=1, deleveraged=np.array([0.0, 0.0, 0.4, 0.0]), **flat_market(4))
    env = CryptoTradingEnv([tape], free)
    env.reset()
    assert env.step(act(1.0))[4]["delta_base"] == 0.0
    assert env.step(act(1.0))[4]["delta_base"] == pytest.approx(0.4 * 50)


def test_weights_trade_the_hedge_nearest_to_them(make_tape: TapeMaker) -> None:
    settings = EnvSettings(random_start=False)
    fraction = CryptoTradingEnv([make_tape()], settings)
    weights = CryptoTradingEnv([make_tape()], settings.model_copy(update={"action": "weights"}))
    for env in (fraction, weights):
        env.reset()
    # (0.9, −0.1) is off the line of equal and opposite weights; (0.5, −0.5) is the foot of its perpendicular
    for pair, nearest in (((0.9, -0.1), 0.5), ((-1.0, 1.0), -1.0), ((0.7, 0.7), 0.0)):
        told = fraction.step(act(nearest))
        same = weights.step(act(*pair))
        assert same[4]["position"] == pytest.approx(told[4]["position"], rel=1e-6)
        assert same[1] == pytest.approx(told[1], rel=1e-6)


def test_a_policy_that_chooses_its_margin_trades_capital_against_safety(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    market = flat_market(5)
    market["settlement_cash"][1] = -0.1
    for name in ("spot", "perp", "mark"):
        market[name][2:] = 115.0
    tape = make_tape(n=5, lookback=1, **market)
    settings = free.model_copy(
        update={"action": "fraction_and_margin", "margin_ratio_min": 0.1, "margin_ratio_max": 1.0}
    )
    told = {}
    for said, ratio in ((-1.0, 0.1), (0.0, 0.1**0.5), (1.0, 1.0)):
        env = CryptoTradingEnv([tape], settings)
        seen, _ = env.reset()
        assert seen[-1] == pytest.approx(1.0), "flat, half of the capital would be margin"
        seen, _, _, _, info = env.step(act(1.0, said))
        notional = 10_000 / (1 + ratio)
        assert info["funding"] == pytest.approx(1e-3 * notional)
        assert info["margin_ratio"] == pytest.approx(ratio, rel=2e-2)
        assert seen[-1] == pytest.approx(ratio, rel=2e-2)
        seen, _, told[ratio], _, info = env.step(act(1.0, said))
        assert told[ratio] or seen[-1] < 0.9 * ratio
    assert told == {0.1: True, 0.1**0.5: False, 1.0: False}, "a rise of 15 % liquidates a margin of 10 %"


@pytest.mark.pitfall("P13")
def test_a_margin_is_topped_up_without_a_trade_by_what_is_free(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    tradable = np.array([True, False, True, True, True, True])
    tape = make_tape(n=6, lookback=1, tradable=tradable, **flat_market(6))
    asked = {"action": "fraction_and_margin", "margin_ratio_min": 0.5, "margin_ratio_max": 1.0}
    env = CryptoTradingEnv([tape], free.model_copy(update=asked))
    env.reset()
    *_, opened = env.step(act(0.5, -1.0))
    assert opened["margin_ratio"] == pytest.approx(1.0)  # a third of equity, and half of a full position
    *_, halted = env.step(act(0.5, 1.0))
    assert halted["margin_ratio"] == opened["margin_ratio"], "of a halted market nothing moves"
    *_, topped = env.step(act(0.5, 1.0))
    assert topped["turnover"] == opened["turnover"]
    assert topped["margin_ratio"] == pytest.approx(1.5)  # half of equity, for a third of it
    assert topped["equity"] == 10_000.0
    *_, lowered = env.step(act(0.5, -1.0))
    assert lowered["margin_ratio"] == pytest.approx(1.0)
    env.simulator.check_books()


@pytest.mark.pitfall("P13")
def test_no_margin_is_lent_by_the_coins(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    asked = {"action": "fraction_and_margin", "hysteresis": 0.9}
    env = CryptoTradingEnv([make_tape(n=4, lookback=1, **flat_market(4))], free.model_copy(update=asked))
    env.reset()
    *_, full = env.step(act(1.0, -1.0))
    *_, info = env.step(act(1.0, 1.0))
    assert info["turnover"] == full["turnover"]
    assert env.simulator.ledger[0, Column.SPOT_CASH] == pytest.approx(0.0, abs=1e-9)


def test_an_inverse_pair_is_margined_by_its_own_coins(
    make_tape: TapeMaker, flat_market: FlatMarket, free: EnvSettings
) -> None:
    tape = make_tape(n=4, lookback=1, kind=ContractType.INVERSE, **flat_market(4))
    env = CryptoTradingEnv([tape], free.model_copy(update={"action": "fraction_and_margin"}))
    env.reset()
    seen, _, _, _, info = env.step(act(1.0, -1.0))
    assert seen[-1] == pytest.approx(1.0), "all of equity is coins, and all of them are margin"
    assert info["margin_ratio"] == pytest.approx(1.0)
    assert info["delta_base"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("mode", ["weights", "fraction_and_margin"])
def test_it_steps_as_the_vector_environment_does_in_each_way_to_act(make_tape: TapeMaker, mode: Mode) -> None:
    settings = EnvSettings(random_start=False, episode_bars=30, action=mode)
    one, many = CryptoTradingEnv([make_tape()], settings), VectorCryptoEnv([make_tape()], 2, settings)
    assert np.array_equal(one.reset()[0], many.reset()[0][1])
    rng = np.random.default_rng(0)
    for _ in range(30):
        action = rng.uniform(-1, 1, 2).astype(np.float32)
        seen, reward, *_ = one.step(action)
        same, rewards, *_ = many.step(np.stack([action, action]))
        assert np.array_equal(seen, same[1])
        assert reward == rewards[1]


def test_without_random_starts_the_tapes_are_played_in_turn_from_their_first_hour(
    make_tape: TapeMaker,
) -> None:
    env = CryptoTradingEnv([make_tape(seed=1), make_tape(seed=2)], EnvSettings(random_start=False))
    first = [env.reset()[0][:-2] for _ in range(3)]
    assert np.array_equal(first[0], env.tapes[0].features[:3].reshape(-1))
    assert np.array_equal(first[1], env.tapes[1].features[:3].reshape(-1))
    assert np.array_equal(first[2], first[0])


def test_a_seed_fixes_every_start_that_follows(make_tape: TapeMaker) -> None:
    def starts(seed: int) -> list[bytes]:
        env = CryptoTradingEnv([make_tape(n=200)], EnvSettings())
        return [env.reset(seed=seed if k == 0 else None)[0].tobytes() for k in range(5)]

    assert starts(3) == starts(3)
    assert starts(3) != starts(4)
    assert len(set(starts(3))) == 5


def test_what_was_observed_and_told_does_not_change_afterwards(make_tape: TapeMaker) -> None:
    env = CryptoTradingEnv([make_tape()], EnvSettings(), render_mode="figure")
    seen, info = env.reset(seed=1)
    kept, known = seen.copy(), dict(info)
    next_seen, *_ = env.step(act(1.0))
    assert not np.array_equal(next_seen, seen)
    assert np.array_equal(seen, kept)
    assert info == known


@pytest.mark.parametrize("mode", ["fraction", "weights", "fraction_and_margin"])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.nan, "was nan"),
        (np.inf, "was inf"),
        (-np.inf, "was -inf"),
        (1.01, r"was 1\.0"),
        (None, r"an action must be \(\d,\) real numbers, was array"),
    ],
)
def test_an_action_that_is_none_is_refused_and_nothing_moves(
    make_tape: TapeMaker, mode: Mode, wrong: float | None, message: str
) -> None:
    env = CryptoTradingEnv([make_tape()], EnvSettings(action=mode))
    env.reset(seed=0)
    size = env.action_space.shape[0]
    before = env.simulator.ledger.copy()
    for number in range(size):
        action: Any = act(*[0.3] * size)
        action[number] = 0.0 if wrong is None else wrong
        with pytest.raises(ActionError, match=message):
            env.step(act(*[0.3] * (size + 1)) if wrong is None else action)
    assert np.array_equal(env.simulator.ledger, before)


@pytest.mark.parametrize("mode", ["fraction", "weights", "fraction_and_margin"])
def test_what_are_no_numbers_is_refused_by_name_and_a_list_of_numbers_is_not(
    make_tape: TapeMaker, mode: Mode
) -> None:
    env = CryptoTradingEnv([make_tape()], EnvSettings(action=mode))
    env.reset(seed=0)
    before = env.simulator.ledger.copy()
    good = act(*[0.3] * env.action_space.shape[0])
    text = good.astype(str)
    malformed = (
        "abc",
        text,
        text.astype(object),
        good * 1j,
        good[None],
        good[:0],
        None,
        0.3,
        {"a": 1},
        [[1], 2],
    )
    for action in malformed:
        with pytest.raises(
            ActionError, match=r"must be \(\d,\) real numbers, was .* of shape \(.*\); look at"
        ):
            env.step(action)
    assert np.array_equal(env.simulator.ledger, before)
    env.step([1, 0.5][: len(good)])
    assert env.simulator.row != env.tapes[0].first


def test_it_must_be_reset_first_and_a_reset_knows_no_options(make_tape: TapeMaker) -> None:
    env = CryptoTradingEnv([make_tape(lookback=30)], EnvSettings())
    with pytest.raises(ResetNeeded, match="call reset before step"):
        env.step(act(0.5))
    with pytest.raises(SettingsError, match="reset knows no options, got 'row', 'tape'"):
        env.reset(options={"row": 40, "tape": 0})


@pytest.mark.pitfall("P05")
@pytest.mark.parametrize(
    "hole", ["spot", "perp", "mark", "settlement_cash", "features", "mark_high", "mark_low"]
)
def test_a_tape_with_a_hole_is_refused_with_its_hour(make_tape: TapeMaker, hole: str) -> None:
    tape = make_tape()
    tape = replace(tape, mark_high=tape.mark * 1.01, mark_low=tape.mark * 0.99)
    torn = getattr(tape, hole).copy()
    torn[7] = np.nan
    with pytest.raises(CoverageError, match="1970-01-01T08:00Z"):
        CryptoTradingEnv([replace(tape, **{hole: torn})], EnvSettings())


def test_an_environment_needs_a_tape() -> None:
    with pytest.raises(MarketDataError, match="at least one tape"):
        CryptoTradingEnv([], EnvSettings())


def test_its_figure_shows_the_episode_so_far(make_tape: TapeMaker) -> None:
    env = CryptoTradingEnv([make_tape()], EnvSettings(random_start=False), render_mode="figure")
    with pytest.raises(ResetNeeded, match="call reset first"):
        env.render()
    for actions in ((1.0,) * 20, (-1.0,) * 12):
        env.reset()
        for action in actions:
            *_, info = env.step(act(action))
    figure = env.render()
    assert isinstance(figure, go.Figure)
    lines = {line.name: line for line in figure.data}
    assert {"Equity", "Position", "Funding", "Fees", "Perpetual over spot", "Funding that longs pay"} <= set(
        lines
    )
    tape = env.tapes[0]
    assert len(lines["Equity"].y) == 13, "only this episode"
    assert lines["Equity"].y[-1] == info["equity"]
    assert lines["Fees"].y[-1] == info["fees"]
    assert lines["Perpetual over spot"].y[-1] == pytest.approx(1e4 * (tape.perp[14] / tape.spot[14] - 1))
    assert lines["Equity"].x[-1] == np.datetime64(int(tape.decision_ms[14]), "ms")


def test_nothing_is_kept_for_a_figure_that_nobody_asked_for(make_tape: TapeMaker) -> None:
    env = CryptoTradingEnv([make_tape()], EnvSettings())
    env.reset(seed=0)
    assert env.render() is None
    with pytest.raises(SettingsError, match="render_mode must be"):
        CryptoTradingEnv([make_tape()], EnvSettings(), render_mode="human")

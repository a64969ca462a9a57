"""Many accounts at once: the same as one at a time, and begun anew one step after they end."""

from collections.abc import Callable

import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from carryflow.core.account import Column
from carryflow.core.errors import ActionError, SettingsError
from carryflow.env.crypto import CryptoTradingEnv
from carryflow.env.settings import EnvSettings
from carryflow.env.starts import random_starts
from carryflow.env.tape import MarketTape
from carryflow.env.vector import VectorCryptoEnv

TapeMaker = Callable[..., MarketTape]


def test_it_steps_as_the_single_environment_does(make_tape: TapeMaker) -> None:
    settings = EnvSettings(random_start=False, episode_bars=30)
    tapes = [make_tape(seed=1), make_tape(seed=2)]
    many = VectorCryptoEnv(tapes, 2, settings)
    singles = [CryptoTradingEnv([tape], settings) for tape in tapes]
    seen, _ = many.reset(seed=0)
    assert np.array_equal(seen, np.stack([env.reset(seed=0)[0] for env in singles]))
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = rng.uniform(-1, 1, (2, 1)).astype(np.float32)
        seen, reward, terminated, truncated, _ = many.step(actions)
        for i, env in enumerate(singles):
            one = env.step(actions[i])
            assert np.array_equal(seen[i], one[0])
            assert (reward[i], terminated[i], truncated[i]) == one[1:4]
    assert truncated.all()


def test_the_step_after_an_end_only_begins_anew(make_tape: TapeMaker) -> None:
    env = VectorCryptoEnv([make_tape()], 3, EnvSettings(random_start=False, episode_bars=4))
    first, _ = env.reset(seed=0)
    up = np.ones((3, 1), dtype=np.float32)
    ends = []
    for step in range(10):
        seen, reward, terminated, truncated, _ = env.step(up)
        ends.append(bool(truncated[0]))
        if step in {4, 9}:
            assert np.array_equal(seen, first)
            assert not reward.any()
        assert not terminated.any()
    assert ends == [False, False, False, True, False] * 2


def test_an_observation_already_given_out_does_not_change(make_tape: TapeMaker) -> None:
    env = VectorCryptoEnv([make_tape()], 2, EnvSettings())
    first, _ = env.reset(seed=0)
    kept = first.copy()
    env.step(np.zeros((2, 1), dtype=np.float32))
    assert np.array_equal(first, kept)


def test_without_copies_the_arrays_are_the_environments_own_and_say_the_same(make_tape: TapeMaker) -> None:
    tapes, settings = [make_tape(n=200), make_tape(n=90, seed=1)], EnvSettings(episode_bars=9)
    kept, reused = (VectorCryptoEnv(tapes, 7, settings, seed=3, copy=copy) for copy in (True, False))
    rng = np.random.default_rng(0)
    assert np.array_equal(kept.reset()[0], reused.reset()[0])
    given = []
    for _ in range(40):
        actions = rng.uniform(-1, 1, (7, 1)).astype(np.float32)
        ours, theirs = kept.step(actions), reused.step(actions)
        for each, same in zip(ours[:4], theirs[:4], strict=True):
            assert np.array_equal(each, same)
        given.append((ours, [each.copy() for each in ours[:4]], theirs[0]))
    for ours, as_given, _ in given:
        assert all(np.array_equal(*each) for each in zip(ours[:4], as_given, strict=True))
    assert all(np.shares_memory(seen, given[0][2]) for *_, seen in given)
    assert given[0][2].shape == kept.observation_space.shape


@pytest.mark.parametrize(
    ("form", "said", "fraction", "ratio"),
    [("weights", [0.5, -0.3], 0.4, None), ("fraction_and_margin", [0.8, 0.0], 0.8, 0.1**0.5)],
)
def test_two_numbers_say_the_pair_or_its_margin(
    make_tape: TapeMaker, form: str, said: list[float], fraction: float, ratio: float | None
) -> None:
    settings = EnvSettings.model_validate({"action": form, "random_start": False})
    env = VectorCryptoEnv([make_tape()], 2, settings)
    env.reset(seed=0)
    seen, *_ = env.step(np.array([said, [0.0, 0.0]], dtype=np.float32))
    assert env.observation_space.contains(seen)
    one = CryptoTradingEnv([make_tape()], settings)
    one.reset(seed=0)
    assert np.array_equal(one.step(np.array(said, dtype=np.float32))[0], seen[0])
    share = 0.5 if ratio is None else 1 / (1 + ratio)
    ledger = env.simulator.ledger
    bought = ledger[0, Column.SPOT_QTY] * env.simulator.tapes[0].spot[2]
    assert bought == pytest.approx(fraction * share * 100_000, rel=3e-3)
    assert ledger[1, Column.SPOT_QTY] == 0.0


@pytest.mark.parametrize("form", ["fraction", "weights", "fraction_and_margin"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1.01])
def test_an_action_out_of_its_range_is_refused_before_anyone_moves(
    make_tape: TapeMaker, form: str, wrong: float
) -> None:
    env = VectorCryptoEnv([make_tape()], 3, EnvSettings.model_validate({"action": form}), seed=0)
    env.reset()
    assert env.action_space.shape is not None
    actions = np.full(env.action_space.shape, 0.9, dtype=np.float32)
    before = env.simulator.ledger.copy()
    actions[2, -1] = wrong
    with pytest.raises(ActionError, match="account 2"):
        env.step(actions)
    for malformed in (
        actions[:2],
        actions[0],
        [["a"]] * 3,
        None,
        actions.astype(complex),
        actions.astype(object),
    ):
        with pytest.raises(ActionError, match=r"an action must be \(3, \d\) real numbers, was "):
            env.step(malformed)
    assert np.array_equal(env.simulator.ledger, before)


def test_a_list_is_as_good_as_an_array(make_tape: TapeMaker) -> None:
    one, same = (VectorCryptoEnv([make_tape()], 2, EnvSettings(), seed=0) for _ in range(2))
    for env in (one, same):
        env.reset()
    assert np.array_equal(one.step([[0.5], [-1]])[1], same.step(np.array([[0.5], [-1.0]], np.float32))[1])  # type: ignore[arg-type]


def test_it_must_be_reset_first_and_a_reset_knows_no_options(make_tape: TapeMaker) -> None:
    env = VectorCryptoEnv([make_tape(lookback=30)], 2, EnvSettings())
    with pytest.raises(ResetNeeded, match="call reset before step"):
        env.step(np.zeros((2, 1), dtype=np.float32))
    with pytest.raises(SettingsError, match="reset knows no options, got 'row'"):
        env.reset(options={"row": 3})


def test_a_seed_fixes_the_whole_run(make_tape: TapeMaker) -> None:
    def run(seed: int | None, made_with: int | None = None) -> np.ndarray:
        env = VectorCryptoEnv([make_tape(n=200)], 4, EnvSettings(episode_bars=10), seed=made_with)
        env.reset(seed=seed)
        up = np.full((4, 1), 0.7, dtype=np.float32)
        return np.array([env.step(up)[1] for _ in range(40)])

    assert np.array_equal(run(5), run(5))
    assert not np.array_equal(run(5), run(6))
    assert np.array_equal(run(None, made_with=5), run(None, made_with=5))
    assert np.array_equal(run(5), run([5, 6, 7, 8]))  # type: ignore[arg-type]


def test_it_lives_in_the_spaces_that_it_declares(make_tape: TapeMaker) -> None:
    env = VectorCryptoEnv([make_tape()], 5, EnvSettings())
    seen, _ = env.reset(seed=1)
    assert env.observation_space.contains(seen)
    env.action_space.seed(1)
    for _ in range(20):
        seen, reward, *_ = env.step(env.action_space.sample())
        assert env.observation_space.contains(seen)
        assert np.isfinite(reward).all()


def test_random_starts_reach_every_hour_of_every_tape_and_half_are_flat(make_tape: TapeMaker) -> None:
    tapes = [make_tape(n=20, lookback=4), make_tape(n=50, lookback=4)]
    starts = random_starts(tapes, 20_000, np.random.default_rng(0))
    for tape, rows in enumerate((16, 46)):
        reached = np.unique(starts.row[starts.tape == tape])
        assert np.array_equal(reached, np.arange(3, 3 + rows))
        assert (starts.tape == tape).mean() == pytest.approx(rows / 62, abs=0.02)
    assert (starts.fraction == 0).mean() == pytest.approx(0.5, abs=0.02)
    assert starts.fraction.min() < -0.95
    assert starts.fraction.max() > 0.95

import numpy as np
import pytest

from carryflow.training.advantages import estimate_advantages


def test_whole_returns_are_the_discounted_rewards_and_the_value_reached() -> None:
    rewards, values = np.array([1.0, 2.0, 3.0, 0.0]), np.array([0.5, -1.0, 4.0, 10.0])
    lived, never = np.array([True, True, True, False]), np.zeros(4, np.bool_)
    returns = estimate_advantages(rewards, values, never, lived, 0.9, 1.0) + values
    assert returns[0] == pytest.approx(1.0 + 0.9 * 2.0 + 0.81 * 3.0 + 0.729 * 10.0)
    assert returns[2] == pytest.approx(3.0 + 0.9 * 10.0)


def test_with_lambda_zero_an_advantage_is_one_step_of_surprise() -> None:
    rewards, values = np.array([1.0, 2.0, 0.0]), np.array([0.5, -1.0, 4.0])
    lived, never = np.array([True, True, False]), np.zeros(3, np.bool_)
    found = estimate_advantages(rewards, values, never, lived, 0.5, 0.0)
    assert found.tolist() == [1.0 - 0.5 - 0.5, 2.0 + 2.0 + 1.0, 0.0]


def test_nothing_is_expected_behind_a_ruined_account() -> None:
    rewards, values = np.array([1.0, -50.0, 0.0]), np.array([0.0, 0.0, 7.0])
    lived = np.array([True, True, False])
    ruined = estimate_advantages(rewards, values, np.array([False, True, False]), lived, 0.9, 1.0)
    assert ruined[1] == -50.0
    assert ruined[0] == pytest.approx(1.0 - 45.0)


def test_pieces_do_not_leak_into_each_other() -> None:
    rng = np.random.default_rng(2)
    rewards, values = rng.standard_normal((2, 9))
    lived = np.array([1, 1, 1, 0, 1, 1, 1, 1, 0], np.bool_)
    never = np.zeros(9, np.bool_)
    together = estimate_advantages(rewards, values, never, lived, 0.97, 0.9)
    for piece in (slice(0, 4), slice(4, 9)):
        alone = estimate_advantages(rewards[piece], values[piece], never[piece], lived[piece], 0.97, 0.9)
        assert np.array_equal(together[piece], alone)

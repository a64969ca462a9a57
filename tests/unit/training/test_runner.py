import numpy as np

from carryflow.training.runner import Rollout


def test_a_rollout_is_cut_where_episodes_end_and_resets_are_left_out() -> None:
    rollout = Rollout.blank(steps=8, accounts=3, width=2)
    rollout.lived[:] = True
    rollout.truncated[3, 0] = True
    rollout.lived[4, 0] = False
    rollout.terminated[7, 0] = True
    rollout.lived[0, 1] = False
    rollout.truncated[6, 2] = True
    rollout.lived[7, 2] = False
    assert rollout.pieces(0) == [(0, 4), (5, 8)]
    assert rollout.pieces(1) == [(1, 8)]
    assert rollout.pieces(2) == [(0, 7)]


def test_the_first_steps_of_a_rollout_keep_the_observation_they_led_to() -> None:
    rollout = Rollout.blank(steps=8, accounts=3, width=2)
    rollout.observations[:] = np.arange(9)[:, None, None]
    begun = rollout.first(5)
    assert begun.actions.shape == (5, 3, 1)
    assert begun.rewards.shape == (5, 3)
    assert begun.observations[-1, 0, 0] == 5

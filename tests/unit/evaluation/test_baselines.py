"""The policies that stand beside every result."""

import numpy as np
import pytest

from carryflow.core.errors import SettingsError
from carryflow.evaluation.baselines import (
    PlainChoice,
    ThresholdCarry,
    UngatedMean,
    stay_flat,
    stay_hedged,
)
from carryflow.features.scaling import Scaler
from carryflow.features.spec import FeatureSpec

SPEC = FeatureSpec(names=("basis_bp", "carry_72h_apr"), lookback=3)
SCALER = Scaler(center=(0.0, 0.10), scale=(1.0, 0.05))


def observe(carry_apr: float, position: float) -> np.ndarray:
    """Give one observation whose latest bar shows the carry; older bars and the other feature mislead."""
    bars = np.full((SPEC.lookback, 2), 5.0 if carry_apr < 0.05 else -5.0)
    bars[-1, 1] = (carry_apr - SCALER.center[1]) / SCALER.scale[1]
    return np.concatenate((bars.ravel(), [position, 0.0])).astype(np.float32)[None, :]


@pytest.mark.parametrize(
    ("carry_apr", "position", "expected"),
    [
        (0.09, 0.0, 1.0),  # above entry: enters
        (0.07, 0.0, 0.0),  # between, out: stays out
        (0.07, 0.9, 1.0),  # between, in: stays in
        (0.01, 0.9, 0.0),  # below exit: leaves
        (-0.10, 0.0, 0.0),  # below exit, out: stays out
        (0.07, -0.5, 0.0),  # a short trade is not the trade it keeps
    ],
)
def test_threshold_carry_enters_above_leaves_below_and_else_stays(
    carry_apr: float, position: float, expected: float
) -> None:
    policy = ThresholdCarry(SPEC, SCALER, enter_apr=0.08, exit_apr=0.02)
    assert policy(observe(carry_apr, position)).action.tolist() == [expected]


def test_threshold_carry_decides_for_each_account_of_a_batch_by_itself() -> None:
    policy = ThresholdCarry(SPEC, SCALER, enter_apr=0.08, exit_apr=0.02)
    batch = np.concatenate([observe(0.09, 0.0), observe(0.01, 1.0), observe(0.05, 1.0)])
    assert policy(batch).action.tolist() == [1.0, 0.0, 1.0]


def test_thresholds_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(SettingsError, match="carry_exit_apr"):
        ThresholdCarry(SPEC, SCALER, enter_apr=0.02, exit_apr=0.08)


def test_flat_and_always_hedged_look_at_nothing() -> None:
    noise = np.full((3, SPEC.observation_size), np.nan, dtype=np.float32)
    assert stay_flat(noise).action.tolist() == [0.0] * 3
    assert stay_hedged(noise).action.tolist() == [1.0] * 3
    assert stay_flat(noise).gate.shape == (3, 0)


def test_the_ungated_mean_gives_every_expert_the_same_weight_whatever_the_gate_says() -> None:
    class Gated(PlainChoice):
        votes = np.array([[1.0, -1.0, 0.5, 0.5], [1.0, 1.0, 1.0, -1.0]], dtype=np.float32)

    mean = UngatedMean(lambda observations: Gated(observations[:, 0]))
    assert mean(np.zeros((2, SPEC.observation_size), dtype=np.float32)).action.tolist() == [0.25, 0.5]

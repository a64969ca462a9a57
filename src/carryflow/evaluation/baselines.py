"""The policies that stand beside every result: flat, always hedged, threshold carry, experts without a gate.

Each is a function of the same observations that the trained policy sees, so none knows more than another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from carryflow.core.errors import SettingsError
from carryflow.features.scaling import Scaler
from carryflow.features.spec import POSITION_FEATURES, FeatureSpec

Floats = NDArray[np.float32]

GATED = "gated"
CHAMPION = "champion"
FLAT = "flat"
ALWAYS_HEDGED = "always_hedged"
THRESHOLD_CARRY = "threshold_carry"
UNGATED_MEAN = "ungated_mean"

CARRY_FEATURE = "carry_72h_apr"
"""The trailing carry that the threshold policy reads."""


class Choice(Protocol):
    """Say what a policy decided on a batch of B observations; `agents.bundle.Decisions` is one."""

    @property
    def action(self) -> Floats:
        """Give the fraction of capital in the hedged trade, (B,) in [−1, 1]."""

    @property
    def gate(self) -> Floats:
        """Give each expert's weight, (B, E); E is 0 for a policy without a gate."""


class Voted(Choice, Protocol):
    """Say what each expert wanted, too."""

    @property
    def votes(self) -> Floats:
        """Give each expert's own action, (B, E) in [−1, 1]."""


Policy = Callable[[Floats], Choice]
"""Decides on scaled observations (B, D): the window, oldest bar first, then the position features."""


@dataclass(frozen=True, slots=True)
class PlainChoice:
    """Hold the actions (B,) of a policy without a gate."""

    action: Floats

    @property
    def gate(self) -> Floats:
        """Give no weights, (B, 0)."""
        return np.empty((self.action.shape[0], 0), dtype=np.float32)


def stay_flat(observations: Floats) -> PlainChoice:
    """Hold no position."""
    return PlainChoice(np.zeros(observations.shape[0], dtype=np.float32))


def stay_hedged(observations: Floats) -> PlainChoice:
    """Hold the whole hedged trade, long spot and short perp, at every hour."""
    return PlainChoice(np.ones(observations.shape[0], dtype=np.float32))


@dataclass(frozen=True, slots=True)
class ThresholdCarry:
    """Enter the hedged trade when trailing carry is high, leave it when it is low, and else stay.

    The policy keeps no memory: whether it is in the trade stands in the observation. It sees carry as every
    policy does, within the scaler's clip.

    Attributes:
        spec: the feature spec of the observations.
        scaler: what they were scaled with; the thresholds are held against unscaled carry.
        enter_apr: trailing 72-hour carry above which it enters (1/year).
        exit_apr: trailing 72-hour carry below which it leaves (1/year).

    Raises:
        SettingsError: it would leave above where it enters.
    """

    spec: FeatureSpec
    scaler: Scaler
    enter_apr: float
    exit_apr: float

    def __post_init__(self) -> None:
        if self.exit_apr > self.enter_apr:
            raise SettingsError(
                f"threshold carry would leave at {self.exit_apr:g}, above its entry at {self.enter_apr:g}; "
                "set evaluation.carry_exit_apr at or below evaluation.carry_enter_apr"
            )

    def __call__(self, observations: Floats) -> PlainChoice:
        """Decide on observations (B, D)."""
        carry, last_bar = self.spec.index(CARRY_FEATURE), self.spec.window_size - len(self.spec.names)
        scaled = observations[:, last_bar + carry].astype(np.float64)
        carry_apr = scaled * self.scaler.scale[carry] + self.scaler.center[carry]
        invested = observations[:, self.spec.window_size + POSITION_FEATURES.index("position")] > 0.0
        holds = np.where(invested, carry_apr >= self.exit_apr, carry_apr > self.enter_apr)
        return PlainChoice(holds.astype(np.float32))


@dataclass(frozen=True, slots=True)
class UngatedMean:
    """Give every expert the same weight: what the gate must improve on.

    Attributes:
        decide: the gated policy whose experts are asked.
    """

    decide: Callable[[Floats], Voted]

    def __call__(self, observations: Floats) -> PlainChoice:
        """Decide on observations (B, D)."""
        votes = self.decide(observations).votes
        return PlainChoice(votes.mean(axis=1, dtype=np.float64).astype(np.float32))

"""The four experts: each sees its own features at its own bars of the window, and the account's position."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

import torch
from torch import nn

from carryflow.agents.nets import mlp
from carryflow.core.errors import SchemaMismatchError
from carryflow.features.spec import POSITION_FEATURES, SENTIMENT_FEATURE, FeatureSpec

VOTE_GAIN = 0.01
"""Gain of an expert's last layer: an untrained expert adds next to nothing to the position it holds."""

SHARPNESS = 8
"""How sharply a vote bends towards ±1: straight inside, and a full position still feels what would end it."""

LOUDEST = 100.0
"""Bound of a wish before it is bent, so that its eighth power stays in float32."""


@dataclass(frozen=True, slots=True)
class ExpertView:
    """Say what one expert looks at.

    Attributes:
        name: the expert's name.
        features: features of a bar that it reads; each must be in the spec.
        ages: which bars it reads them at, in bars before the latest (0 = the latest). Ages that the spec's
            lookback does not reach are left out.
        optional: features that it reads as well where the spec has them.
    """

    name: str
    features: tuple[str, ...]
    ages: tuple[int, ...]
    optional: tuple[str, ...] = ()

    def columns(self, spec: FeatureSpec) -> tuple[int, ...]:
        """Give the places in an observation that this expert reads, position features last.

        Raises:
            SchemaMismatchError: the spec lacks a feature that the expert needs.
        """
        names = self.features + tuple(name for name in self.optional if name in spec.names)
        ages = [age for age in self.ages if age < spec.lookback]
        bars = [(spec.lookback - 1 - age) * len(spec.names) for age in ages]
        window = tuple(bar + spec.index(name) for bar in bars for name in names)
        return window + position_columns(spec)


def position_columns(spec: FeatureSpec) -> tuple[int, ...]:
    """Give the places of the position features in an observation."""
    return tuple(range(spec.window_size, spec.window_size + len(POSITION_FEATURES)))


EXPERTS: Mapping[str, ExpertView] = MappingProxyType(
    {
        view.name: view
        for view in (
            ExpertView(
                "anomaly_ppo",
                ("anomaly_score", "basis_bp", "premium_8h_bp", "funding_last_apr", "vol_ratio", "liquidity"),
                ages=(0, 4, 12),
            ),
            ExpertView(
                "short_term_ppo",
                (
                    "spot_return",
                    "basis_bp",
                    "premium_8h_bp",
                    "funding_last_apr",
                    "carry_24h_apr",
                    "hours_to_settlement",
                    "vol_24h_apr",
                ),
                ages=(0, 1, 2, 4, 8),
            ),
            ExpertView(
                "long_term_ppo",
                (
                    "premium_8h_bp",
                    "carry_24h_apr",
                    "carry_72h_apr",
                    "carry_168h_apr",
                    "vol_24h_apr",
                    "momentum_168h",
                ),
                ages=(0, 24, 47),
            ),
            ExpertView(
                "sentiment_ppo",
                ("premium_8h_bp", "carry_24h_apr", "carry_72h_apr", "momentum_168h", "volume_shock"),
                ages=(0, 12, 24),
                optional=(SENTIMENT_FEATURE,),
            ),
        )
    }
)
"""The experts by name, in the order of the gate. The sentiment expert reads the crowd in its funding,
momentum and turnover, and a sentiment series on top where there is one."""


class ExpertPolicy(nn.Module):
    """Map observations to one expert's mean action.

    Attributes:
        expert: the expert's name in `EXPERTS`.
        spec: the feature spec of the observations.
        hidden: widths of the hidden layers.
    """

    def __init__(
        self, expert: str, spec: FeatureSpec, hidden: Sequence[int], generator: torch.Generator
    ) -> None:
        """Build an untrained expert.

        Raises:
            SchemaMismatchError: there is no such expert, or the spec lacks one of its features.
        """
        super().__init__()
        if expert not in EXPERTS:
            raise SchemaMismatchError(f"there is no expert {expert!r}; there are {', '.join(EXPERTS)}")
        columns = EXPERTS[expert].columns(spec)
        self.expert, self.spec, self.hidden = expert, spec, tuple(hidden)
        self.columns: torch.Tensor
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.int64), persistent=False)
        self.position: torch.Tensor
        held = spec.window_size + POSITION_FEATURES.index("position")
        self.register_buffer("position", torch.tensor([held]), persistent=False)
        self.net = mlp(len(columns), hidden, 1, output_gain=VOTE_GAIN, generator=generator)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Give the mean action of each observation: (B, D) float32 → (B,) in [−1, 1]."""
        urge = cast(torch.Tensor, self.net(observation[:, self.columns])).squeeze(-1)
        return bend(observation[:, self.position].squeeze(-1) + urge)


def bend(wish: torch.Tensor) -> torch.Tensor:
    """Bend any wish smoothly into [−1, 1]: x / (1 + x⁸)^⅛.

    An untrained expert wishes for the position it has, and `bend` moves no position in [−1, 1] by more than
    0.09, which is less than the account's hysteresis: it holds. That is the place to begin from, for a trade
    costs more than a day's funding earns, and a policy that begins by trading at random learns first of all
    never to trade.

    >>> bend(torch.tensor([0.0, 0.5, 1.0, 3.0])).round(decimals=2).tolist()
    [0.0, 0.5, 0.9200000166893005, 1.0]
    """
    bounded = wish.clamp(-LOUDEST, LOUDEST)
    return bounded / (1.0 + bounded**SHARPNESS) ** (1.0 / SHARPNESS)

"""The gated aggregator: a softmax over frozen experts, and the two terms that keep it from collapsing."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from carryflow.agents.experts import ExpertPolicy, position_columns
from carryflow.agents.nets import mlp
from carryflow.core.errors import SchemaMismatchError

GATE_GAIN = 0.01
"""Gain of the gate's last layer: an untrained gate weighs the experts almost alike."""

SMALLEST_WEIGHT = 1e-12
"""Floor of a weight inside the logarithm; −p·log p is 0 there to float32."""


class GatedPolicy(nn.Module):
    """Weigh the votes of frozen experts by a gate that reads the latest bar and the position.

    Attributes:
        experts: the frozen experts, in the gate's order.
        spec: the feature spec that all of them share.
        hidden: widths of the gate's hidden layers.
        temperature: divides the gate's logits; towards 0 the softmax becomes a choice of the top expert.
    """

    def __init__(
        self,
        experts: Sequence[ExpertPolicy],
        hidden: Sequence[int],
        temperature: float,
        generator: torch.Generator,
    ) -> None:
        """Freeze the experts and build an untrained gate over them.

        Raises:
            SchemaMismatchError: there is no expert, one comes twice, or they were made for different specs.
        """
        super().__init__()
        names = [expert.expert for expert in experts]
        if not names or len(set(names)) != len(names):
            raise SchemaMismatchError(f"a gate needs distinct experts, was given {names}")
        self.spec, self.hidden, self.temperature = experts[0].spec, tuple(hidden), temperature
        for expert in experts:
            self.spec.require(expert.spec.hash, f"expert {expert.expert!r}")
        self.experts = nn.ModuleList(experts).requires_grad_(False)
        latest = range(self.spec.window_size - len(self.spec.names), self.spec.window_size)
        columns = torch.tensor((*latest, *position_columns(self.spec)), dtype=torch.int64)
        self.columns: torch.Tensor
        self.register_buffer("columns", columns, persistent=False)
        self.gate = mlp(len(columns), hidden, len(names), output_gain=GATE_GAIN, generator=generator)

    @property
    def names(self) -> tuple[str, ...]:
        """Name the experts in the order of the gate's weights."""
        return tuple(cast(ExpertPolicy, expert).expert for expert in self.experts)

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decide on each observation, (B, D) float32.

        Returns:
            The action (B,) in [−1, 1]; the gate (B, E), whose rows sum to 1; the experts' votes (B, E).
        """
        votes = torch.stack([expert(observation) for expert in self.experts], dim=1)
        gate = softmax_gate(self.gate(observation[:, self.columns]), self.temperature)
        return (gate * votes).sum(dim=1), gate, votes


def softmax_gate(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Turn logits (B, E) into weights (B, E) that are positive and sum to 1 in each row.

    >>> softmax_gate(torch.tensor([[0.0, 0.0]]), 1.0).tolist()
    [[0.5, 0.5]]
    >>> softmax_gate(torch.tensor([[0.1, 0.2]]), 1e-4).tolist()
    [[0.0, 1.0]]
    """
    return torch.softmax(logits / temperature, dim=-1)


def gate_entropy(gate: torch.Tensor) -> torch.Tensor:
    """Give the mean entropy of the gate's rows (B, E), in nats: log E where all experts weigh the same.

    >>> round(float(gate_entropy(torch.full((3, 4), 0.25))), 4)
    1.3863
    """
    return -(gate * torch.log(gate.clamp_min(SMALLEST_WEIGHT))).sum(dim=-1).mean()


def load_balance(gate: torch.Tensor) -> torch.Tensor:
    """Give the load-balancing loss of a batch of gate rows (B, E): 1 at uniform load, E if one has it all.

    E · Σᵢ fᵢ·Pᵢ, where fᵢ is the share of rows whose top expert is i and Pᵢ the mean weight of i. The
    gradient runs through P alone (Fedus, Zoph and Shazeer, "Switch Transformers", 2021, equations 4 to 6).

    >>> float(load_balance(torch.eye(4)))
    1.0
    >>> float(load_balance(torch.tensor([[1.0, 0.0], [1.0, 0.0]])))
    2.0
    """
    experts = gate.shape[-1]
    top = nn.functional.one_hot(gate.argmax(dim=-1), experts).to(gate.dtype).mean(dim=0)
    return experts * (top * gate.mean(dim=0)).sum()

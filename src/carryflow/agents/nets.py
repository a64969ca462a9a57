"""The networks that every agent is made of."""

from collections.abc import Sequence

import torch
from torch import nn

HIDDEN_GAIN = 2.0**0.5
"""Gain of the orthogonal weights of a hidden layer, after Andrychowicz et al., "What Matters In On-Policy
Reinforcement Learning" (2020), which is also where the small gain of a policy's last layer comes from."""


def mlp(
    inputs: int, hidden: Sequence[int], outputs: int, *, output_gain: float, generator: torch.Generator
) -> nn.Sequential:
    """Build a tanh network with orthogonal weights and zero biases, (B, inputs) → (B, outputs).

    Args:
        inputs: numbers per row that go in.
        hidden: widths of the hidden layers, first to last.
        outputs: numbers per row that come out; no non-linearity follows them.
        output_gain: gain of the last layer's weights; near 0, an untrained network answers near 0.
        generator: the only source of randomness.
    """
    layers: list[nn.Module] = []
    width = inputs
    for size in hidden:
        layers += [_linear(width, size, HIDDEN_GAIN, generator), nn.Tanh()]
        width = size
    layers.append(_linear(width, outputs, output_gain, generator))
    return nn.Sequential(*layers)


def _linear(inputs: int, outputs: int, gain: float, generator: torch.Generator) -> nn.Linear:
    """Build one layer without the global draw that `nn.Linear` makes when it is constructed."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    nn.init.orthogonal_(layer.weight, gain=gain, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer

"""Advantages for the actor and returns for the critic, each with a λ of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.utils.numpy import convert_to_numpy

Floats = NDArray[np.float64]

VALUE_LAMBDA = 1.0
"""λ of the critic's returns: all that was sampled. Funding adds up over weeks; with the actor's shorter λ the
critic would see ten hours further in each iteration, and training would end before it knew what a position is
worth."""


@njit(cache=True)  # type: ignore[untyped-decorator]  # numba is untyped
def estimate_advantages(
    rewards: Floats,
    values: Floats,
    terminated: NDArray[np.bool_],
    lived: NDArray[np.bool_],
    gamma: float,
    lambda_: float,
) -> Floats:
    """Estimate the advantage of each of M steps, pieces of episodes laid end to end (M,).

    After each piece stands one row that was not lived and only holds the value of where it ended. Generalised
    advantage estimation: Aₜ = δₜ + γλ·Aₜ₊₁ with δₜ = rₜ + γ·V(sₜ₊₁) − V(sₜ), and V = 0 behind a terminal step
    (Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation", 2016).

    >>> no, yes = np.zeros(3, np.bool_), np.array([True, True, False])
    >>> estimate_advantages(np.array([1.0, 2.0, 0.0]), np.array([0.0, 4.0, 8.0]), no, yes, 0.5, 0.5).tolist()
    [3.5, 2.0, 0.0]
    """
    advantages = np.zeros(len(rewards))
    later = 0.0
    for row in range(len(rewards) - 1, -1, -1):
        if not lived[row]:
            later = 0.0
            continue
        reached = 0.0 if terminated[row] else values[row + 1]
        later = rewards[row] + gamma * reached - values[row] + gamma * lambda_ * later
        advantages[row] = later
    return advantages


class TwoLambdaAdvantages(ConnectorV2):  # type: ignore[misc]  # ray is untyped
    """Take the place of RLlib's advantage estimation, which has one λ for the actor and the critic.

    Stands last in the learner's pipeline, behind the connector that adds the unlived row to every piece. The
    actor's advantages are standardised over the lived rows.
    """

    def __init__(self, *, gamma: float, actor_lambda: float) -> None:
        """Take the discount per step and the actor's λ; the critic's is `VALUE_LAMBDA`."""
        super().__init__()
        self.gamma, self.actor_lambda = gamma, actor_lambda

    def __call__(
        self, *, rl_module: Any, batch: dict[str, Any], episodes: Sequence[Any], **_: Any
    ) -> dict[str, Any]:
        """Add advantages and value targets to each module's columns."""
        for module_id, columns in batch.items():
            with torch.no_grad():
                values = rl_module[module_id].compute_values(columns)
            known = [
                np.asarray(convert_to_numpy(columns[name]))
                for name in (Columns.REWARDS, Columns.TERMINATEDS, Columns.LOSS_MASK)
            ]
            rewards, terminated, lived = known[0].astype(np.float64), known[1] > 0, known[2] > 0
            expected = convert_to_numpy(values).astype(np.float64)
            for_actor, for_critic = (
                estimate_advantages(rewards, expected, terminated, lived, self.gamma, lambda_)
                for lambda_ in (self.actor_lambda, VALUE_LAMBDA)
            )
            spread = max(float(for_actor[lived].std()), 1e-8)
            standard = np.where(lived, (for_actor - for_actor[lived].mean()) / spread, 0.0)
            for name, numbers in (
                (Postprocessing.ADVANTAGES, standard),
                (Postprocessing.VALUE_TARGETS, for_critic + expected),
            ):
                columns[name] = torch.as_tensor(numbers, dtype=torch.float32, device=values.device)
        return batch

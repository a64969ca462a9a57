"""The policies as RLlib sees them, and the PPO learner that trains experts and gate alike."""

import copy
import math
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.connectors.learner import GeneralAdvantageEstimation
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from carryflow.agents.experts import ExpertPolicy, ExpertView
from carryflow.agents.gate import GatedPolicy, gate_entropy, load_balance
from carryflow.agents.nets import mlp
from carryflow.training.advantages import TwoLambdaAdvantages

GATE = "gate"
"""Column of a forward pass that holds the gate's weights (B, E)."""

READS = ("columns", "position")
"""Endings of the names of the buffers that hold places in an observation."""

CRITIC_AGES = (0, 4, 24, 47)
"""Bars of the window that the critic reads in full; it is thrown away after training."""


class CarryModule(TorchRLModule, ValueFunctionAPI):  # type: ignore[misc]  # ray is untyped
    """Wrap a policy's mean action in a Gaussian and put a critic beside it.

    An observation is wide and a policy reads little of it, so only the columns `seen` are sampled and learned
    from: this module's inputs are (B, len(seen)).

    `model_config` carries `policy` (an `ExpertPolicy` or a `GatedPolicy`, copied), `initial_std`,
    `final_std`, `critic_hidden`, `value_scale_bp` and `seed`. The standard deviation follows the time
    (`anneal`) and is not learned: the quickest way to save costs is to try nothing, and so to find nothing.
    """

    policy: ExpertPolicy | GatedPolicy

    def setup(self) -> None:
        """Copy the policy and build the critic."""
        config: dict[str, Any] = self.model_config
        generator = torch.Generator().manual_seed(config["seed"])
        self.policy = copy.deepcopy(config["policy"])
        spec = self.policy.spec
        columns = ExpertView("critic", spec.names, CRITIC_AGES).columns(spec)
        self.critic_columns: torch.Tensor
        self.register_buffer("critic_columns", torch.tensor(columns, dtype=torch.int64), persistent=False)
        self.seen = self._narrow()
        self.critic = mlp(len(columns), config["critic_hidden"], 1, output_gain=1.0, generator=generator)
        self.value_scale_bp = float(config["value_scale_bp"])
        self.log_std: torch.Tensor
        self.register_buffer("log_std", torch.zeros(()))
        self.stds = (config["initial_std"], config["final_std"])
        self.anneal(0.0)

    def _narrow(self) -> NDArray[np.int64]:
        """Point all that reads an observation at its place among the columns read; give those columns."""
        readers = [(name, read) for name, read in self.named_buffers() if name.endswith(READS)]
        seen = np.unique(np.concatenate([read.numpy() for _, read in readers]))
        for _, read in readers:
            read.copy_(torch.from_numpy(np.searchsorted(seen, read.numpy())))
        return seen

    def anneal(self, done: float) -> None:
        """Set the standard deviation between its ends, geometrically, by the part of training done."""
        first, last = (math.log(std) for std in self.stds)
        self.log_std.fill_(first + (last - first) * min(done, 1.0))

    def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Give mean and log standard deviation of the action (B, 2), and the gate (B, E) if there is one."""
        decided = self.policy(batch[Columns.OBS])
        mean, gate = (decided[0], {GATE: decided[1]}) if isinstance(decided, tuple) else (decided, {})
        inputs = torch.stack((mean, self.log_std.expand_as(mean)), dim=-1)
        return {Columns.ACTION_DIST_INPUTS: inputs} | gate

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        """Give the discounted return that the critic expects from each observation (B,), in bp of capital."""
        value = cast(torch.Tensor, self.critic(batch[Columns.OBS][:, self.critic_columns]))
        return self.value_scale_bp * value.squeeze(-1)


class CarryPPOLearner(PPOTorchLearner):  # type: ignore[misc]  # ray is untyped
    """Learn by PPO with a λ each for actor and critic, ever less exploration, and the gate's terms.

    `config.learner_config_dict` carries `total_steps`, and for a module with a gate `entropy_coeff` and
    `load_balance_coeff`; a module without a gate learns by PPO alone.
    """

    def build(self) -> None:
        """Put our own advantages in the place of RLlib's."""
        super().build()
        ours = TwoLambdaAdvantages(gamma=self.config.gamma, actor_lambda=self.config.lambda_)
        self._learner_connector.insert_after(GeneralAdvantageEstimation, ours)
        self._learner_connector.remove(GeneralAdvantageEstimation)

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Lower the exploration for the next iteration."""
        super().after_gradient_based_update(timesteps=timesteps)
        steps = timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0)
        for module_id in self.module.keys():  # noqa: SIM118 - RLlib's multi-module does not iterate over ids
            self.module[module_id].unwrapped().anneal(steps / self.config.learner_config_dict["total_steps"])

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor:
        """Give PPO's loss − entropy_coeff · H(gate) + load_balance_coeff · L(gate)."""
        loss = cast(
            torch.Tensor,
            super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out),
        )
        if GATE not in fwd_out:
            return loss
        gate = fwd_out[GATE]
        entropy, balance = gate_entropy(gate), load_balance(gate)
        policy = cast(GatedPolicy, self.module[module_id].unwrapped().policy)
        shares = dict(zip(policy.names, gate.detach().mean(dim=0).tolist(), strict=True))
        self.metrics.log_dict(
            {"gate_entropy": entropy.item(), "load_balance": balance.item()}
            | {f"share_{name}": share for name, share in shares.items()},
            key=module_id,
            window=1,
        )
        terms = config.learner_config_dict
        bonus, malus = float(terms["entropy_coeff"]), float(terms["load_balance_coeff"])
        return loss - bonus * entropy + malus * balance

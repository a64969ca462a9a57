"""One PPO run on a local or a joined Ray cluster: from an untrained policy to a trained one and its curve."""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import ray
import torch
from gymnasium.envs.registration import VectorizeMode
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import register_env

from carryflow.agents.experts import ExpertPolicy
from carryflow.agents.gate import GatedPolicy
from carryflow.core.errors import SettingsError
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape
from carryflow.env.vector import VectorCryptoEnv
from carryflow.training.hyperparameters import TrainSettings
from carryflow.training.rl_modules import CarryModule, CarryPPOLearner
from carryflow.training.runner import REWARD, ArrayEnvRunner

Policy = TypeVar("Policy", ExpertPolicy, GatedPolicy)
CurvePoint = dict[str, float]

ENV_NAME = "carryflow-hedged-trade"
MAX_GRAD_NORM = 0.5
VALUE_LOSS_WEIGHT = 0.5
OBJECT_STORE_BYTES = 128 * 1024 * 1024


@contextmanager
def ray_cluster(settings: TrainSettings) -> Iterator[None]:
    """Join the cluster of `settings.ray_address`, or start a local one, unless Ray runs here already."""
    if ray.is_initialized():
        yield
        return
    local = settings.ray_address == "local"
    of_its_own: dict[str, Any] = {
        "num_cpus": 1 + settings.runners,
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
    }
    join = partial(
        ray.init,
        address=settings.ray_address,
        logging_level=logging.ERROR,
        log_to_driver=False,
        **(of_its_own if local else {}),
    )
    try:
        join()
    except Exception as error:
        # Ray gives a local node 30 s to start, which a machine under full load may need; no setting says else
        if "timed out during startup" not in str(error):
            raise
        ray.shutdown()
        join()
    try:
        yield
    finally:
        ray.shutdown()


def learn(
    policy: Policy,
    tapes: Sequence[MarketTape],
    env: EnvSettings,
    train: TrainSettings,
    *,
    iterations: int,
    gate_terms: Mapping[str, float],
    seed: int,
    progress: Callable[[str], None],
    label: str,
) -> tuple[Policy, list[CurvePoint]]:
    """Train a copy of `policy` on the tapes; give it back with its learning curve, one point per iteration.

    The same arguments give the same policy to the last bit on the same machine, as long as it samples in its
    own process (`train.runners` = 0).

    Raises:
        SettingsError: the environment wants more than the one fraction that a policy decides.

    """
    if env.action != "fraction":
        raise SettingsError(
            f"policies decide one fraction of capital, env.action was {env.action}; set it to fraction"
        )
    torch.set_num_threads(1)  # nets this small run at half the speed on two
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)  # it announces its own defaults as warnings
    with ray_cluster(train):
        algorithm = _configure(
            policy, tapes, env, train, iterations=iterations, gate_terms=gate_terms, seed=seed
        ).build_algo()
        curve: list[CurvePoint] = []
        try:
            for iteration in range(1, iterations + 1):
                curve.append(_curve_point(iteration, algorithm.train()))
                progress(_describe(label, iterations, curve[-1]))
            trained = copy.deepcopy(policy)
            trained.load_state_dict(algorithm.get_module().policy.state_dict())
        finally:
            algorithm.stop()
    return trained, curve


def _configure(
    policy: ExpertPolicy | GatedPolicy,
    tapes: Sequence[MarketTape],
    env: EnvSettings,
    train: TrainSettings,
    *,
    iterations: int,
    gate_terms: Mapping[str, float],
    seed: int,
) -> PPOConfig:
    """Say to RLlib what `TrainSettings` says."""
    register_env(
        ENV_NAME, lambda given: VectorCryptoEnv(given["tapes"], given.get("num_envs", 1), given["settings"])
    )
    module = {
        "policy": policy,
        "initial_std": train.initial_std,
        "final_std": train.final_std,
        "critic_hidden": list(train.critic_hidden),
        "value_scale_bp": train.value_scale_bp,
        "seed": seed,
    }
    last_step = iterations * train.batch_steps
    return (
        PPOConfig()
        .environment(ENV_NAME, env_config={"tapes": list(tapes), "settings": env})
        .env_runners(
            env_runner_cls=ArrayEnvRunner,
            num_env_runners=train.runners,
            num_envs_per_env_runner=train.accounts // max(train.runners, 1),
            gym_env_vectorize_mode=VectorizeMode.VECTOR_ENTRY_POINT,
        )
        .learners(num_learners=0, num_gpus_per_learner=int(torch.cuda.is_available()))
        .rl_module(rl_module_spec=RLModuleSpec(module_class=CarryModule, model_config=module))
        .training(
            learner_class=CarryPPOLearner,
            learner_config_dict={"total_steps": last_step, **gate_terms},
            train_batch_size_per_learner=train.batch_steps,
            minibatch_size=train.minibatch_steps,
            num_epochs=train.epochs,
            lr=[[0, train.learning_rate], [last_step, train.learning_rate / 100]],
            gamma=train.gamma,
            lambda_=train.gae_lambda,
            clip_param=train.clip,
            use_kl_loss=True,
            kl_coeff=0.0,
            vf_clip_param=float("inf"),
            vf_loss_coeff=VALUE_LOSS_WEIGHT / train.value_scale_bp**2,
            grad_clip=MAX_GRAD_NORM,
            grad_clip_by="global_norm",
        )
        .debugging(seed=seed, log_level="ERROR")
    )


def _curve_point(iteration: int, result: Mapping[str, Any]) -> CurvePoint:
    """Pick the learning curve's numbers from an iteration's result."""
    sampled, learned = result["env_runners"], result["learners"]["default_policy"]
    names = {
        "mean_kl_loss": "kl",
        "entropy": "action_entropy",
        "policy_loss": "policy_loss",
        "vf_loss": "vf_loss_bp2",
        "vf_explained_var": "vf_explained_variance",
        "gate_entropy": "gate_entropy",
        "load_balance": "load_balance",
    }
    point = {
        "iteration": float(iteration),
        "env_steps": float(sampled["num_env_steps_sampled_lifetime"]),
    }
    if "episode_return_mean" in sampled:
        point["episode_return_bp"] = float(sampled["episode_return_mean"])
    point |= {f"reward_{term}": float(mean) for term, mean in sampled[REWARD].items()}
    point |= {ours: float(learned[theirs]) for theirs, ours in names.items() if theirs in learned}
    return point | {name: float(learned[name]) for name in learned if name.startswith("share_")}


def _describe(label: str, iterations: int, point: CurvePoint) -> str:
    """Put one iteration into a line."""
    earned = point.get("episode_return_bp")
    return f"{label}: iteration {point['iteration']:.0f}/{iterations}" + (
        "" if earned is None else f", {earned:+.1f} bp an episode"
    )

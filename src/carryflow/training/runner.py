"""An RLlib environment runner that samples whole arrays: no Python work per account and step."""

import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from carryflow.env.layout import Told
from carryflow.env.reward import N_TERMS, REWARD_TERMS

Array = NDArray[Any]

REWARD = "reward_terms"
"""Metric of an iteration: the mean of each of `env.reward.REWARD_TERMS` over the steps sampled (bp)."""

SAMPLES = 1_000
"""Most samples of one iteration that its metrics are averaged over; RLlib forgets them after each."""


@dataclass(slots=True)
class Rollout:
    """Hold T steps of N accounts, time first.

    Attributes:
        observations: (T + 1, N, W) float32, the columns that the module has `seen`; action t was decided
            on row t.
        actions: (T, N, 1) float32, as drawn, before they are clipped to [−1, 1] for the environment.
        logp: (T, N) float32, log probability density of each action when it was drawn.
        dist_inputs: (T, N, 2) float32, mean and log standard deviation that it was drawn from.
        rewards: (T, N) float32, bp of capital.
        terminated: (T, N) bool, the account was ruined by this step.
        truncated: (T, N) bool, its episode was cut after this step.
        lived: (T, N) bool, False where the step only reset the account.
    """

    observations: Array
    actions: Array
    logp: Array
    dist_inputs: Array
    rewards: Array
    terminated: Array
    truncated: Array
    lived: Array

    @classmethod
    def blank(cls, steps: int, accounts: int, width: int) -> "Rollout":
        """Reserve the arrays of a rollout."""
        numbers = [np.empty((steps, accounts, *rest), np.float32) for rest in ((1,), (), (2,), ())]
        flags = [np.zeros((steps, accounts), np.bool_) for _ in range(3)]
        return cls(np.empty((steps + 1, accounts, width), np.float32), *numbers, *flags)

    def first(self, steps: int) -> "Rollout":
        """Give the first steps alone."""
        rest = [getattr(self, name)[:steps] for name in self.__slots__ if name != "observations"]
        return Rollout(self.observations[: steps + 1], *rest)

    def pieces(self, account: int) -> list[tuple[int, int]]:
        """Cut an account's steps where its episodes end; give [start, end) of each piece that was lived."""
        ended = self.terminated[:, account] | self.truncated[:, account]
        edges = [0, *(np.flatnonzero(ended) + 1).tolist(), len(ended)]
        starts = [at + (at < len(ended) and not self.lived[at, account]) for at in edges[:-1]]
        return [(start, end) for start, end in zip(starts, edges[1:], strict=True) if start < end]


class ArrayEnvRunner(SingleAgentEnvRunner):  # type: ignore[misc]  # ray is untyped
    """Sample steps of a NEXT_STEP-autoreset vector environment with flat observations and one action.

    The learner gets the rewards as they are, and of the observations what its module reads; the environment
    gets the actions clipped to its box. What the rewards are made of is logged under `REWARD`. Anything but
    sampling a number of steps is left to RLlib.
    """

    def _sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[SingleAgentEpisode]:
        if num_timesteps is None or random_actions:
            stock: list[SingleAgentEpisode] = super()._sample(
                num_timesteps=num_timesteps,
                num_episodes=num_episodes,
                explore=explore,
                random_actions=random_actions,
                force_reset=force_reset,
            )
            return stock
        if force_reset or self._needs_initial_reset:
            self._begin()
        rollout = self._roll(num_timesteps, explore)
        episodes = [
            self._episode(rollout, account, start, end)
            for account in range(self.num_envs)
            for start, end in rollout.pieces(account)
        ]
        steps = sum(len(episode) for episode in episodes)
        self._log_env_steps(metric=self._metrics_num_env_steps_sampled, num_steps=steps)
        self._increase_sampled_metrics(steps, sum(episode.is_done for episode in episodes))
        means = self._terms.sum(axis=0) / steps
        self.metrics.log_dict(
            dict(zip(REWARD_TERMS, means.tolist(), strict=True)), key=REWARD, window=SAMPLES
        )
        return episodes

    def _begin(self) -> None:
        """Reset every account, with the runner's own seed."""
        observations, _ = self.env.unwrapped.reset(seed=self._seed)
        self._needs_initial_reset = False
        self._observations = observations[:, self.module.seen]
        self._reset_next = np.zeros(self.num_envs, np.bool_)
        self._ids = [uuid.uuid4().hex for _ in range(self.num_envs)]
        self._ages = np.zeros(self.num_envs, np.int64)

    def _roll(self, wanted: int, explore: bool) -> Rollout:
        """Step all accounts until they have lived `wanted` steps together; a reset is no step."""
        env, module = self.env.unwrapped, self.module
        most = 2 * -(-wanted // self.num_envs) + 1  # a reset is followed by at least one lived step
        rollout = Rollout.blank(most, self.num_envs, self._observations.shape[1])
        forward = module.forward_exploration if explore else module.forward_inference
        distribution = module.get_exploration_action_dist_cls()
        rollout.observations[0] = self._observations
        told = env.simulator.told[:, Told.TERMS :]  # a view: each step writes into it, zeros for a reset
        self._terms = np.zeros((self.num_envs, N_TERMS))
        with torch.inference_mode():
            for t in range(most):
                inputs = forward({Columns.OBS: torch.from_numpy(rollout.observations[t])})[
                    Columns.ACTION_DIST_INPUTS
                ]
                drawn_from = distribution.from_logits(inputs)
                actions = (drawn_from if explore else drawn_from.to_deterministic()).sample()
                rollout.dist_inputs[t], rollout.actions[t] = inputs, actions
                rollout.logp[t] = drawn_from.logp(actions)
                rollout.lived[t] = ~self._reset_next
                observations, rewards, terminated, truncated, _ = env.step(rollout.actions[t].clip(-1.0, 1.0))
                rollout.observations[t + 1], rollout.rewards[t] = observations[:, module.seen], rewards
                rollout.terminated[t], rollout.truncated[t] = terminated, truncated
                self._terms += told
                self._reset_next = terminated | truncated
                wanted -= int(rollout.lived[t].sum())
                if wanted <= 0:
                    break
        self._observations = rollout.observations[t + 1].copy()
        return rollout.first(t + 1)

    def _episode(self, rollout: Rollout, account: int, start: int, end: int) -> SingleAgentEpisode:
        """Give one piece of an account's life in RLlib's form, and remember it for the metrics."""
        piece, buffer = np.s_[start:end, account], InfiniteLookbackBuffer
        outputs = {
            Columns.ACTION_LOGP: buffer(rollout.logp[piece]),
            Columns.ACTION_DIST_INPUTS: buffer(rollout.dist_inputs[piece]),
            WEIGHTS_SEQ_NO: buffer(np.full(end - start, self._weights_seq_no)),
        }
        episode = SingleAgentEpisode(
            id_=self._ids[account],
            observations=buffer(rollout.observations[start : end + 1, account]),
            actions=buffer(rollout.actions[piece]),
            rewards=buffer(rollout.rewards[piece]),
            infos=buffer([{}] * (end - start + 1)),
            terminated=bool(rollout.terminated[end - 1, account]),
            truncated=bool(rollout.truncated[end - 1, account]),
            t_started=int(self._ages[account]),
            len_lookback_buffer=0,
            extra_model_outputs=outputs,
        )
        if episode.is_done:
            self._done_episodes_for_metrics.append(episode)
            self._ids[account], self._ages[account] = uuid.uuid4().hex, 0
        else:
            self._ongoing_episodes_for_metrics[episode.id_].append(episode)
            self._ages[account] += end - start
        return episode

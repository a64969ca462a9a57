"""The sub-agents and the aggregator in one market, as RLlib's multi-agent interface."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from carryflow.agents.experts import EXPERTS
from carryflow.agents.gate import softmax_gate
from carryflow.core.errors import ActionError, SettingsError
from carryflow.env.action import as_action
from carryflow.env.settings import EnvSettings
from carryflow.env.simulator import HedgedSimulator
from carryflow.env.starts import first_starts, random_starts
from carryflow.env.tape import MarketTape
from carryflow.env.windowed import refuse_options

AGGREGATOR = "aggregator"

Floats = NDArray[np.float32]
ByAgent = dict[str, Any]


class MultiAgentWindowedEnv(MultiAgentEnv):  # type: ignore[misc]  # ray is untyped
    """Let E sub-agents and an aggregator trade the same hours, each on an account of its own.

    All begin on one row with one inherited position. In each step the sub-agents say what fraction of capital
    they want in the hedged trade, and the aggregator how much it believes each of them: its account is
    brought to the mean of what they said in that very step, weighed by the softmax of its logits over those
    still there. Each is rewarded by its own account (bp of capital, `env.reward`).

    Observations, float32: a sub-agent's (D,) is that of `CryptoTradingEnv`, window first, then its own
    position and drawdown. The aggregator's (D + 2E,) is the same of its own account, then the sub-agents'
    positions (E,), then what each of them wanted in the step before (E,): at first the inherited position,
    0 for one that has left. Actions, float32: (1,) in [−1, 1] of a sub-agent; (E,) logits of the aggregator,
    any finite numbers; one that is 750 above the others leaves them no weight at all.

    An agent whose account is liquidated or ruined terminates and leaves; the others go on. All are truncated
    where the episode is cut, and the aggregator when nobody is left to believe.

    Prefer four vectorised single-agent runs and a gate over the frozen experts (`training.train`), which is
    what is shipped: RLlib steps this one in Python, which takes a hundred times as long an account and hour,
    and every policy learns while the others change under it. This is for what those runs cannot show: how a
    gate fares while its experts are still learning, and experts that learn beside a gate.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium's name

    def __init__(
        self,
        tapes: Sequence[MarketTape],
        settings: EnvSettings,
        sub_agents: Sequence[str] = tuple(EXPERTS),
        temperature: float = 1.0,
    ) -> None:
        """Seat one account per sub-agent, and the aggregator's behind them.

        Args:
            tapes: the hours to play, of one feature spec.
            settings: the accounts, and their episodes.
            sub_agents: names of the sub-agents, in the order of the logits.
            temperature: divides the logits, > 0; towards 0 the top sub-agent decides alone.

        Raises:
            MarketDataError: there is no tape.
            SchemaMismatchError: the tapes were made for different feature specs.
            SettingsError: there is no sub-agent, a name comes twice, the temperature is not finite and
                positive, or `settings.action` is another.

        """
        super().__init__()
        self.sub_agents = tuple(sub_agents)
        self.possible_agents = [*self.sub_agents, AGGREGATOR]
        if not self.sub_agents or len(set(self.possible_agents)) != len(self.possible_agents):
            raise SettingsError(
                f"sub-agents must be distinct, some, and none of them {AGGREGATOR!r}, were {self.sub_agents}"
            )
        if settings.action != "fraction":
            raise SettingsError(
                f"agents say one fraction each, env.action was {settings.action}; set it to fraction"
            )
        if not 0.0 < temperature < inf:
            raise SettingsError(
                f"the temperature must be finite and above 0, was {temperature}; near 0 the top sub-agent "
                "decides alone"
            )
        self.settings = settings
        self.temperature = temperature
        self.simulator = HedgedSimulator(tapes, len(self.possible_agents), settings)
        size, count = self.simulator.spec.observation_size, len(self.sub_agents)
        each = dict.fromkeys(self.sub_agents, 0)
        self.observation_spaces = {
            agent: gym.spaces.Box(-np.inf, np.inf, (size,), np.float32) for agent in each
        } | {AGGREGATOR: gym.spaces.Box(-np.inf, np.inf, (size + 2 * count,), np.float32)}
        self.action_spaces = {agent: gym.spaces.Box(-1.0, 1.0, (1,), np.float32) for agent in each} | {
            AGGREGATOR: gym.spaces.Box(-np.inf, np.inf, (count,), np.float32)
        }
        self.agents: list[str] = []
        self._wanted = np.zeros(count)
        self._episodes = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ByAgent, ByAgent]:
        """Begin an episode for all; a `seed` makes this one and all that follow repeatable.

        Raises:
            SettingsError: there are options.

        """
        refuse_options(options)
        super().reset(seed=seed, options=options)
        if seed is not None:
            self._episodes = 0
        tapes = self.simulator.tapes
        if self.settings.random_start:
            start = random_starts(tapes, 1, self.np_random)
        else:
            start = first_starts(tapes, np.array([self._episodes]))
        self._episodes += 1
        everyone = np.arange(len(self.possible_agents))
        self.simulator.reset(everyone, *start, bars=self.settings.episode_bars)
        self.agents = list(self.possible_agents)
        self._wanted = np.repeat(start.fraction, len(self.sub_agents))
        return self._observe(self.agents), self._inform(self.agents)

    def step(self, action_dict: Mapping[str, Floats]) -> tuple[ByAgent, ByAgent, ByAgent, ByAgent, ByAgent]:
        """Let all agents act at once on the row last observed, and live until the next.

        Returns observations, rewards, terminated, truncated and infos of the agents that acted; terminated
        and truncated say under `__all__` whether nobody is left.

        Raises:
            ActionError: an agent that is there does not act, one that is not does, or an action is NaN,
                infinite, of another shape or beyond its box; no account has moved.

        """
        acted = self.agents
        if set(action_dict) != set(acted) or not acted:
            raise ActionError(
                f"expected one action of each of {acted}, got some of {sorted(action_dict)}; act for the "
                "agents in env.agents, and reset when there are none"
            )
        wanted, fractions = self._fractions(action_dict)
        result = self.simulator.step(fractions)
        self._wanted = wanted
        rows = {agent: row for row, agent in enumerate(self.possible_agents) if agent in acted}
        terminated = {agent: bool(result.terminated[row]) for agent, row in rows.items()}
        truncated = {agent: bool(result.truncated[row]) for agent, row in rows.items()}
        if AGGREGATOR in rows and not terminated[AGGREGATOR]:
            left = [agent for agent in self.sub_agents if agent in rows and not terminated[agent]]
            truncated[AGGREGATOR] |= not left
        self.agents = [agent for agent in acted if not (terminated[agent] or truncated[agent])]
        gone = [agent not in self.agents for agent in self.sub_agents]
        self._wanted[gone] = 0.0
        over = not self.agents
        all_terminated = over and all(terminated.values())
        return (
            self._observe(acted),
            {agent: float(result.reward[row]) for agent, row in rows.items()},
            terminated | {"__all__": all_terminated},
            truncated | {"__all__": over and not all_terminated},
            self._inform(acted),
        )

    def _fractions(self, actions: Mapping[str, Floats]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give what the sub-agents want (E,), and the fractions for all accounts (E + 1,), in [−1, 1]."""
        for agent, action in actions.items():
            try:
                finite = np.isfinite(as_action(action, self.action_spaces[agent].shape)).all()
            except ActionError as wrong:
                raise ActionError(f"{agent}: {wrong}") from None
            if not finite:
                raise ActionError(
                    f"{agent}: an action must be finite, was {action}; look at the policy that gave it"
                )
        acts = np.array([agent in actions for agent in self.sub_agents])
        wanted = np.zeros(len(self.sub_agents))
        wanted[acts] = [float(actions[agent][0]) for agent in self.sub_agents if agent in actions]
        mean = 0.0
        if AGGREGATOR in actions:
            logits = np.where(acts, np.asarray(actions[AGGREGATOR], dtype=np.float64), -np.inf)
            below_top = torch.from_numpy(logits - logits.max())  # so that no quotient is too large a number
            weights = softmax_gate(below_top, self.temperature).numpy()
            mean = min(max(float(weights @ wanted), -1.0), 1.0)
        return wanted, np.append(wanted, mean)

    def _observe(self, agents: Sequence[str]) -> ByAgent:
        """Give the observations of some agents."""
        seen = self.simulator.observe()
        rows = dict(zip(self.possible_agents, seen, strict=True))
        held = np.where(
            [agent in self.agents for agent in self.sub_agents], self.simulator.fraction[:-1], 0.0
        )
        rows[AGGREGATOR] = np.concatenate((seen[-1], held, self._wanted)).astype(np.float32)
        return {agent: rows[agent].copy() for agent in agents}

    def _inform(self, agents: Sequence[str]) -> ByAgent:
        """Give instant (UTC ms) and equity (quote) of some agents."""
        stands = zip(self.possible_agents, self.simulator.now_ms, self.simulator.equity, strict=True)
        told = {agent: {"now_ms": int(now), "equity": float(worth)} for agent, now, worth in stands}
        return {agent: told[agent] for agent in agents}

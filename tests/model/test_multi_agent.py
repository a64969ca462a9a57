"""The sub-agents and the aggregator in one market, checked and then learning in RLlib."""

from typing import Any

import numpy as np
import pytest

from carryflow.agents.experts import EXPERTS
from carryflow.core.errors import ActionError, SettingsError
from carryflow.env.settings import EnvSettings
from carryflow.env.simulator import HedgedSimulator
from carryflow.env.tape import MarketTape
from carryflow.features.spec import FeatureSpec

HOUR_MS = 3_600_000
SPEC = FeatureSpec(("first", "second"), 3)
SIZE = SPEC.observation_size
NAMES = tuple(EXPERTS)


def make_tape(n: int = 120, **given: Any) -> MarketTape:
    rng = np.random.default_rng(5)
    spot = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, n)))
    fields: dict[str, Any] = {
        "ticker": "ABC",
        "decision_ms": np.arange(1, n + 1) * HOUR_MS,
        "spot": spot,
        "perp": spot * (1 + rng.normal(0.0, 1e-3, n)),
        "mark": spot * (1 + rng.normal(0.0, 1e-3, n)),
        "tradable": np.ones(n, dtype=np.bool_),
        "settlement_cash": np.where(np.arange(n) % 8 == 0, -3e-4 * spot, 0.0),
        "features": rng.normal(size=(n, 2)).astype(np.float32),
        "spec": SPEC,
    }
    return MarketTape(**(fields | given))


def make_env(settings: EnvSettings | None = None, **given: Any) -> Any:
    from carryflow.training.multi_agent import MultiAgentWindowedEnv

    return MultiAgentWindowedEnv([make_tape(**given)], settings or EnvSettings(episode_bars=40))


def believe(*, only: int) -> np.ndarray:
    return np.where(np.arange(len(NAMES)) == only, 1_000.0, 0.0).astype(np.float32)


def play(env: Any, seed: int, steps: int = 30) -> list[Any]:
    rng = np.random.default_rng(0)
    told = [env.reset(seed=seed)]
    for _ in range(steps):
        told.append(
            env.step(
                {name: rng.uniform(-1, 1, 1).astype(np.float32) for name in env.agents if name in NAMES}
                | {"aggregator": rng.normal(size=len(NAMES)).astype(np.float32)}
            )
        )
        if not env.agents:
            break
    env.simulator.check_books()
    return told


def test_rllib_accepts_the_environment() -> None:
    from ray.rllib.utils.pre_checks.env import check_multiagent_environments

    env = make_env()
    check_multiagent_environments(env)
    assert env.possible_agents == [*NAMES, "aggregator"]
    for observations, *_ in play(env, 1):
        for agent, seen in observations.items():
            assert env.get_observation_space(agent).contains(seen)


def test_a_seed_fixes_everything_that_follows() -> None:
    first, again, other = (play(make_env(), seed) for seed in (3, 3, 4))
    np.testing.assert_equal(again, first)
    assert first[0][1]["aggregator"]["now_ms"] != other[0][1]["aggregator"]["now_ms"]


def test_episodes_go_through_the_tapes_in_turn_and_begin_again_with_a_seed() -> None:
    from carryflow.training.multi_agent import MultiAgentWindowedEnv

    tapes = [make_tape(decision_ms=(first + np.arange(120)) * HOUR_MS) for first in (1, 9_000)]
    env = MultiAgentWindowedEnv(tapes, EnvSettings(random_start=False))
    begun = [env.reset(seed=seed)[1]["aggregator"]["now_ms"] for seed in (1, None, None, 1)]
    assert begun == [tapes[k].decision_ms[SPEC.lookback - 1] for k in (0, 1, 0, 0)]


@pytest.mark.parametrize("only", range(len(NAMES)))
def test_an_aggregator_that_believes_one_sub_agent_has_exactly_its_ledger(only: int) -> None:
    env = make_env()
    rng = np.random.default_rng(8)
    env.reset(seed=2)
    while env.agents:
        actions = {name: rng.uniform(-1, 1, 1).astype(np.float32) for name in NAMES}
        _, rewards, *_ = env.step(actions | {"aggregator": believe(only=only)})
        assert rewards["aggregator"] == rewards[NAMES[only]]
    books = env.simulator
    np.testing.assert_array_equal(books.ledger[-1], books.ledger[only])
    assert books.turnover_quote[only] > 0
    assert len(np.unique(books.equity)) == len(NAMES)


def test_the_aggregator_trades_the_weighed_mean_and_sees_what_the_others_hold_and_wanted() -> None:
    env = make_env(EnvSettings(random_start=False, hysteresis=0.0))
    observed, _ = env.reset(seed=0)
    assert observed["aggregator"].shape == (SIZE + 2 * len(NAMES),)
    wanted = np.array([1.0, -1.0, 0.5, 0.0], dtype=np.float32)
    votes = {name: wanted[[k]] for k, name in enumerate(NAMES)}
    logits = np.log(np.array([4.0, 1.0, 2.0, 1.0])).astype(np.float32)
    observed, rewards, *_ = env.step(votes | {"aggregator": logits})

    alone = HedgedSimulator([make_tape()], 1, env.settings)
    alone.reset(0, 0, make_tape().first)
    result = alone.step([(4 * 1.0 + 1 * -1.0 + 2 * 0.5) / 8])
    assert rewards["aggregator"] == pytest.approx(result.reward[0], rel=1e-6)
    seen = observed["aggregator"]
    np.testing.assert_array_equal(seen[: SIZE - 2], observed[NAMES[0]][: SIZE - 2])
    assert seen[SIZE - 2] == pytest.approx(alone.fraction[0], rel=1e-6)
    held = [observed[name][-2] for name in NAMES]
    np.testing.assert_allclose(seen[SIZE : SIZE + 4], held, rtol=1e-6)
    np.testing.assert_array_equal(seen[SIZE + 4 :], wanted)


@pytest.mark.pitfall("P13")
def test_a_liquidated_sub_agent_leaves_and_the_others_go_on() -> None:
    squeeze = np.where(np.arange(30) < 10, 100.0, 260.0)
    market = dict.fromkeys(("spot", "perp", "mark"), squeeze) | {"settlement_cash": np.zeros(30)}
    env = make_env(EnvSettings(random_start=False, episode_bars=25), n=30, **market)
    env.reset(seed=0)
    left: list[str] = []
    while env.agents:
        # the first alone is short the perpetual; the aggregator believes another, and then still the first
        votes = {name: np.array([-0.5 if left else float(name == NAMES[0])], np.float32) for name in NAMES}
        votes = {name: vote for name, vote in votes.items() if name in env.agents}
        trust = {"aggregator": believe(only=0 if left else 1)}
        observed, _, terminated, truncated, _ = env.step(votes | trust)
        gone = [agent for agent, ended in terminated.items() if ended and agent != "__all__"]
        if gone:
            assert gone == [NAMES[0]]
            assert set(gone) <= set(observed)
            np.testing.assert_array_equal(observed["aggregator"][[SIZE, SIZE + 4]], 0.0)
        left += gone
    assert observed["aggregator"][SIZE - 2] == observed[NAMES[1]][SIZE - 2] < -0.4
    assert left == [NAMES[0]]
    assert truncated["__all__"]
    assert set(truncated) == {*NAMES[1:], "aggregator", "__all__"}
    env.simulator.check_books()


def test_the_aggregator_is_cut_when_nobody_is_left_to_believe() -> None:
    spike = np.arange(30) == 10
    still = dict.fromkeys(("spot", "perp", "mark"), np.full(30, 100.0)) | {"settlement_cash": np.zeros(30)}
    reach = {"mark_high": np.where(spike, 400.0, 100.0), "mark_low": np.where(spike, 10.0, 100.0)}
    env = make_env(EnvSettings(random_start=False, spot_share=0.6), n=30, **still, **reach)
    env.reset(seed=0)
    steps = 0
    while env.agents:
        # two are short the perpetual and two are long; their mean is flat, and survives the spike
        votes = {name: np.array([(-1.0) ** k], np.float32) for k, name in enumerate(NAMES)}
        *_, terminated, truncated, _ = env.step(votes | {"aggregator": np.zeros(4, np.float32)})
        steps += 1
    assert steps == 10 - (SPEC.lookback - 1)
    assert terminated == dict.fromkeys(NAMES, True) | {"aggregator": False, "__all__": False}
    assert truncated == dict.fromkeys(NAMES, False) | {"aggregator": True, "__all__": True}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"aggregator": np.array([np.nan, 0, 0, 0], np.float32)}, "aggregator: an action must be"),
        ({NAMES[0]: np.array([np.inf], np.float32)}, f"{NAMES[0]}: an action must be"),
        ({NAMES[0]: np.array([2.0], np.float32)}, r"fraction in \[-1, 1\]"),
        ({NAMES[0]: np.zeros(2, np.float32)}, f"{NAMES[0]}: an action must be \\(1,\\) real numbers"),
        ({NAMES[1]: np.array(["up"])}, f"{NAMES[1]}: an action must be \\(1,\\) real numbers"),
        ({"stranger": np.zeros(1, np.float32)}, "expected one action of each"),
    ],
)
def test_an_action_that_is_none_is_refused_and_nobody_has_moved(
    change: dict[str, np.ndarray], message: str
) -> None:
    env = make_env()
    env.reset(seed=0)
    before = env.simulator.ledger.copy()
    actions = {name: np.ones(1, np.float32) for name in NAMES} | {"aggregator": np.zeros(4, np.float32)}
    with pytest.raises(ActionError, match=message):
        env.step(actions | change)
    np.testing.assert_array_equal(env.simulator.ledger, before)
    env.step(actions)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    from carryflow.training.multi_agent import MultiAgentWindowedEnv

    with pytest.raises(SettingsError, match=f"must be finite and above 0, was {temperature}"):
        MultiAgentWindowedEnv([make_tape()], EnvSettings(), temperature=temperature)


def test_at_the_least_temperature_the_largest_logit_decides_alone() -> None:
    from carryflow.training.multi_agent import MultiAgentWindowedEnv

    env = MultiAgentWindowedEnv([make_tape()], EnvSettings(random_start=False), temperature=1e-300)
    env.reset(seed=0)
    votes = {name: np.array([0.2 * k], np.float32) for k, name in enumerate(NAMES)}
    logits = np.array([-3e38, 0.0, 1.0, 3e38], np.float32)
    _, rewards, *_ = env.step(votes | {"aggregator": logits})
    assert rewards["aggregator"] == rewards[NAMES[3]]
    with pytest.raises(SettingsError, match="reset knows no options, got 'row'"):
        env.reset(options={"row": 3})


def test_ppo_moves_the_weights_of_a_policy_of_its_own_for_each_agent(ray: None) -> None:
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
    from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec
    from ray.tune.registry import register_env

    register_env("carryflow-agents", lambda _: make_env())
    agents = make_env().possible_agents
    small = RLModuleSpec(model_config=DefaultModelConfig(fcnet_hiddens=[8]))
    algorithm = (
        PPOConfig()
        .environment("carryflow-agents")
        .env_runners(num_env_runners=0)
        .learners(num_learners=0)
        .multi_agent(policies=set(agents), policy_mapping_fn=lambda agent, episode, **_: agent)
        .rl_module(rl_module_spec=MultiRLModuleSpec(rl_module_specs=dict.fromkeys(agents, small)))
        .training(train_batch_size_per_learner=200, minibatch_size=50, num_epochs=2, lr=1e-3)
        .debugging(seed=0, log_level="ERROR")
        .build_algo()
    )
    try:
        module = algorithm.get_module(NAMES[0])
        before = {agent: next(algorithm.get_module(agent).parameters()).clone() for agent in agents}
        result = [algorithm.train() for _ in range(2)][-1]
        assert module is not algorithm.get_module("aggregator")
        for agent in agents:
            assert np.isfinite(result["learners"][agent]["total_loss"])
            assert np.isfinite(result["env_runners"]["agent_episode_returns_mean"][agent])
            assert not before[agent].equal(next(algorithm.get_module(agent).parameters()))
    finally:
        algorithm.stop()

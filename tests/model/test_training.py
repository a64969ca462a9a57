"""Learning for real: RLlib on a small market whose funding can be read off the features."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from carryflow.agents.bundle import load_bundle
from carryflow.agents.experts import EXPERTS, ExpertPolicy
from carryflow.agents.gate import gate_entropy, load_balance
from carryflow.agents.weights import load_expert, save_expert
from carryflow.core.costs import CostSettings
from carryflow.core.errors import SchemaMismatchError, SettingsError
from carryflow.env.reward import REWARD_TERMS
from carryflow.env.settings import EnvSettings
from carryflow.env.simulator import HedgedSimulator
from carryflow.features.dataset import read_dataset, write_dataset
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.features.split import HOUR_MS, Split
from carryflow.settings import resolve
from carryflow.training.hyperparameters import GateSettings, TrainSettings
from carryflow.training.train import training_tapes

SPEC = FeatureSpec.of(FeatureSettings(lookback=4), sentiment=False)
ENV = EnvSettings(
    episode_bars=96,
    costs=CostSettings(
        spot_taker_bp=2, perp_taker_bp=2, spot_slippage_bp=0, perp_slippage_bp=0, borrow_apr=0.0
    ),
)
TRAIN = TrainSettings(
    accounts=64,
    batch_steps=4096,
    minibatch_steps=1024,
    learning_rate=3e-3,
    gamma=0.97,
    final_std=0.2,
    iterations=14,
    hidden=(16,),
    gate=GateSettings(iterations=4, hidden=(16,)),
)
START_MS = 1_735_689_600_000
HOURS, TRAIN_HOURS = 1400, 1000


def write_market(folder: Path) -> Path:
    """Write a dataset of one coin whose funding is ±16 bp per 8 h in turns, as its features tell."""
    rng = np.random.default_rng(11)
    hours = np.arange(HOURS)
    mood = np.where((hours // 72) % 2 == 0, 1.0, -1.0)
    date = pl.Series(START_MS + HOUR_MS * hours).cast(pl.Datetime("ms", "UTC"))
    spot = 100.0 * np.exp(np.cumsum(0.002 * rng.standard_normal(HOURS)))
    settles = hours % 8 == 0
    columns = {
        "Ticker": pl.Series(["BTC"] * HOURS),
        "Date": date,
        "KnownAt": pl.Series(START_MS + HOUR_MS * (hours + 1)).cast(pl.Datetime("ms", "UTC")),
        "SpotPrice": spot,
        "PerpPrice": spot * (1 + 2e-5 * rng.standard_normal(HOURS)),
        "MarkPrice": spot,
        "SettleMark": spot,
        "FundingRate": pl.Series(np.where(settles, 0.0016 * mood, np.nan)).fill_nan(None),
        "Tradable": pl.Series([True] * HOURS),
    }
    for name in SPEC.names:
        told = name.startswith(("carry", "funding", "premium"))
        columns[name] = (mood if told else 0.0) + 0.3 * rng.standard_normal(HOURS)
    frame = pl.DataFrame(columns)
    at = [START_MS + HOUR_MS * hour for hour in (0, TRAIN_HOURS, TRAIN_HOURS + 4, HOURS)]
    write_dataset(frame, SPEC, Split(*at), "c0ffee", folder)
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_market(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="session")
def experts(ray: None, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One expert that was trained, three that were not."""
    from carryflow.training.train import train_expert

    folders = {name: tmp_path_factory.mktemp(name) for name in EXPERTS}
    for name, folder in folders.items():
        settings = TRAIN if name == "long_term_ppo" else TRAIN.model_copy(update={"iterations": 1})
        train_expert(dataset, name, folder, ENV, settings, seed=3)
    return folders


def profit_bp(dataset: Path, policy: torch.nn.Module) -> float:
    """Play the hours after the training part once, from flat."""
    known = read_dataset(dataset)
    from carryflow.env.tape import tape_of

    tape = tape_of(known, "BTC").slice(known.split.test_start_ms, known.split.test_end_ms)
    simulator = HedgedSimulator([tape], 1, ENV)
    simulator.reset(0, 0, tape.first)
    with torch.inference_mode():
        while simulator.running.any():
            simulator.step(policy(torch.from_numpy(simulator.observe())).numpy())
    simulator.check_books()
    return float(1e4 * (simulator.equity[0] / ENV.capital_quote - 1))


def test_an_expert_learns_to_earn_on_hours_it_never_saw(dataset: Path, experts: dict[str, Path]) -> None:
    learned = load_expert(experts["long_term_ppo"])
    untrained = ExpertPolicy("long_term_ppo", SPEC, (16,), torch.Generator().manual_seed(3))
    assert profit_bp(dataset, untrained) == 0.0
    # half the capital earns 16 bp 49 times in 396 hours; a flip costs 4 bp and comes every 72 hours
    assert profit_bp(dataset, learned) > 150.0


def test_the_learning_curve_rises_and_is_written_whole(experts: dict[str, Path]) -> None:
    curve = json.loads((experts["long_term_ppo"] / "learning_curve.json").read_text())
    assert [point["iteration"] for point in curve] == list(range(1, 15))
    assert curve[-1]["env_steps"] >= 14 * TRAIN.batch_steps
    returns = [point["episode_return_bp"] for point in curve if "episode_return_bp" in point]
    assert returns[-1] > returns[0] + 30.0
    assert all(np.isfinite(list(point.values())).all() for point in curve)


def test_the_learning_curve_tells_what_the_rewards_were_made_of(experts: dict[str, Path]) -> None:
    curve = json.loads((experts["long_term_ppo"] / "learning_curve.json").read_text())
    terms = np.array([[point[f"reward_{term}"] for term in REWARD_TERMS] for point in curve])
    change, costs, volatility, drawdown, turnover = terms.T
    assert change[-1] > change[0]
    assert (costs > 0).all()
    assert (volatility > 0).all()
    assert not drawdown.any()
    assert not turnover.any()


def test_the_terms_add_up_to_the_rewards_and_follow_the_overrides_of_their_prices(
    ray: None, dataset: Path
) -> None:
    from carryflow.training.ppo import _configure
    from carryflow.training.runner import REWARD

    logged = []
    for price in (0.02, 0.06):
        sections = resolve(overrides=[f"env.risk.lambda_vol={price}", "env.episode_bars=96"]).sections("env")
        env = EnvSettings.model_validate_json(sections["env"])
        policy = ExpertPolicy("long_term_ppo", SPEC, (16,), torch.Generator().manual_seed(3))
        tapes = training_tapes(read_dataset(dataset))
        algorithm = _configure(policy, tapes, env, TRAIN, iterations=1, gate_terms={}, seed=3).build_algo()
        try:
            episodes = algorithm.env_runner.sample(num_timesteps=2048)
            means = algorithm.env_runner.get_metrics()[REWARD]
            rewards = np.concatenate([episode.get_rewards() for episode in episodes])
        finally:
            algorithm.stop()
        logged.append([means[term].peek() for term in REWARD_TERMS])
        assert logged[-1][0] - sum(logged[-1][1:]) == pytest.approx(rewards.mean(), rel=1e-4)
    dear = np.array(logged[0]) * [1.0, 1.0, 3.0, 1.0, 1.0]
    np.testing.assert_allclose(logged[1], dear, rtol=1e-9)
    assert dear[2] > 0.0


def test_the_same_seed_learns_the_same_expert_and_another_seed_another(
    dataset: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    from carryflow.training.train import train_expert

    brief = TRAIN.model_copy(update={"iterations": 1})
    for seed in (3, 4):
        train_expert(dataset, "anomaly_ppo", tmp_path / str(seed), ENV, brief, seed=seed)
    weights = [
        load_expert(folder).net[0].weight
        for folder in (experts["anomaly_ppo"], tmp_path / "3", tmp_path / "4")
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_exploration_falls_from_its_beginning_to_its_end(experts: dict[str, Path]) -> None:
    curve = json.loads((experts["long_term_ppo"] / "learning_curve.json").read_text())
    spread = [np.exp(point["action_entropy"] - 0.5 * np.log(2 * np.pi * np.e)) for point in curve]
    assert spread[0] == pytest.approx(TRAIN.initial_std, rel=1e-3)
    assert np.all(np.diff(spread) < 0)
    assert spread[-1] == pytest.approx(TRAIN.final_std, rel=0.05)


@pytest.mark.pitfall("P16")
def test_training_tapes_end_before_the_embargo(dataset: Path) -> None:
    known = read_dataset(dataset)
    (tape,) = training_tapes(known)
    assert tape.decision_ms[-1] < known.split.train_end_ms
    assert len(tape) == TRAIN_HOURS - 1


@pytest.mark.pitfall("P19")
def test_experts_stay_frozen_while_the_gate_trains_and_the_bundle_tells_all(
    dataset: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    from carryflow.training.train import train_gate

    told: list[str] = []
    shuffled = [experts[name] for name in ("sentiment_ppo", "anomaly_ppo", "long_term_ppo", "short_term_ppo")]
    metrics = train_gate(
        dataset, shuffled, tmp_path, ENV, TRAIN, 5, 1_750_000_000_000, {"code": "test"}, progress=told.append
    )
    bundle = load_bundle(tmp_path)
    for name, expert in zip(bundle.experts, bundle.policy.experts, strict=True):
        for before, after in zip(load_expert(experts[name]).parameters(), expert.parameters(), strict=True):
            assert torch.equal(before, after)
    fresh = torch.Generator().manual_seed(5)
    from carryflow.agents.gate import GatedPolicy

    untrained = GatedPolicy([load_expert(experts[name]) for name in EXPERTS], (16,), 1.0, fresh)
    assert not torch.equal(untrained.gate[0].weight, bundle.policy.gate[0].weight)
    assert len(told) == TRAIN.gate.iterations
    assert 0 < metrics["gate_entropy"] <= np.log(4) + 1e-6
    assert sum(metrics[f"share_{name}"] for name in EXPERTS) == pytest.approx(1.0, abs=1e-5)
    assert bundle.metadata.train_end_ms == read_dataset(dataset).split.train_end_ms
    assert dict(bundle.metadata.lineage) == {"market_version": "c0ffee", "seed": "5", "code": "test"}
    curves = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "curves").iterdir()}
    assert set(curves) == {*EXPERTS, "gate"}
    assert len(curves["gate"]) == TRAIN.gate.iterations


@pytest.mark.pitfall("P19")
def test_the_auxiliary_terms_reach_the_gates_weights_through_the_learners_loss(
    ray: None, dataset: Path, experts: dict[str, Path]
) -> None:
    from ray.rllib.core.columns import Columns

    from carryflow.agents.gate import GatedPolicy
    from carryflow.training.ppo import _configure

    generator = torch.Generator().manual_seed(1)
    policy = GatedPolicy([load_expert(experts[name]) for name in EXPERTS], (16,), 1.0, generator)
    torch.nn.init.normal_(policy.gate[-1].weight, generator=generator)
    terms = {"entropy_coeff": 0.5, "load_balance_coeff": 0.25}
    config = _configure(
        policy, training_tapes(read_dataset(dataset)), ENV, TRAIN, iterations=1, gate_terms=terms, seed=1
    )
    algorithm = config.build_algo()
    try:
        learner = algorithm.learner_group._learner
        module = learner.module["default_policy"]
        batch = {Columns.OBS: torch.randn(32, len(module.unwrapped().seen), generator=generator)}
        forward = module.forward_train(batch)
        drawn = forward[Columns.ACTION_DIST_INPUTS].detach()
        batch |= {
            Columns.ACTIONS: drawn[:, :1],
            Columns.ACTION_DIST_INPUTS: drawn,
            Columns.ACTION_LOGP: torch.zeros(32),
            # with no advantage to gain, PPO alone has nothing to say about the gate
            "advantages": torch.zeros(32),
            "value_targets": torch.zeros(32),
        }
        losses = {}
        for name, scale in (("with", 1.0), ("without", 0.0)):
            config_of_loss = config.copy(copy_frozen=False)
            config_of_loss.learner_config_dict = {term: scale * weight for term, weight in terms.items()}
            losses[name] = learner.compute_loss_for_module(
                module_id="default_policy", config=config_of_loss, batch=batch, fwd_out=forward
            )
        added = losses["with"] - losses["without"]
        gate = forward["gate"]
        assert added.item() == pytest.approx(
            (-0.5 * gate_entropy(gate) + 0.25 * load_balance(gate)).item(), abs=1e-5
        )
        for name, expected in (("with", True), ("without", False)):
            gradient = torch.autograd.grad(losses[name], module.policy.gate[-1].weight, retain_graph=True)[0]
            assert (gradient.abs().sum() > 1e-6) == expected, name
    finally:
        algorithm.stop()


def test_an_action_that_no_policy_decides_is_refused_before_anything_starts(
    dataset: Path, tmp_path: Path
) -> None:
    from carryflow.training.train import train_expert

    env = ENV.model_copy(update={"action": "weights"})
    with pytest.raises(SettingsError, match=r"env\.action was weights; set it to fraction"):
        train_expert(dataset, "anomaly_ppo", tmp_path, env, TRAIN, seed=1)


def test_a_gate_over_too_few_experts_is_refused(dataset: Path, tmp_path: Path) -> None:
    from carryflow.training.train import train_gate

    save_expert(tmp_path, ExpertPolicy("anomaly_ppo", SPEC, (16,), torch.Generator()))
    with pytest.raises(SchemaMismatchError, match="once each; 1 folders hold anomaly"):
        train_gate(dataset, [tmp_path], tmp_path / "out", ENV, TRAIN, 1, 0, {})

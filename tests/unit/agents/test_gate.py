import numpy as np
import pytest
import torch

from carryflow.agents.experts import EXPERTS, ExpertPolicy
from carryflow.agents.gate import GatedPolicy, gate_entropy, load_balance, softmax_gate
from carryflow.core.errors import SchemaMismatchError
from carryflow.features.spec import FeatureSettings, FeatureSpec

SPEC = FeatureSpec.of(FeatureSettings(lookback=48), sentiment=False)


def gated(temperature: float = 1.0, seed: int = 1) -> GatedPolicy:
    generator = torch.Generator().manual_seed(seed)
    experts = [ExpertPolicy(name, SPEC, (8,), generator) for name in EXPERTS]
    return GatedPolicy(experts, (16,), temperature, generator)


def observations(rows: int) -> torch.Tensor:
    batch = np.random.default_rng(5).standard_normal((rows, SPEC.observation_size)).astype(np.float32)
    return torch.from_numpy(batch)


def give_constant_votes(policy: GatedPolicy, votes: list[float]) -> None:
    """Let each expert vote the same whatever it sees, position included."""
    with torch.no_grad():
        for expert, vote in zip(policy.experts, votes, strict=True):
            for weights in expert.net.parameters():
                weights.zero_()
            expert.net[-1].bias.fill_(vote)


def test_the_action_is_the_gate_weighted_sum_of_the_votes() -> None:
    action, gate, votes = gated()(observations(32))
    assert torch.allclose(action, (gate * votes).sum(dim=1))
    assert torch.allclose(gate.sum(dim=1), torch.ones(32))
    assert (gate > 0).all()
    assert torch.all(action <= votes.max(dim=1).values)
    assert torch.all(action >= votes.min(dim=1).values)


@pytest.mark.pitfall("P19")
def test_the_load_balancing_term_is_exactly_one_at_uniform_load() -> None:
    assert load_balance(torch.full((7, 4), 0.25)).item() == 1.0
    assert load_balance(torch.eye(4).repeat(3, 1)).item() == 1.0
    assert load_balance(torch.tensor([[1.0, 0.0, 0.0, 0.0]] * 5)).item() == 4.0


@pytest.mark.pitfall("P19")
def test_both_auxiliary_terms_have_a_gradient_on_the_gates_weights() -> None:
    for term in (gate_entropy, load_balance):
        policy = gated()
        torch.nn.init.normal_(policy.gate[-1].weight, generator=torch.Generator().manual_seed(2))
        _, gate, _ = policy(observations(64))
        term(gate).backward()
        for weights in policy.gate.parameters():
            assert weights.grad is not None
            assert weights.grad.abs().sum() > 0, term.__name__


@pytest.mark.pitfall("P19")
def test_descending_the_load_balancing_term_takes_weight_from_the_expert_that_has_most() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0, 0.0]] * 8, requires_grad=True)
    before = softmax_gate(logits, 1.0)
    load_balance(before).backward()
    after = softmax_gate(logits.detach() - 0.5 * logits.grad, 1.0)
    assert after[0, 0] < before[0, 0]


@pytest.mark.pitfall("P19")
def test_a_temperature_towards_zero_equals_the_top_expert() -> None:
    policy = gated(temperature=1e-9)
    batch = observations(64)
    action, gate, votes = policy(batch)
    top = policy.gate(batch[:, policy.columns]).argmax(dim=1)
    assert torch.equal(gate, torch.nn.functional.one_hot(top, 4).float())
    assert torch.equal(action, votes[torch.arange(64), top])
    assert len(set(top.tolist())) > 1


@pytest.mark.pitfall("P19")
def test_four_regimes_keep_at_least_three_experts_in_use() -> None:
    policy = gated(temperature=0.5, seed=3)
    wanted = torch.tensor([-0.8, -0.3, 0.3, 0.8])
    give_constant_votes(policy, wanted.tolist())
    batch = observations(512)
    batch[:, SPEC.window_size] = 0.0
    latest = batch[:, policy.columns]
    regime = (latest[:, 0] > 0).long() * 2 + (latest[:, 1] > 0).long()
    optimiser = torch.optim.Adam(policy.gate.parameters(), lr=0.02)
    for _ in range(200):
        action, gate, _ = policy(batch)
        loss = ((action - wanted[regime]) ** 2).mean() + 0.01 * load_balance(gate)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    _, gate, _ = policy(batch)
    in_use = (torch.bincount(gate.argmax(dim=1), minlength=4) >= 25).sum()
    assert in_use >= 3
    assert ((policy(batch)[0] - wanted[regime]) ** 2).mean() < 0.05


@pytest.mark.pitfall("P19")
def test_experts_are_frozen_and_only_the_gate_learns() -> None:
    policy = gated()
    before = {name: weights.clone() for name, weights in policy.named_parameters()}
    trainable = [weights for weights in policy.parameters() if weights.requires_grad]
    optimiser = torch.optim.Adam(trainable, lr=0.1)
    policy(observations(32))[0].sum().backward()
    optimiser.step()
    for name, weights in policy.named_parameters():
        assert torch.equal(weights, before[name]) == name.startswith("experts."), name


def test_experts_of_other_features_and_doubled_experts_are_refused() -> None:
    generator = torch.Generator().manual_seed(0)
    longer = FeatureSpec.of(FeatureSettings(lookback=60), sentiment=False)
    one, other = (
        ExpertPolicy("anomaly_ppo", SPEC, (8,), generator),
        ExpertPolicy("sentiment_ppo", longer, (8,), generator),
    )
    with pytest.raises(SchemaMismatchError, match="expert 'sentiment_ppo' was made for feature spec"):
        GatedPolicy([one, other], (8,), 1.0, generator)
    with pytest.raises(SchemaMismatchError, match="distinct experts"):
        GatedPolicy([one, one], (8,), 1.0, generator)

import numpy as np
import pytest
import torch

from carryflow.agents.experts import EXPERTS, ExpertPolicy
from carryflow.core.errors import SchemaMismatchError
from carryflow.features.spec import FeatureSettings, FeatureSpec

SPEC = FeatureSpec.of(FeatureSettings(lookback=48), sentiment=False)


def expert(name: str, spec: FeatureSpec = SPEC, seed: int = 1) -> ExpertPolicy:
    return ExpertPolicy(name, spec, (8,), torch.Generator().manual_seed(seed))


def observations(rows: int, spec: FeatureSpec = SPEC, position: float = 0.0) -> torch.Tensor:
    batch = np.random.default_rng(5).standard_normal((rows, spec.observation_size)).astype(np.float32)
    batch[:, spec.window_size] = position
    return torch.from_numpy(batch)


@pytest.mark.parametrize("name", EXPERTS)
@pytest.mark.parametrize("position", [-1.0, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0])
def test_an_untrained_expert_holds_the_position_it_has(name: str, position: float) -> None:
    vote = expert(name)(observations(64, position=position))
    assert torch.all((vote - position).abs() < 0.25)


@pytest.mark.parametrize("name", EXPERTS)
def test_votes_stay_within_one_and_differ_however_loud_the_market(name: str) -> None:
    policy = expert(name)
    torch.nn.init.normal_(policy.net[-1].weight, generator=torch.Generator().manual_seed(3))
    vote = policy(observations(256) * 5)
    assert vote.shape == (256,)
    assert vote.abs().max() <= 1.0
    assert vote.min() < -0.5
    assert vote.max() > 0.5


@pytest.mark.parametrize("name", EXPERTS)
def test_an_expert_reads_its_own_features_at_its_own_bars_and_nothing_else(name: str) -> None:
    policy, batch = expert(name), observations(1).requires_grad_()
    policy(batch).sum().backward()
    read = set(torch.nonzero(batch.grad[0]).flatten().tolist())
    view = EXPERTS[name]
    expected = {
        (SPEC.lookback - 1 - age) * len(SPEC.names) + SPEC.names.index(feature)
        for age in view.ages
        for feature in view.features
    } | {SPEC.window_size, SPEC.window_size + 1}
    assert read == expected


def test_the_sentiment_expert_reads_the_sentiment_series_where_there_is_one() -> None:
    with_series = FeatureSpec.of(FeatureSettings(lookback=48), sentiment=True)
    column = (with_series.lookback - 1) * len(with_series.names) + with_series.index("sentiment")
    assert column in EXPERTS["sentiment_ppo"].columns(with_series)
    assert column not in EXPERTS["long_term_ppo"].columns(with_series)


def test_bars_beyond_a_short_window_are_left_out() -> None:
    short = FeatureSpec.of(FeatureSettings(lookback=6), sentiment=False)
    assert len(EXPERTS["long_term_ppo"].columns(short)) == len(EXPERTS["long_term_ppo"].features) + 2
    assert expert("long_term_ppo", short)(observations(3, short)).shape == (3,)


def test_an_unknown_expert_and_a_missing_feature_are_refused() -> None:
    with pytest.raises(SchemaMismatchError, match=r"no expert 'oracle'; there are anomaly"):
        expert("oracle")
    poor = FeatureSpec(names=("spot_return", "basis_bp"), lookback=48)
    with pytest.raises(SchemaMismatchError, match="no feature"):
        expert("short_term_ppo", poor)


def test_the_same_generator_gives_the_same_expert_and_leaves_the_global_one_alone() -> None:
    torch.manual_seed(0)
    expected_next = torch.rand(1)
    torch.manual_seed(0)
    first, again, other = expert("anomaly_ppo"), expert("anomaly_ppo"), expert("anomaly_ppo", seed=2)
    assert torch.rand(1) == expected_next
    weights = [policy.net[0].weight for policy in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])

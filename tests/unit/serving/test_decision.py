"""When the policy may speak, and what is said when it may not."""

import numpy as np
import pytest
import torch

from carryflow.agents.bundle import Bundle, BundleMetadata, load_bundle, save_bundle
from carryflow.agents.experts import EXPERTS, ExpertPolicy
from carryflow.agents.gate import GatedPolicy
from carryflow.core.errors import UnknownTickerError
from carryflow.features.scaling import Scaler
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.store.freshness import bounds_of, feature_ages, words_on_stale
from carryflow.store.online import OnlineWindow
from serving.decision import DecisionDesk, Outcome, Question

HOUR_MS = 3_600_000
NOW_MS = 1_750_000_000_000
SPEC = FeatureSpec.of(FeatureSettings(lookback=4), sentiment=False)
OTHER_SPEC = FeatureSpec.of(FeatureSettings(lookback=5), sentiment=False)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    generator = torch.Generator().manual_seed(1)
    policy = GatedPolicy(
        [ExpertPolicy(name, SPEC, (8,), generator) for name in EXPERTS], (8,), 1.0, generator
    )
    scaler = Scaler.fit(np.random.default_rng(1).normal(1.0, 3.0, (200, len(SPEC.published))), SPEC)
    metadata = BundleMetadata(NOW_MS - HOUR_MS, NOW_MS + 24 * HOUR_MS, 0, NOW_MS - HOUR_MS, {})
    save_bundle(folder, policy, scaler.to_json(), metadata)
    return load_bundle(folder)


def window_of(
    spec: FeatureSpec = SPEC,
    known_at_ms: int = NOW_MS,
    fill: float = 1.0,
    funding_known_at_ms: int | None = None,
) -> OnlineWindow:
    window = np.full((spec.lookback, len(spec.published)), fill, np.float32)
    settled = known_at_ms if funding_known_at_ms is None else funding_known_at_ms
    return OnlineWindow("BTC", window, known_at_ms, spec, settled)


def desk(bundle: Bundle, latest: OnlineWindow, now_ms: int = NOW_MS) -> DecisionDesk:
    return DecisionDesk(bundle, lambda ticker: latest, lambda: now_ms, 3 * HOUR_MS)


@pytest.mark.pitfall("P18")
@pytest.mark.parametrize(
    ("latest", "now_ms", "outcome"),
    [
        (window_of(), NOW_MS, Outcome.ACT),
        (window_of(), NOW_MS + 3 * HOUR_MS, Outcome.ACT),
        (window_of(), NOW_MS + 3 * HOUR_MS + 1, Outcome.STALE),
        (window_of(known_at_ms=NOW_MS + 24 * HOUR_MS - 1), NOW_MS + 24 * HOUR_MS - 1, Outcome.ACT),
        (window_of(known_at_ms=NOW_MS + 24 * HOUR_MS), NOW_MS + 24 * HOUR_MS, Outcome.EXPIRED),
        (window_of(known_at_ms=NOW_MS + 60_000), NOW_MS, Outcome.ACT),
        (window_of(known_at_ms=NOW_MS + 60_001), NOW_MS, Outcome.CLOCK),
        (window_of(OTHER_SPEC), NOW_MS, Outcome.SPEC),
        (window_of(fill=float("nan")), NOW_MS, Outcome.BLIND),
        (window_of(fill=float("inf")), NOW_MS, Outcome.BLIND),
        (window_of(funding_known_at_ms=NOW_MS - 11 * HOUR_MS), NOW_MS, Outcome.ACT),
        (window_of(funding_known_at_ms=NOW_MS - 11 * HOUR_MS - 1), NOW_MS, Outcome.STALE),
    ],
)
def test_the_policy_speaks_only_on_fresh_whole_features_of_its_own_spec(
    bundle: Bundle, latest: OnlineWindow, now_ms: int, outcome: Outcome
) -> None:
    decision = desk(bundle, latest, now_ms).decide(Question("BTC", position=0.37, drawdown=0.1))
    answer = decision.to_json()
    assert decision.outcome is outcome
    assert answer["hold"] is (outcome is not Outcome.ACT)
    if answer["hold"]:
        assert (answer["action"], answer["gate"], answer["votes"]) == (0.37, {}, {})
    else:
        assert answer["action"] != 0.37
        assert sum(answer["gate"].values()) == pytest.approx(1.0)


def test_a_reason_names_ages_limits_and_specs(bundle: Bundle) -> None:
    stale = desk(bundle, window_of(), NOW_MS + 5 * HOUR_MS).decide(Question("BTC"))
    foreign = desk(bundle, window_of(OTHER_SPEC)).decide(Question("BTC"))
    assert stale.reason.startswith("spot_return, basis_bp, premium_8h_bp, ")
    assert stale.reason.endswith(" are 5.0 h old, the limit is 3 h")
    assert OTHER_SPEC.hash in foreign.reason
    assert SPEC.hash in foreign.reason


@pytest.mark.pitfall("P18")
def test_a_hold_names_the_features_that_are_too_old_and_only_those(bundle: Bundle) -> None:
    late = window_of(funding_known_at_ms=NOW_MS - 12 * HOUR_MS)
    decision = desk(bundle, late).decide(Question("BTC"))
    assert decision.reason == (
        "funding_last_apr, carry_24h_apr, carry_72h_apr, carry_168h_apr, hours_to_settlement "
        "are 12.0 h old, the limit is 11 h"
    )
    ages = decision.to_json()["feature_ages_s"]
    assert tuple(ages) == (*SPEC.published, "window")
    assert (ages["basis_bp"], ages["carry_24h_apr"]) == (0.0, 12 * 3600.0)


@pytest.mark.pitfall("P18")
def test_bars_grow_too_old_though_every_feature_is_of_the_funding_clock() -> None:
    bounds = bounds_of(FeatureSpec(("carry_24h_apr", "funding_last_apr"), lookback=4), HOUR_MS)
    clocks = {"bar": NOW_MS, "funding": NOW_MS}
    assert words_on_stale(feature_ages(bounds, clocks, NOW_MS + HOUR_MS)) == ""
    stale = words_on_stale(feature_ages(bounds, clocks, NOW_MS + 2 * HOUR_MS))
    assert stale == "window is 2.0 h old, the limit is 1 h"


def test_an_answer_expires_when_the_first_of_its_features_does(bundle: Bundle) -> None:
    decision = desk(bundle, window_of(funding_known_at_ms=NOW_MS - 10 * HOUR_MS)).decide(Question("BTC"))
    assert decision.expires_at_ms == NOW_MS + HOUR_MS


def test_an_answer_expires_with_its_features_or_its_bundle_whichever_is_first(bundle: Bundle) -> None:
    fresh = desk(bundle, window_of()).decide(Question("BTC"))
    late = NOW_MS + 23 * HOUR_MS
    last = desk(bundle, window_of(known_at_ms=late), late).decide(Question("BTC"))
    assert fresh.expires_at_ms == NOW_MS + 3 * HOUR_MS
    assert last.expires_at_ms == bundle.metadata.expires_at_ms == late + HOUR_MS


def test_the_observation_is_the_scaled_window_oldest_first_then_the_account(bundle: Bundle) -> None:
    raw = np.arange(SPEC.published_window_size, dtype=np.float32).reshape(SPEC.lookback, len(SPEC.published))
    latest = OnlineWindow("BTC", raw, NOW_MS, SPEC)
    observation = desk(bundle, latest).observe(raw, Question("BTC", position=-0.5, drawdown=0.25))
    assert observation.shape == (1, SPEC.observation_size)
    assert observation.dtype == np.float32
    first_bar = Scaler.from_json(bundle.scaler).transform(raw[:1])[0]
    assert observation[0, : len(SPEC.names)].tolist() == first_bar.tolist()
    assert observation[0, -2:].tolist() == [-0.5, 0.25]


def test_an_unknown_ticker_is_not_held_but_refused(bundle: Bundle) -> None:
    def read(ticker: str) -> OnlineWindow:
        raise UnknownTickerError(ticker)

    with pytest.raises(UnknownTickerError):
        DecisionDesk(bundle, read, lambda: NOW_MS, HOUR_MS).decide(Question("NOPE"))

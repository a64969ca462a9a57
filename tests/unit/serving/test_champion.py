"""Following an alias: a promotion takes over, a broken one does not."""

import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from carryflow.agents.bundle import Bundle, BundleMetadata, save_bundle
from carryflow.agents.experts import EXPERTS, ExpertPolicy
from carryflow.agents.gate import GatedPolicy
from carryflow.core.errors import RegistryError, SchemaMismatchError, SettingsError, UnknownTickerError
from carryflow.features.scaling import Scaler
from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.promotion.registry import Alias, Registry
from carryflow.store.online import OnlineWindow
from serving.champion import LOOK_AGAIN_S, ChampionDesk, require_spec
from serving.decision import DecisionDesk, Question
from serving.server import claim_port

NOW_MS = 1_750_000_000_000
SPEC = FeatureSpec.of(FeatureSettings(lookback=4), sentiment=False)
OTHER_SPEC = FeatureSpec.of(FeatureSettings(lookback=5), sentiment=False)


class Timer:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def read_window(ticker: str) -> OnlineWindow:
    if ticker != "BTC":
        raise UnknownTickerError(f"nothing of {ticker}")
    return OnlineWindow(
        "BTC", np.zeros((SPEC.lookback, len(SPEC.published)), np.float32), NOW_MS, SPEC, NOW_MS
    )


def crown(root: Path, seed: int, spec: FeatureSpec = SPEC) -> str:
    """Make another untrained policy the champion and give its version."""
    generator = torch.Generator().manual_seed(seed)
    policy = GatedPolicy(
        [ExpertPolicy(name, spec, (8,), generator) for name in EXPERTS], (8,), 1.0, generator
    )
    scaler = Scaler.fit(np.random.default_rng(seed).normal(size=(50, len(spec.published))), spec)
    forged = root.parent / f"forged-{seed}"
    save_bundle(forged / "bundle", policy, scaler.to_json(), BundleMetadata(0, NOW_MS + 10**9, 0, 0, {}))
    (forged / "evidence").mkdir()
    (forged / "evidence" / "evidence.json").write_text("{}")
    registry = Registry(root)
    version = registry.register(forged / "bundle", forged / "evidence")
    registry.assign(Alias.CHAMPION, version, at_ms=NOW_MS, why="test")
    return version


def open_desk(version: str, bundle: Bundle) -> DecisionDesk:
    require_spec(bundle, read_window, ("BTC", "ETH"))
    return DecisionDesk(bundle, read_window, lambda: NOW_MS, 3_600_000)


def follow(root: Path, timer: Timer, seen: list[str]) -> ChampionDesk:
    return ChampionDesk(
        Registry(root), Alias.CHAMPION, open_desk, lambda bundle: seen.append(bundle.hash), timer
    )


def test_a_new_champion_takes_over_at_the_next_look_and_not_before(tmp_path: Path) -> None:
    root, timer, seen = tmp_path / "registry", Timer(), list[str]()
    crown(root, 1)
    desk = follow(root, timer, seen)
    first = desk.decide(Question("BTC")).bundle_hash
    crown(root, 2)
    timer.now = LOOK_AGAIN_S - 0.1
    assert desk.decide(Question("BTC")).bundle_hash == first
    timer.now = LOOK_AGAIN_S
    second = desk.decide(Question("BTC")).bundle_hash
    assert second != first
    assert seen == [first, second]


@pytest.mark.pitfall("P18")
def test_a_champion_of_another_spec_is_refused_and_the_old_one_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, timer, seen = tmp_path / "registry", Timer(), list[str]()
    crown(root, 1)
    desk = follow(root, timer, seen)
    crown(root, 2, OTHER_SPEC)
    for looks in (1, 2, 3):
        timer.now = looks * LOOK_AGAIN_S
        assert desk.decide(Question("BTC")).bundle_hash == seen[0]
    refusals = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(refusals) == 1
    assert OTHER_SPEC.hash in refusals[0]
    crown(root, 3)
    timer.now = 4 * LOOK_AGAIN_S
    assert desk.decide(Question("BTC")).bundle_hash == seen[1] != seen[0]


@pytest.mark.pitfall("P18")
def test_a_first_champion_of_another_spec_is_not_served_at_all(tmp_path: Path) -> None:
    crown(tmp_path / "registry", 1, OTHER_SPEC)
    with pytest.raises(SchemaMismatchError, match=OTHER_SPEC.hash):
        follow(tmp_path / "registry", Timer(), [])


def test_without_a_champion_there_is_nothing_to_serve(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="has no champion"):
        follow(tmp_path / "registry", Timer(), [])


def test_without_one_published_ticker_there_is_nothing_to_serve(tmp_path: Path) -> None:
    crown(tmp_path / "registry", 1)

    def open_elsewhere(version: str, bundle: Bundle) -> DecisionDesk:
        require_spec(bundle, read_window, ("ETH", "SOL"))
        return open_desk(version, bundle)

    with pytest.raises(UnknownTickerError, match="ETH, SOL"):
        ChampionDesk(Registry(tmp_path / "registry"), Alias.CHAMPION, open_elsewhere, lambda bundle: None)


def test_a_taken_port_is_named_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{port} .*serving\.port="):
            claim_port("127.0.0.1", port)
    assert claim_port("127.0.0.1", port) == port
    assert claim_port("127.0.0.1", 0) > 0

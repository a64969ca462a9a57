import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from carryflow.agents.bundle import BUNDLE_FILE, BundleMetadata, load_bundle, save_bundle
from carryflow.agents.experts import EXPERTS, ExpertPolicy
from carryflow.agents.gate import GatedPolicy
from carryflow.agents.weights import EXPERT_FILE, WEIGHTS_FILE, load_expert, save_expert
from carryflow.core.errors import ActionError, SchemaMismatchError
from carryflow.features.spec import FeatureSettings, FeatureSpec

SPEC = FeatureSpec.of(FeatureSettings(lookback=24), sentiment=False)
SCALER = {"center": [0.1, 1 / 3], "scale": [1.0, 2.0], "clip": 5.0}
METADATA = BundleMetadata(
    created_at_ms=1_750_000_000_000,
    expires_at_ms=1_751_209_600_000,
    train_start_ms=1_735_689_600_000,
    train_end_ms=1_749_000_000_000,
    lineage={"market_version": "00ff", "settings_hash": "abc", "code": "0.1.0", "seed": "7"},
)


def gated(seed: int = 1) -> GatedPolicy:
    generator = torch.Generator().manual_seed(seed)
    experts = [ExpertPolicy(name, SPEC, (8,), generator) for name in EXPERTS]
    return GatedPolicy(experts, (16,), 0.7, generator)


def observations(rows: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((rows, SPEC.observation_size)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_bundle(tmp_path, gated(), SCALER, METADATA)
    return tmp_path


@pytest.mark.pitfall("P18")
def test_a_loaded_bundle_decides_as_the_policy_that_was_saved(folder: Path) -> None:
    bundle, batch = load_bundle(folder), observations(16)
    decided = bundle.decide(batch)
    with torch.inference_mode():
        action, gate, votes = gated()(torch.from_numpy(batch))
    assert np.array_equal(decided.action, action.numpy())
    assert np.array_equal(decided.gate, gate.numpy())
    assert np.array_equal(decided.votes, votes.numpy())
    assert bundle.experts == tuple(EXPERTS)
    assert bundle.scaler == SCALER
    assert bundle.metadata == METADATA
    assert bundle.spec == SPEC


def test_the_hash_follows_the_content_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    again = save_bundle(tmp_path / "again", gated(), SCALER, METADATA)
    other_weights = save_bundle(tmp_path / "weights", gated(seed=2), SCALER, METADATA)
    other_scaler = save_bundle(tmp_path / "scaler", gated(), SCALER | {"clip": 4.0}, METADATA)
    other_expiry = save_bundle(tmp_path / "expiry", gated(), SCALER, replace(METADATA, expires_at_ms=1))
    assert load_bundle(folder).hash == again
    assert len({again, other_weights, other_scaler, other_expiry}) == 4


def test_a_bundle_loads_without_ray_and_without_pickle(folder: Path) -> None:
    script = (
        "import sys, numpy as np, pathlib\n"
        "from carryflow.agents.bundle import load_bundle\n"
        "import pickle\n"
        "pickle.load = pickle.loads = pickle.Unpickler = None\n"
        f"bundle = load_bundle(pathlib.Path({str(folder)!r}))\n"
        "bundle.decide(np.zeros((1, bundle.spec.observation_size), np.float32))\n"
        "print(sorted({'ray', 'gymnasium', 'polars'} & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_changed_weight_file_is_refused(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(SchemaMismatchError, match="was changed or cut short"):
        load_bundle(folder)


def test_a_changed_description_is_refused(folder: Path) -> None:
    described = json.loads((folder / BUNDLE_FILE).read_text())
    described["metadata"]["expires_at_ms"] += 1
    (folder / BUNDLE_FILE).write_text(json.dumps(described))
    with pytest.raises(SchemaMismatchError, match="was changed after it was written"):
        load_bundle(folder)


@pytest.mark.pitfall("P18")
def test_a_bundle_of_another_spec_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FeatureSpec, "hash", property(lambda _: "0123456789abcdef"))
    with pytest.raises(SchemaMismatchError, match="the bundle was made for feature spec"):
        load_bundle(folder)


def test_a_writer_killed_between_the_files_leaves_nothing_that_loads(folder: Path) -> None:
    (folder / BUNDLE_FILE).unlink()
    with pytest.raises(SchemaMismatchError, match="is missing"):
        load_bundle(folder)
    save_bundle(folder, gated(), SCALER, METADATA)
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(SchemaMismatchError, match="is missing"):
        load_bundle(folder)


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_no_decision_is_made_on_a_hole(folder: Path, hole: float) -> None:
    batch = observations(4)
    batch[2, 7] = hole
    with pytest.raises(ActionError, match="1 of 4 observations are not finite, first row 2"):
        load_bundle(folder).decide(batch)


def test_observations_of_another_width_are_refused(folder: Path) -> None:
    with pytest.raises(SchemaMismatchError, match="observations must be"):
        load_bundle(folder).decide(observations(4)[:, 1:])


def test_an_expert_comes_back_as_it_was_saved_and_a_changed_one_does_not(tmp_path: Path) -> None:
    expert = ExpertPolicy("long_term_ppo", SPEC, (8, 4), torch.Generator().manual_seed(4))
    save_expert(tmp_path, expert)
    batch = torch.from_numpy(observations(8))
    assert torch.equal(load_expert(tmp_path)(batch), expert(batch))
    described = json.loads((tmp_path / EXPERT_FILE).read_text())
    (tmp_path / EXPERT_FILE).write_text(json.dumps(described | {"hidden": [8, 5]}))
    with pytest.raises(SchemaMismatchError, match="does not fit"):
        load_expert(tmp_path)

"""The model bundle: a policy and all that is needed to trust it, in two files and without pickle."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from carryflow.agents.experts import ExpertPolicy
from carryflow.agents.gate import GatedPolicy
from carryflow.agents.weights import read_description, read_weights, write_weights
from carryflow.core.atomic import write_atomically
from carryflow.core.errors import ActionError, SchemaMismatchError
from carryflow.features.spec import FeatureSpec

BUNDLE_FILE = "bundle.json"
BUNDLE_FORMAT = 1

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BundleMetadata:
    """Say where a policy comes from and how long it may be used.

    Attributes:
        created_at_ms: when it was trained (UTC, milliseconds); the caller's clock, never ours.
        expires_at_ms: from when on it must not open positions any more (UTC, milliseconds).
        train_start_ms: first decision time that it was trained on (UTC, milliseconds).
        train_end_ms: last decision time that it was trained on (UTC, milliseconds).
        lineage: what it was made of, by name: market_version, code, seed.
    """

    created_at_ms: int
    expires_at_ms: int
    train_start_ms: int
    train_end_ms: int
    lineage: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Decisions:
    """Hold what a policy decided on a batch of observations.

    Attributes:
        action: (B,) float32 in [−1, 1], fraction of capital in the hedged trade.
        gate: (B, E) float32, each expert's weight; rows sum to 1.
        votes: (B, E) float32 in [−1, 1], each expert's own action.
    """

    action: Floats
    gate: Floats
    votes: Floats


@dataclass(frozen=True, slots=True)
class Bundle:
    """Hold a loaded bundle.

    Attributes:
        policy: the gated policy, in evaluation mode.
        scaler: what `features.scaling.Scaler.from_json` reads; observations are scaled with it.
        metadata: where the policy comes from.
        hash: 16 hexadecimal digits over all of the above; equal for equal bundles.
    """

    policy: GatedPolicy
    scaler: Mapping[str, Any]
    metadata: BundleMetadata
    hash: str

    @property
    def spec(self) -> FeatureSpec:
        """Give the feature spec of the observations."""
        return self.policy.spec

    @property
    def experts(self) -> tuple[str, ...]:
        """Name the experts in the order of gate and votes."""
        return self.policy.names

    def decide(self, observation: Floats) -> Decisions:
        """Decide on scaled observations (B, D) float32; the same observation always gets the same decision.

        Raises:
            SchemaMismatchError: the observations are not (B, D) of this bundle's spec.
            ActionError: an observation holds NaN or an infinity, so that there is nothing to decide on.
        """
        if observation.ndim != 2 or observation.shape[1] != self.spec.observation_size:
            raise SchemaMismatchError(
                f"observations must be (B, {self.spec.observation_size}) for spec {self.spec.hash}, "
                f"were {observation.shape}; build them with the bundle's own spec"
            )
        blind = np.flatnonzero(~np.isfinite(observation).all(axis=1))
        if blind.size:
            raise ActionError(
                f"{blind.size} of {len(observation)} observations are not finite, first row {blind[0]}; "
                "hold the position until the features are whole"
            )
        with torch.inference_mode():
            action, gate, votes = self.policy(torch.from_numpy(np.ascontiguousarray(observation, np.float32)))
        return Decisions(action.clamp(-1.0, 1.0).numpy(), gate.numpy(), votes.numpy())


def save_bundle(
    folder: Path, policy: GatedPolicy, scaler: Mapping[str, Any], metadata: BundleMetadata
) -> str:
    """Write a bundle to a folder and give its hash.

    The weights go first and the description that vouches for them last: a killed writer leaves a folder that
    `load_bundle` refuses. `scaler` is what the scaler's `to_json` gives.
    """
    described: dict[str, Any] = {
        "format": BUNDLE_FORMAT,
        "spec": json.loads(policy.spec.to_json()),
        "spec_hash": policy.spec.hash,
        "experts": [{"name": expert.expert, "hidden": list(expert.hidden)} for expert in _experts(policy)],
        "gate": {"hidden": list(policy.hidden), "temperature": policy.temperature},
        "scaler": dict(scaler),
        "metadata": asdict(metadata) | {"lineage": dict(metadata.lineage)},
        "weights_sha256": write_weights(folder, policy),
    }
    described["hash"] = _hash(described)
    with write_atomically(folder / BUNDLE_FILE) as path:
        path.write_text(json.dumps(described, indent=2, sort_keys=True) + "\n")
    return str(described["hash"])


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle that `save_bundle` wrote; neither ray nor pickle takes part.

    Raises:
        SchemaMismatchError: a file is missing or was changed, the bundle was written in another format, or it
            was made for features that this code does not have.
    """
    path = folder / BUNDLE_FILE
    described = read_description(path)
    if described.get("format") != BUNDLE_FORMAT:
        raise SchemaMismatchError(
            f"{path} has format {described.get('format')!r}, this code reads {BUNDLE_FORMAT}; train again"
        )
    stated = described.pop("hash", None)
    if stated != _hash(described):
        raise SchemaMismatchError(f"{path} was changed after it was written; fetch the bundle again")
    try:
        policy = _build_policy(described)
        read_weights(folder, policy, described["weights_sha256"])
        metadata = BundleMetadata(**described["metadata"])
        scaler = dict(described["scaler"])
    except (KeyError, TypeError) as error:
        raise SchemaMismatchError(f"{path} is not a whole bundle ({error}); train again") from error
    return Bundle(policy.eval(), scaler, metadata, str(stated))


def _build_policy(described: Mapping[str, Any]) -> GatedPolicy:
    """Build the described policy with weights that are yet to be read."""
    spec = FeatureSpec.from_json(json.dumps(described["spec"]))
    spec.require(described["spec_hash"], "the bundle")
    blank = torch.Generator()
    experts = [ExpertPolicy(one["name"], spec, one["hidden"], blank) for one in described["experts"]]
    gate = described["gate"]
    return GatedPolicy(experts, gate["hidden"], gate["temperature"], blank)


def _experts(policy: GatedPolicy) -> list[ExpertPolicy]:
    """Give the policy's experts with their type."""
    return [expert for expert in policy.experts if isinstance(expert, ExpertPolicy)]


def _hash(described: Mapping[str, Any]) -> str:
    """Hash a description, which names the weights by their own hash, and so the whole bundle."""
    canonical = json.dumps(described, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]

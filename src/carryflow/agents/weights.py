"""Weights on disk: safetensors files known by their hash, and the experts that are stored with them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from carryflow.agents.experts import ExpertPolicy
from carryflow.core.atomic import write_atomically
from carryflow.core.errors import SchemaMismatchError
from carryflow.features.spec import FeatureSpec

WEIGHTS_FILE = "weights.safetensors"
EXPERT_FILE = "expert.json"


def write_weights(folder: Path, module: nn.Module) -> str:
    """Write a module's parameters to the folder and give the SHA-256 of the file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    content = save_tensors(tensors)
    with write_atomically(folder / WEIGHTS_FILE) as path:
        path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read_weights(folder: Path, module: nn.Module, sha256: str) -> None:
    """Load a module's parameters from the folder.

    Raises:
        SchemaMismatchError: the file is missing, is not the one that was hashed, or does not fit the module.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise SchemaMismatchError(f"{path} is missing; copy the whole folder or train again")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise SchemaMismatchError(
            f"{path} has SHA-256 {found[:16]}…, its description says {sha256[:16]}…; "
            "the file was changed or cut short: fetch it again"
        )
    try:
        module.load_state_dict(load_tensors(content))
    except RuntimeError as error:
        raise SchemaMismatchError(f"{path} does not fit the policy it is described as: {error}") from error


def read_description(path: Path) -> dict[str, Any]:
    """Read the JSON object that describes a folder of weights.

    Raises:
        SchemaMismatchError: the file is missing or is not a JSON object.
    """
    if not path.is_file():
        raise SchemaMismatchError(f"{path} is missing; train first, or name the folder that holds it")
    try:
        described = json.loads(path.read_text())
    except ValueError as error:
        raise SchemaMismatchError(f"{path} is not JSON ({error}); train again") from error
    if not isinstance(described, dict):
        raise SchemaMismatchError(f"{path} holds {type(described).__name__}, not an object; train again")
    return described


def save_expert(folder: Path, expert: ExpertPolicy) -> None:
    """Write one expert to a folder: its weights, then the description that vouches for them."""
    described = {
        "expert": expert.expert,
        "hidden": list(expert.hidden),
        "spec": json.loads(expert.spec.to_json()),
        "weights_sha256": write_weights(folder, expert),
    }
    with write_atomically(folder / EXPERT_FILE) as path:
        path.write_text(json.dumps(described, indent=2, sort_keys=True) + "\n")


def load_expert(folder: Path) -> ExpertPolicy:
    """Read an expert that `save_expert` wrote.

    Raises:
        SchemaMismatchError: a file is missing, changed, or does not fit this code.
    """
    described = read_description(folder / EXPERT_FILE)
    try:
        name, hidden, sha256 = described["expert"], described["hidden"], described["weights_sha256"]
        spec = FeatureSpec.from_json(json.dumps(described["spec"]))
    except KeyError as error:
        raise SchemaMismatchError(f"{folder / EXPERT_FILE} does not say {error}; train again") from error
    expert = ExpertPolicy(name, spec, hidden, torch.Generator())
    read_weights(folder, expert, sha256)
    return expert

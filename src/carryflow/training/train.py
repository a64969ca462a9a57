"""From a dataset to trained experts, and from experts to the bundle that is served."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from carryflow.agents.bundle import BundleMetadata, save_bundle
from carryflow.agents.experts import EXPERTS, ExpertPolicy
from carryflow.agents.gate import GatedPolicy
from carryflow.agents.weights import load_expert, save_expert
from carryflow.core.atomic import write_atomically
from carryflow.core.errors import SchemaMismatchError
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape, tape_of
from carryflow.features.dataset import Dataset, read_dataset
from carryflow.training.hyperparameters import TrainSettings
from carryflow.training.ppo import CurvePoint, learn

CURVE_FILE = "learning_curve.json"
CURVES_FOLDER = "curves"
"""Folder in a bundle with the learning curves of its experts and its gate, one JSON list of points each."""

GATE_CURVE = "gate"
DAY_MS = 24 * 3_600_000

Progress = Callable[[str], None]


def train_expert(
    dataset_dir: Path,
    expert: str,
    out_dir: Path,
    env: EnvSettings,
    train: TrainSettings,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train one expert on the training part of a dataset and write it, with its learning curve, to `out_dir`.

    Returns:
        The last point of the learning curve, by name.

    Raises:
        SchemaMismatchError: there is no such expert, or the dataset lacks one of its features.
        MarketDataError: there is no dataset, or its training part holds no whole window.
    """
    dataset = read_dataset(dataset_dir)
    # each expert draws its own beginning, whatever the order in which they are trained
    generator = torch.Generator().manual_seed(seed)
    policy = ExpertPolicy(expert, dataset.spec, train.hidden, generator)
    policy, curve = learn(
        policy,
        training_tapes(dataset),
        env,
        train,
        iterations=train.iterations,
        gate_terms={},
        seed=seed,
        progress=progress or _keep_quiet,
        label=expert,
    )
    save_expert(out_dir, policy)
    _write_curve(out_dir / CURVE_FILE, curve)
    return curve[-1]


def train_gate(
    dataset_dir: Path,
    expert_dirs: Sequence[Path],
    out_dir: Path,
    env: EnvSettings,
    train: TrainSettings,
    seed: int,
    created_at_ms: int,
    lineage: Mapping[str, str],
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train the gate over frozen experts and write the bundle to `out_dir`, all learning curves beside it.

    Args:
        dataset_dir: the dataset that the experts were trained on.
        expert_dirs: what `train_expert` wrote, one folder for each of `EXPERTS`, in any order.
        out_dir: where the bundle goes.
        env: the account that is traded.
        train: how to learn.
        seed: fixes the gate's beginning and its sampling.
        created_at_ms: the time that the bundle says it was made at (UTC, milliseconds); it expires
            `train.validity_days` later.
        lineage: what the bundle was made of; the dataset's market version and the seed are added.
        progress: is told one line per iteration.

    Returns:
        The last point of the gate's learning curve, by name.

    Raises:
        SchemaMismatchError: an expert is missing, comes twice, was changed, or was made for other features.
        MarketDataError: there is no dataset, or its training part holds no whole window.
    """
    dataset = read_dataset(dataset_dir)
    folders = {load_expert(folder).expert: folder for folder in expert_dirs}
    if set(folders) != set(EXPERTS) or len(expert_dirs) != len(EXPERTS):
        raise SchemaMismatchError(
            f"the gate needs the experts {', '.join(EXPERTS)}, once each; {len(expert_dirs)} folders hold "
            f"{', '.join(sorted(folders)) or 'none'}"
        )
    experts = [load_expert(folders[name]) for name in EXPERTS]
    for expert in experts:
        dataset.spec.require(expert.spec.hash, f"expert {expert.expert!r}")
    generator = torch.Generator().manual_seed(seed)
    policy, curve = learn(
        GatedPolicy(experts, train.gate.hidden, train.gate.temperature, generator),
        training_tapes(dataset),
        env,
        train,
        iterations=train.gate.iterations,
        gate_terms={
            "entropy_coeff": train.gate.entropy_coeff,
            "load_balance_coeff": train.gate.load_balance_coeff,
        },
        seed=seed,
        progress=progress or _keep_quiet,
        label=GATE_CURVE,
    )
    for name, folder in folders.items():
        _write_curve(out_dir / CURVES_FOLDER / f"{name}.json", json.loads((folder / CURVE_FILE).read_text()))
    _write_curve(out_dir / CURVES_FOLDER / f"{GATE_CURVE}.json", curve)
    metadata = BundleMetadata(
        created_at_ms=created_at_ms,
        expires_at_ms=created_at_ms + round(train.validity_days * DAY_MS),
        train_start_ms=dataset.split.train_start_ms,
        train_end_ms=dataset.split.train_end_ms,
        lineage={"market_version": dataset.market_version, "seed": str(seed), **lineage},
    )
    save_bundle(out_dir, policy, dataset.scaler.to_json(), metadata)
    return curve[-1]


def training_tapes(dataset: Dataset) -> list[MarketTape]:
    """Cut the tapes to the training part: no decision, price or settlement after it is left on them."""
    split = dataset.split
    return [
        tape_of(dataset, ticker).slice(split.train_start_ms, split.train_end_ms) for ticker in dataset.tickers
    ]


def _write_curve(path: Path, curve: Sequence[CurvePoint]) -> None:
    """Write a learning curve as a JSON list of points."""
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(list(curve), indent=1) + "\n")


def _keep_quiet(_: str) -> None:
    """Stand in where nobody listens."""

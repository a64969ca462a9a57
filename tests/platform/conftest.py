"""What the platform tests read: the repository, and every manifest as it lies on disk."""

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
Manifest = dict[str, Any]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def manifests() -> list[tuple[Path, Manifest]]:
    """Every Kubernetes object in infra/ and serving/, with its file; kustomizations are not objects."""
    files = sorted([*(ROOT / "infra").rglob("*.yaml"), *(ROOT / "serving" / "manifests").rglob("*.yaml")])
    return [
        (path, document)
        for path in files
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text())
    ]

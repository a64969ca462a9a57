"""The weekly graph, compiled as it ships."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from carryflow.settings import resolve
from pipelines.cluster import compile_retrain
from pipelines.retrain import SECTIONS


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "retrain.yaml"
    settings = resolve()
    compile_retrain(settings.seed, settings.sections(*SECTIONS), path)
    return path


@pytest.fixture(scope="session")
def documents(package: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(package.read_text()))

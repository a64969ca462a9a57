"""The graphs, compiled as they ship."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from carryflow.settings import resolve
from pipelines.cluster import compile_graph, find_graph

Documents = list[dict[str, Any]]


def compiled(name: str, folder: Path) -> Documents:
    path = folder / f"{name}.yaml"
    settings = resolve()
    compile_graph(name, settings.seed, settings.sections(*find_graph(name).sections), path)
    return list(yaml.safe_load_all(path.read_text()))


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    """The weekly graph."""
    return compiled("retrain", tmp_path_factory.mktemp("graph"))


@pytest.fixture(scope="session")
def hourly(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    """The hourly graph."""
    return compiled("ingest", tmp_path_factory.mktemp("graph"))

"""Hand a graph to Kubeflow: compile it to IR YAML, and submit a compiled one as a run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import RejectedError, SettingsError
from components.images import TAG
from pipelines import ingest, retrain
from pipelines.placement import HOME


@dataclass(frozen=True, slots=True)
class Graph:
    """Name a graph's function, and the sections of the settings that are its parameters."""

    pipeline: Callable[..., Any]
    sections: tuple[str, ...]


GRAPHS: Mapping[str, Graph] = MappingProxyType(
    {
        "retrain": Graph(retrain.retrain, retrain.SECTIONS),
        "ingest": Graph(ingest.ingest_market, ingest.SECTIONS),
    }
)
"""The weekly graph and the hourly one, by the names that the command line takes."""


def find_graph(name: str) -> Graph:
    """Give a graph by its name.

    Raises:
        SettingsError: there is no such graph.
    """
    if name not in GRAPHS:
        raise SettingsError(f"there is no graph {name!r}; choose one of {', '.join(GRAPHS)}")
    return GRAPHS[name]


def compile_graph(name: str, seed: int, sections: Mapping[str, str], out: Path) -> None:
    """Write a graph as IR YAML.

    Args:
        name: which of GRAPHS.
        seed: default of the parameter `seed`, where the graph has one.
        sections: default of each parameter that is a section of the settings, as JSON: those that
            `find_graph(name).sections` names.
        out: file to write.

    Raises:
        SettingsError: there is no such graph, or the file's name does not end in .yaml.
    """
    from kfp.compiler import Compiler

    graph = find_graph(name)
    if out.suffix not in {".yaml", ".yml"}:
        raise SettingsError(
            f"{out} does not end in .yaml, by which Kubeflow knows the format; name a .yaml file"
        )
    defaults = {"home": HOME, "code": TAG, "seed": seed, **sections}
    taken = set(graph.pipeline.pipeline_spec.root.input_definitions.parameters)
    with write_atomically(out) as temporary:
        Compiler().compile(
            graph.pipeline,
            str(temporary),
            pipeline_parameters={key: value for key, value in defaults.items() if key in taken},
        )


def submit(package: Path, host: str, experiment: str, token: str | None) -> str:
    """Submit a compiled graph as one run of an experiment and return the run's id.

    Raises:
        SettingsError: there is no compiled graph at `package`.
        RejectedError: the Kubeflow API refused or does not answer.
    """
    import kfp
    from kfp_server_api.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    if not package.is_file():
        raise SettingsError(f"no compiled graph at {package}; write one with `carryflow pipeline compile`")
    try:
        client = kfp.Client(host=host, existing_token=token)
        run = client.create_run_from_pipeline_package(str(package), experiment_name=experiment)
    except (ApiException, HTTPError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise RejectedError(f"Kubeflow Pipelines at {host} did not take {package}: {reason}") from None
    return str(run.run_id)

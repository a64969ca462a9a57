"""Hand the graph to Kubeflow: compile it to IR YAML, and submit a compiled one as a run."""

from collections.abc import Mapping
from pathlib import Path

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import RejectedError, SettingsError
from components.images import TAG
from pipelines.placement import HOME
from pipelines.retrain import retrain


def compile_retrain(seed: int, sections: Mapping[str, str], out: Path) -> None:
    """Write the weekly graph as IR YAML.

    Args:
        seed: default of the parameter `seed`.
        sections: default of each parameter that is a section of the settings, as JSON.
        out: file to write.

    Raises:
        SettingsError: the file's name does not end in .yaml.
    """
    from kfp.compiler import Compiler

    if out.suffix not in {".yaml", ".yml"}:
        raise SettingsError(
            f"{out} does not end in .yaml, by which Kubeflow knows the format; name a .yaml file"
        )
    defaults = {"home": HOME, "code": TAG, "seed": seed, **sections}
    with write_atomically(out) as temporary:
        Compiler().compile(retrain, str(temporary), pipeline_parameters=defaults)


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
        raise SettingsError(
            f"no compiled graph at {package}; write one with `carryflow pipeline compile {package}`"
        )
    try:
        client = kfp.Client(host=host, existing_token=token)
        run = client.create_run_from_pipeline_package(str(package), experiment_name=experiment)
    except (ApiException, HTTPError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise RejectedError(f"Kubeflow Pipelines at {host} did not take {package}: {reason}") from None
    return str(run.run_id)

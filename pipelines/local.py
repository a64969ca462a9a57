"""Run a pipeline on this machine through `kfp.local`: the graph that Kubeflow runs, one process a step."""

import contextlib
import hashlib
import io
import logging
import re
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import carryflow
import components
import feature_repo
from carryflow.core.errors import CarryflowError
from carryflow.monitoring.progress import MARK

_STARTED = re.compile(r"Executing task \S*?'([^']+)'")
_FINISHED = re.compile(r"Task \S*?'([^']+)'\S* finished with status \S*?(SUCCESS|FAILURE)")
_CACHED = re.compile(r"Task (\S+) cache hit")
_ERROR = re.compile(r"^\s*carryflow\.core\.errors\.\w+: (.*)$")


def code_version() -> str:
    """Return 12 hexadecimal digits over the product's sources: changed code is never served from the cache.

    On Kubernetes the tag of the images plays this part.
    """
    digest = hashlib.sha256()
    for package in (carryflow, components, feature_repo):
        root = Path(str(package.__file__)).parent
        for source in sorted(root.rglob("*.py")):
            digest.update(str(source.relative_to(root)).encode())
            digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def run_local(
    pipeline: Callable[..., Any],
    arguments: Mapping[str, Any],
    root: Path,
    log: Path,
    show: Callable[[str], None],
) -> dict[str, Any]:
    """Run a pipeline to its end and return its outputs; unchanged steps are taken from the cache.

    Args:
        pipeline: a function decorated with `kfp.dsl.pipeline`.
        arguments: its parameters.
        root: folder of the artifacts and of the cache.
        log: file that receives all that the steps print.
        show: receives one line per event worth a person's attention.

    Raises:
        CarryflowError: a step failed; the message is the step's own, and names the log.
    """
    from kfp import local

    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(root),
        raise_on_error=True,
        enable_caching=True,
    )
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        narrator = _Narrator(file, show)
        try:
            with contextlib.redirect_stdout(narrator), _logging_to(narrator), warnings.catch_warnings():
                # our images are Python's, and a laptop has no use for limits
                warnings.filterwarnings("ignore", message="You may be attemping to run a task")
                warnings.filterwarnings("ignore", message=".* have no effect in the current local runner")
                return dict(pipeline(**arguments).outputs)
        except RuntimeError as error:
            cause = narrator.error or str(error)
            raise CarryflowError(f"{cause} (the whole log: {log})") from None


@contextlib.contextmanager
def _logging_to(stream: io.TextIOBase) -> Iterator[None]:
    """Send what is logged to a stream, and put the root logger back as it was.

    kfp logs its cache hits here; steps that ran side by side leave kfp's own handlers on the root logger.
    """
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    root.setLevel(logging.INFO)
    root.handlers[:] = [logging.StreamHandler(stream)]
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


class _Narrator(io.TextIOBase):
    """Write everything to a file and pass on what a person wants to see.

    Steps that run side by side are each read by a thread of their own; a line is put together per thread.
    """

    def __init__(self, file: io.TextIOBase, show: Callable[[str], None]) -> None:
        self.error: str | None = None
        self._file = file
        self._show = show
        self._lock = threading.Lock()
        self._begun: defaultdict[int, str] = defaultdict(str)
        self._started: defaultdict[str, list[float]] = defaultdict(list)

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        thread = threading.get_ident()
        with self._lock:
            *lines, self._begun[thread] = (self._begun[thread] + text).split("\n")
            for line in lines:
                self._file.write(f"{line}\n")
                for event in self._events(line):
                    self._show(event)
        return len(text)

    def flush(self) -> None:
        self._file.flush()

    def _events(self, line: str) -> Iterator[str]:
        if started := _STARTED.search(line):
            self._started[started[1]].append(time.monotonic())
            yield f"[bold]{started[1]}[/bold]"
        elif finished := _FINISHED.search(line):
            seconds = time.monotonic() - self._started[finished[1]].pop(0)
            ending = "done" if finished[2] == "SUCCESS" else "[red]failed[/red]"
            yield f"[bold]{finished[1]}[/bold] {ending} in {seconds:.0f} s"
        elif cached := _CACHED.search(line):
            yield f"[bold]{cached[1]}[/bold] is unchanged"
        elif line.lstrip().startswith(MARK):
            yield f"  {line.lstrip().removeprefix(MARK)}"
        elif (error := _ERROR.match(line)) and self.error is None:
            self.error = error[1]

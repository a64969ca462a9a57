"""Play the core's tests on mutated copies of it: what `test_mutants.py` starts.

Reads [file, original, mutated, test files] of each mutant from standard input, the file by its name in
`carryflow.core`, and writes what became of each: "survived" if no test failed, "killed" if one did while it
ran, "broken" if the mutant cannot be imported or is no working code, so that its tests say nothing. A mutant
has a process of its own, forked from one that has imported all but carryflow, for imports cost more than
tests.
"""

import gc
import io
import json
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis  # noqa: F401
import numba  # noqa: F401
import numpy as np  # noqa: F401
import pydantic  # noqa: F401
import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "carryflow"
QUICK = (
    "-x -q --tb=no --assert=plain --import-mode=importlib -o addopts= -p pytest_timeout -p no:cacheprovider"
)
NO_CODE = (ImportError, NameError, AttributeError, TypeError, SyntaxError)
"""What Python raises where a mutant makes no sense, whatever it is asked."""


class Failures:
    """Keep what the tests raised while they ran, not while they were collected or set up."""

    def __init__(self) -> None:
        self.raised: list[type[BaseException]] = []

    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        """Look at a phase of a test that has just ended."""
        if call.when == "call" and call.excinfo is not None:
            self.raised.append(call.excinfo.type)


def play(mutant: tuple[str, str, str, list[str]]) -> str:
    """Copy the core, change it, and say what became of it."""
    file, original, mutated, tests = mutant
    with TemporaryDirectory() as folder:
        copy = Path(folder, "carryflow")
        not_again = shutil.ignore_patterns("*.nb?", f"{Path(file).stem}.*.pyc")
        shutil.copytree(PACKAGE / "core", copy / "core", ignore=not_again)
        shutil.copy(PACKAGE / "__init__.py", copy)
        source = (copy / "core" / file).read_text()
        (copy / "core" / file).write_text(source.replace(original, mutated))
        sys.path.insert(0, folder)
        sys.dont_write_bytecode = True
        import carryflow

        if not Path(carryflow.__file__).is_relative_to(folder):
            raise RuntimeError(f"the tests would see {carryflow.__file__}, not the mutant")
        failures = Failures()
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            code = pytest.main([*QUICK.split(), *tests], plugins=[failures])
        if code == pytest.ExitCode.OK:
            return "survived"
        if any(not issubclass(raised, NO_CODE) for raised in failures.raised):
            return "killed"
        return "broken"


def warm_up() -> None:
    """Load what the core itself loads, and forget the core."""
    import carryflow.core.costs
    import carryflow.core.holding  # noqa: F401

    for name in [name for name in sys.modules if name.split(".")[0] == "carryflow"]:
        del sys.modules[name]


if __name__ == "__main__":
    warm_up()
    gc.freeze()
    with get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        print(json.dumps(pool.map(play, json.load(sys.stdin), chunksize=1)))  # noqa: T201

"""Kill engines: start one, end it with SIGKILL in the middle of whatever it does, and start the next."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from tests.fault.zygote import Life

ROOT = Path(__file__).parents[2]


class Zygote:
    """Fork engines, one at a time, and kill them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._told()

    def kill(self, life: Life, when: Callable[[], None]) -> bool:
        """Start an engine and kill it when `when` returns; say whether it was still alive.

        Raises:
            AssertionError: it ended by itself, and not well.
        """
        pid = self._start(life)
        when()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        ended = self._told()
        if ended["status"] not in (0, -signal.SIGKILL):
            raise AssertionError(f"the engine of {life.seed} ended by itself: {ended['words']}")
        return bool(ended["status"] == -signal.SIGKILL)

    def run(self, life: Life) -> None:
        """Start an engine and let it come to its end.

        Raises:
            AssertionError: that was not a good one.
        """
        self._start(life)
        ended = self._told()
        if ended["status"] != 0:
            raise AssertionError(f"the engine of {life.seed} ended with {ended['status']}: {ended['words']}")

    def _start(self, life: Life) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(life.line())
        self._process.stdin.flush()
        return int(self._told()["pid"])

    def _told(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the zygote ended with {self._process.wait()}")
        told: dict[str, Any] = json.loads(line)
        return told

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


@contextmanager
def zygote() -> Iterator[Zygote]:
    """Lend a process that forks engines."""
    command = [sys.executable, "-m", "tests.fault.zygote"]
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process,
        Zygote(process) as one,
    ):
        yield one

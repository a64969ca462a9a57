"""A user's mistake is one line on standard error and exit code 1, and help comes at once."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest


def carryflow(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "carryflow", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "-o", "train.iteration=3"], "the nearest valid one is 'train.iterations'"),
        (["run", "--tape", "nowhere"], "no tape at"),
        (["run", "--from", "2025-03-01", "--to", "2025-02-01"], "must be before"),
        (["fetch", "--tickers", "BTC,ETHH"], "ETHH"),
        (["fetch", "-o", "venue.url=http://127.0.0.1:9"], "carryflow exchange up"),
        (["serve"], "no features were published"),
        (["pipeline", "submit", "--host", "http://127.0.0.1:9"], "no compiled graph"),
        (["pipeline", "compile", "graph.json"], "does not end in .yaml"),
    ],
)
def test_a_mistake_is_one_line_and_a_failure(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = carryflow(*arguments, cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = carryflow("exchange", "up", "--port", port, cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert f"port {port} " in done.stderr


def test_options_are_ours_and_not_those_of_a_library_that_reads_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").touch()
    done = carryflow("serve", "--config", "settings.yaml", cwd=tmp_path)
    assert "no features were published" in done.stderr


def test_help_loads_none_of_the_slow_libraries(tmp_path: Path) -> None:
    code = (
        "import sys, carryflow.cli\n"
        "slow = {'torch', 'ray', 'feast', 'kfp', 'kserve', 'evidently', 'ccxt', 'polars', 'numba'}\n"
        "sys.exit(str(slow & set(sys.modules)) if slow & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

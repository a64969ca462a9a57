"""A user's mistake is one line on standard error and exit code 1, and help comes at once."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from carryflow.cli import main


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
        (["fetch", "--venues", "simulated,binance", "-o", "home=here"], "a home of its own"),
        (["fetch", "--timeframe", "7m"], "data.timeframe"),
        (["run", "-o", "data.timeframe=15m"], "the loop learns on hourly bars"),
        (["data", "check"], "is no folder"),
        (["data", "check", "."], "no coin in"),
        (["data", "import", "nowhere", "--format", "binance"], "nowhere"),
        (["data", "import", ".", "--format", "csv"], "--format csv is none of binance, freqtrade, table"),
        (["data", "import", ".", "--format", "table", "--map", "volume"], "is not of the form name=column"),
        (["features", "build"], "carryflow fetch"),
        (["features", "build", "-o", "features.names=[basis]"], "basis"),
        (["features", "audit", "nowhere.py:mine"], "nowhere.py"),
        (["windows", "build"], "no unified frame"),
        (["feast", "publish"], "no unified frame"),
        (["feast", "latest"], "publish"),
        (["feast", "training-set", "--as-of", "soon"], "--as-of 'soon' is no instant"),
        (["serve"], "has no champion"),
        (["pipeline", "submit", "--host", "http://127.0.0.1:9"], "no compiled graph"),
        (["pipeline", "compile", "graph.json"], "does not end in .yaml"),
    ],
)
def test_a_mistake_is_one_line_and_a_failure(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["carryflow", *arguments])
    with pytest.raises(SystemExit) as ending:
        main()
    said = capfd.readouterr().err
    assert ending.value.code == 1, said
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert words in said


def test_a_mistake_shows_no_traceback_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = carryflow("run", "-o", "train.iteration=3", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


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
    assert "has no champion" in done.stderr


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

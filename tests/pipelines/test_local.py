"""On a laptop a failed step is one clear message, progress is seen, and nothing unchanged is done again."""

from pathlib import Path

import pytest
from kfp import dsl

from carryflow.core.errors import CarryflowError
from pipelines.local import code_version, run_local


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def count(path: str, code: str) -> int:
    from pathlib import Path

    from carryflow.monitoring.progress import narrate

    with Path(path).open("a") as file:
        file.write("x")
    narrate("counting")
    return len(Path(path).read_text())


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def fail(number: int) -> None:
    from carryflow.core.errors import CoverageError

    raise CoverageError(f"BTC: {number} rows are missing")


@dsl.pipeline(name="counting")
def counting(path: str, code: str) -> int:
    return count(path=path, code=code).output


@dsl.pipeline(name="failing")
def failing(path: str) -> None:
    fail(number=count(path=path, code="1").output)


def test_progress_of_the_steps_is_shown_and_everything_is_logged(tmp_path: Path) -> None:
    shown: list[str] = []
    log = tmp_path / "run" / "pipeline.log"
    outputs = run_local(
        counting, {"path": str(tmp_path / "calls"), "code": "1"}, tmp_path / "root", log, shown.append
    )
    assert outputs == {"Output": 1}
    assert [line.strip() for line in shown][:2] == ["[bold]count[/bold]", "counting"]
    assert "done in" in shown[2]
    assert "counting" in log.read_text()


def test_an_unchanged_step_is_not_done_again_and_changed_code_is(tmp_path: Path) -> None:
    def run(code: str) -> tuple[int, bool]:
        shown: list[str] = []
        arguments = {"path": str(tmp_path / "calls"), "code": code}
        done = run_local(counting, arguments, tmp_path / "root", tmp_path / "log", shown.append)
        return int(done["Output"]), "[bold]count[/bold] is unchanged" in shown

    assert [run("1"), run("1"), run("2"), run("1")] == [(1, False), (1, True), (2, False), (1, True)]


def test_a_failed_step_speaks_in_its_own_words_and_names_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(CarryflowError, match="BTC: 1 rows are missing") as raised:
        run_local(failing, {"path": str(tmp_path / "calls")}, tmp_path / "root", log, lambda _: None)
    assert str(log) in str(raised.value)
    assert "Traceback" in log.read_text()


def test_the_code_has_one_version_until_it_changes() -> None:
    assert code_version() == code_version()
    assert len(code_version()) == 12

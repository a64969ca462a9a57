"""What runs on somebody else's machine with our rights."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

Workflow = dict[Any, Any]
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")


@pytest.fixture(scope="module")
def workflows(root: Path) -> dict[str, Workflow]:
    return {
        path.stem: yaml.safe_load(path.read_text()) for path in (root / ".github" / "workflows").glob("*.yml")
    }


def steps(workflow: Workflow) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_there_are_three(workflows: dict[str, Workflow]) -> None:
    assert workflows.keys() == {"ci", "images", "weekly-retrain"}


def test_actions_are_pinned_to_a_commit_and_say_their_version(
    root: Path, workflows: dict[str, Workflow]
) -> None:
    used = [step["uses"] for workflow in workflows.values() for step in steps(workflow) if "uses" in step]
    assert used
    assert all(PINNED.fullmatch(action) for action in used), used
    for path in (root / ".github" / "workflows").glob("*.yml"):
        for line in path.read_text().splitlines():
            assert "uses:" not in line or re.search(r" # v\d+\.\d+\.\d+$", line), line


def test_a_workflow_may_only_read_unless_a_job_says_more(workflows: dict[str, Workflow]) -> None:
    for workflow in workflows.values():
        assert workflow["permissions"] == {"contents": "read"}
    more = {
        name: job["permissions"]
        for name, workflow in workflows.items()
        for job in workflow["jobs"].values()
        if "permissions" in job
    }
    assert more == {"images": {"contents": "read", "packages": "write"}}


def test_every_job_ends_and_no_checkout_leaves_its_token(workflows: dict[str, Workflow]) -> None:
    for workflow in workflows.values():
        assert all(job["timeout-minutes"] <= 60 for job in workflow["jobs"].values())
        for step in steps(workflow):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_no_script_splices_an_expression_into_shell(workflows: dict[str, Workflow]) -> None:
    for workflow in workflows.values():
        assert not [step for step in steps(workflow) if "${{" in step.get("run", "")]


@pytest.mark.pitfall("P20")
def test_two_retrains_are_never_submitted_at_once(workflows: dict[str, Workflow]) -> None:
    retrain = workflows["weekly-retrain"]
    assert retrain["concurrency"] == {"group": "weekly-retrain", "cancel-in-progress": False}
    assert re.fullmatch(
        r"\d+ \d+ \* \* [0-6]", retrain[True]["schedule"][0]["cron"]
    )  # YAML reads `on` as true


def test_the_retrain_compiles_what_it_submits(workflows: dict[str, Workflow]) -> None:
    commands = " ".join(step.get("run", "") for step in steps(workflows["weekly-retrain"]))
    assert "pipeline compile build/retrain.yaml" in commands
    assert "--package build/retrain.yaml" in commands


def test_ci_keeps_the_report_that_the_tests_write(workflows: dict[str, Workflow]) -> None:
    (test,) = [step for step in steps(workflows["ci"]) if step.get("run") == "make test"]
    (upload,) = [step for step in steps(workflows["ci"]) if "path" in step.get("with", {})]
    assert test["env"]["PYTEST_ADDOPTS"] == f"--junitxml={upload['with']['path']}"


def test_every_image_that_is_published_has_its_dockerfile(root: Path, workflows: dict[str, Workflow]) -> None:
    built = workflows["images"]["jobs"]["build"]["strategy"]["matrix"]["include"]
    assert {entry["dockerfile"] for entry in built} == {
        str(path.relative_to(root))
        for folder in ("components", "serving")
        for path in (root / folder).glob("*Dockerfile")
    }

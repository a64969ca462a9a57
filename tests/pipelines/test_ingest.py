"""The compiled hourly graph says what the platform must hold to."""

from pathlib import Path
from typing import Any

import pytest

from carryflow.core.errors import SettingsError
from carryflow.settings import resolve
from pipelines.cluster import compile_graph, find_graph
from pipelines.placement import HOME, HOME_CLAIM, STORAGE_SECRET

Documents = list[dict[str, Any]]


def tasks(documents: Documents) -> dict[str, dict[str, Any]]:
    return dict(documents[0]["root"]["dag"]["tasks"])


def test_the_hour_is_fetched_featurised_and_published_in_this_order(hourly: Documents) -> None:
    steps = tasks(hourly)
    assert steps.keys() == {"ingest", "build-features", "publish-features"}
    assert steps["build-features"]["dependentTasks"] == ["ingest"]
    assert steps["publish-features"]["dependentTasks"] == ["build-features"]


@pytest.mark.pitfall("P20")
def test_an_hour_is_never_fetched_or_published_from_the_cache(hourly: Documents) -> None:
    cached = {name for name, task in tasks(hourly).items() if task["cachingOptions"].get("enableCache")}
    assert cached == {"build-features"}


@pytest.mark.pitfall("P20")
def test_the_frame_is_keyed_by_the_version_of_the_market_and_the_code(hourly: Documents) -> None:
    inputs = tasks(hourly)["build-features"]["inputs"]["parameters"]
    producer = inputs["market_version"]["taskOutputParameter"]
    assert producer == {"outputParameterKey": "version", "producerTask": "ingest"}
    assert inputs["code"] == {"componentInputParameter": "code"}


def test_the_first_steps_are_those_of_the_weekly_graph(hourly: Documents, documents: Documents) -> None:
    weekly = tasks(documents)
    for name, task in tasks(hourly).items():
        assert weekly[name] == task


@pytest.mark.pitfall("P20")
def test_nothing_retries_over_a_run_that_is_still_at_work(hourly: Documents, documents: Documents) -> None:
    for graph in (hourly, documents):
        assert not [name for name, task in tasks(graph).items() if "retryPolicy" in task]


def test_the_coverage_ledger_is_an_artifact_that_people_can_open(hourly: Documents) -> None:
    outputs = hourly[0]["components"]["comp-ingest"]["outputDefinitions"]["artifacts"]
    assert outputs["coverage"]["artifactType"]["schemaTitle"] == "system.Artifact"


def test_every_step_has_its_volume_its_limit_in_time_and_no_root(hourly: Documents) -> None:
    placed = hourly[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert len(placed) == 3
    for executor in placed.values():
        assert executor["pvcMount"][0]["constant"] == HOME_CLAIM
        assert 0 < int(executor["activeDeadlineSeconds"]) <= 3600
        assert executor["securityContext"]["runAsNonRoot"] is True
        assert {secret["secretName"]: secret["optional"] for secret in executor["secretAsEnv"]} == {
            STORAGE_SECRET: True
        }


def test_its_parameters_default_to_the_settings_and_hold_no_seed(hourly: Documents) -> None:
    parameters = hourly[0]["root"]["inputDefinitions"]["parameters"]
    assert parameters.keys() == {"home", "code", "venue", "data", "features"}
    assert parameters["home"]["defaultValue"] == HOME
    assert parameters["data"]["defaultValue"] == resolve().sections("data")["data"]


def test_an_unknown_graph_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'daily'; choose one of retrain, ingest"):
        compile_graph("daily", 1, {}, tmp_path / "daily.yaml")
    assert find_graph("ingest").sections == ("venue", "data", "features")
    with pytest.raises(SettingsError, match=r"daily\.json does not end in \.yaml"):
        compile_graph("ingest", 1, {}, tmp_path / "daily.json")
    assert not list(tmp_path.iterdir())

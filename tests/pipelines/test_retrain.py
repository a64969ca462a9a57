"""The compiled graph says what the platform must hold to."""

from collections.abc import Iterator
from typing import Any

import pytest

from carryflow.agents.experts import EXPERTS
from carryflow.settings import Settings
from pipelines.placement import HOME_CLAIM
from pipelines.retrain import SECTIONS

Documents = list[dict[str, Any]]

LOOKS_ANEW = {"ingest", "publish-features", "evaluate", "promote"}


def tasks(documents: Documents) -> Iterator[tuple[str, dict[str, Any]]]:
    spec = documents[0]
    dags = [spec["root"]["dag"], *(c["dag"] for c in spec["components"].values() if "dag" in c)]
    for dag in dags:
        for name, task in dag["tasks"].items():
            if not name.startswith("for-loop"):
                yield name, task


@pytest.mark.pitfall("P20")
def test_steps_that_look_outside_are_never_cached_and_the_others_are(documents: Documents) -> None:
    cached = {name for name, task in tasks(documents) if task["cachingOptions"].get("enableCache")}
    every = {name for name, _ in tasks(documents)}
    assert every - cached == LOOKS_ANEW


@pytest.mark.pitfall("P20")
def test_every_cached_step_is_keyed_by_the_code(documents: Documents) -> None:
    for name, task in tasks(documents):
        if name not in LOOKS_ANEW:
            assert "code" in task["inputs"]["parameters"], name


@pytest.mark.pitfall("P20")
def test_what_is_built_is_keyed_by_the_version_of_the_market(documents: Documents) -> None:
    built = dict(tasks(documents))["build-features"]
    producer = built["inputs"]["parameters"]["market_version"]["taskOutputParameter"]
    assert producer == {"outputParameterKey": "version", "producerTask": "ingest"}


def test_each_sub_agent_is_trained_in_a_step_of_its_own(documents: Documents) -> None:
    loops = [
        task["parameterIterator"]["items"]["raw"]
        for task in documents[0]["root"]["dag"]["tasks"].values()
        if "parameterIterator" in task
    ]
    assert len(loops) == 1
    assert all(f'"{expert}"' in loops[0] for expert in EXPERTS)


def test_every_step_has_its_volume_its_size_its_limit_in_time_and_no_root(documents: Documents) -> None:
    spec, platform = documents
    containers = spec["deploymentSpec"]["executors"]
    placed = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(placed) == set(containers)
    for name, executor in containers.items():
        limits = executor["container"]["resources"]
        assert limits["resourceCpuLimit"], name
        assert limits["resourceMemoryLimit"], name
        assert placed[name]["pvcMount"][0]["constant"] == HOME_CLAIM, name
        assert int(placed[name]["activeDeadlineSeconds"]) > 0, name
        assert placed[name]["securityContext"]["runAsNonRoot"] is True, name


def test_images_are_named_with_a_tag(documents: Documents) -> None:
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        _, _, tag = executor["container"]["image"].rpartition(":")
        assert tag
        assert tag != "latest"


def test_every_section_that_the_graph_takes_is_one_of_the_settings() -> None:
    assert set(SECTIONS) <= set(Settings.model_fields)

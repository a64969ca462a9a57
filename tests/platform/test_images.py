"""Images that can be built again, and do not run as root."""

import re
import tomllib
from pathlib import Path

import pytest

from pipelines.placement import USER

DOCKERFILES = ("components/pipeline.Dockerfile", "components/training.Dockerfile", "serving/Dockerfile")


@pytest.fixture(params=DOCKERFILES)
def dockerfile(request: pytest.FixtureRequest, root: Path) -> str:
    return (root / request.param).read_text()


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, object]:
    return dict(tomllib.loads((root / "pyproject.toml").read_text())["project"])


def test_the_base_is_pinned_by_digest(dockerfile: str) -> None:
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", bases[0])


def test_the_user_is_the_one_that_owns_the_volume(dockerfile: str) -> None:
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE) == [f"{USER}:{USER}"]


def test_what_is_installed_is_what_the_lock_says(
    dockerfile: str, project: dict[str, object], root: Path
) -> None:
    assert "--constraint requirements.lock" in dockerfile
    wanted = {re.split(r"[\[=<>~ ]", str(one))[0] for one in project["dependencies"]}  # type: ignore[attr-defined]
    locked = {line.split("==")[0].lower() for line in (root / "requirements.lock").read_text().splitlines()}
    listed = re.search(r"requirements\.lock \\\n(.*?)\nCOPY", dockerfile, re.DOTALL)
    assert listed
    for line in listed[1].splitlines():
        name = re.split(r"[\[=]", line.strip(' \\"'))[0]
        assert name in wanted, f"{name} is no dependency of the product"
        assert name == "torch" or name in locked, f"{name} is not locked"


def test_torch_is_of_one_version_everywhere(dockerfile: str, project: dict[str, object], root: Path) -> None:
    (torch,) = [one for one in project["dependencies"] if str(one).startswith("torch==")]  # type: ignore[attr-defined]
    assert set(re.findall(r"torch==[\d.]+", dockerfile)) == {torch}
    assert f"TORCH := {torch}\n" in (root / "Makefile").read_text()


def test_an_image_holds_every_package_of_the_wheel_and_nothing_from_outside(
    dockerfile: str, root: Path
) -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", dockerfile, re.MULTILINE))
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert copied == {package.split("/")[0] for package in wheel["packages"]}
    allowed = {line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied <= allowed


def test_serving_carries_neither_ray_nor_an_exchange(root: Path) -> None:
    lines = [line.strip(' \\"') for line in (root / "serving" / "Dockerfile").read_text().splitlines()]
    assert not [line for line in lines if re.match(r"(ray|ccxt|kfp)\b", line)]

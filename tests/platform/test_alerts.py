"""Alerts and dashboard speak of metrics that exist."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from carryflow.monitoring.metrics import ExecutionMetrics, ServingMetrics


@pytest.fixture(scope="module")
def known() -> set[str]:
    registry = CollectorRegistry()
    ServingMetrics(registry).record_bundle("b", 0)
    ExecutionMetrics(registry)
    names = {family.name for family in registry.collect()}
    return names | {f"{name}_total" for name in names} | {f"{name}_bucket" for name in names}


def test_alerts_and_dashboard_name_only_metrics_that_there_are(root: Path, known: set[str]) -> None:
    for name in ("alerts.yaml", "dashboard.json"):
        named = set(
            re.findall(r"\bcarryflow_[a-z_]+(?=[{\[)])", (root / "infra" / "monitoring" / name).read_text())
        )
        named.discard("carryflow_dev_alias")  # the label that the monitor takes over from the pod
        assert len(named) >= 4
        assert named <= known, named - known


def test_every_alert_says_what_to_do(root: Path) -> None:
    spec = yaml.safe_load((root / "infra" / "monitoring" / "alerts.yaml").read_text())["spec"]
    for rule in spec["groups"][0]["rules"]:
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["action"].endswith(".")
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_the_dashboard_is_whole(root: Path) -> None:
    dashboard = json.loads((root / "infra" / "monitoring" / "dashboard.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == 4
    assert all(target["expr"] for panel in panels for target in panel["targets"])


def test_alerts_fire_when_they_should_and_not_before(root: Path, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        reason = "promtool is not installed; `make servers` brings it"
        assert os.environ.get("CI") != "true", reason
        pytest.skip(reason)
    spec = yaml.safe_load((root / "infra" / "monitoring" / "alerts.yaml").read_text())["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    cases = Path(__file__).with_name("alert_cases.yaml")
    (tmp_path / "cases.yaml").write_text(cases.read_text())
    tested = subprocess.run(
        [promtool, "test", "rules", "cases.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr

"""What a cluster would refuse, and what it would take although it is wrong."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from components.images import PIPELINE_IMAGE, TAG, TRAINING_IMAGE
from pipelines.placement import HOME, HOME_CLAIM, STORE_KEYS, STORE_MAP, USER

Manifest = dict[str, Any]
Manifests = list[tuple[Path, Manifest]]

CORE = {"v1", "apps/v1", "networking.k8s.io/v1"}
QUANTITY = re.compile(r"\d+(\.\d+)?(m|[KMGT]i?)?")


def pod_specs(manifest: Manifest) -> Iterator[tuple[dict[str, str], Manifest]]:
    """Yield labels and spec of every pod that a manifest makes."""
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "StatefulSet":
            templates = [spec["template"]]
        case "RayCluster":
            templates = [group["template"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]
        case "InferenceService":
            templates = [{"metadata": {"labels": spec["predictor"]["labels"]}, "spec": spec["predictor"]}]
        case _:
            templates = []
    for template in templates:
        yield template["metadata"]["labels"], template["spec"]


def of_kind(manifests: Manifests, kind: str) -> list[Manifest]:
    return [manifest for _, manifest in manifests if manifest["kind"] == kind]


def test_core_kinds_are_valid_to_the_letter(manifests: Manifests) -> None:
    checked = 0
    for _, manifest in manifests:
        if manifest["apiVersion"] in CORE:
            kubernetes_validate.validate(manifest, "1.36", strict=True)
            checked += 1
    assert checked >= 7


def test_custom_resources_are_valid_to_the_letter(manifests: Manifests) -> None:
    schemas = os.environ.get("CARRYFLOW_CRDS")
    if not schemas:
        pytest.skip("the operators' schemas are not part of the product; name their folder in CARRYFLOW_CRDS")
    files = sorted({str(path) for path, manifest in manifests if manifest["apiVersion"] not in CORE})
    assert len(files) >= 4
    checked = subprocess.run(
        [sys.executable, f"{schemas}/validate.py", *files], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_selector_finds_its_pods(manifests: Manifests) -> None:
    pods = [labels for _, manifest in manifests for labels, _ in pod_specs(manifest)]
    pods.append({"pipelines.kubeflow.org/v2_component": "true"})  # Kubeflow's label of a pipeline step
    selectors: list[dict[str, str]] = [
        service["spec"]["selector"] for service in of_kind(manifests, "Service")
    ]
    selectors += [monitor["spec"]["selector"]["matchLabels"] for monitor in of_kind(manifests, "PodMonitor")]
    for policy in of_kind(manifests, "NetworkPolicy"):
        peers = [peer for rule in policy["spec"].get("ingress", []) for peer in rule["from"]]
        peers += [peer for rule in policy["spec"].get("egress", []) for peer in rule["to"]]
        targets = [policy["spec"], *(peer for peer in peers if "podSelector" in peer)]
        selectors += [target["podSelector"].get("matchLabels", {}) for target in targets]
    assert len(selectors) >= 8
    for selector in selectors:
        assert any(selector.items() <= labels.items() for labels in pods), f"{selector} finds no pod"


def test_the_monitored_port_is_one_that_the_predictor_opens(manifests: Manifests) -> None:
    (service,) = of_kind(manifests, "InferenceService")
    (container,) = service["spec"]["predictor"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    (monitor,) = of_kind(manifests, "PodMonitor")
    assert [endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]] == list(ports)
    probed = {
        container[probe]["httpGet"]["port"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert probed == set(ports.values()) == {8080}


@pytest.mark.pitfall("P20")
def test_a_predictor_is_never_scaled_to_zero(manifests: Manifests) -> None:
    for service in of_kind(manifests, "InferenceService"):
        predictor = service["spec"]["predictor"]
        assert 1 <= predictor["minReplicas"] <= predictor["maxReplicas"]


@pytest.mark.pitfall("P20")
def test_no_overlay_scales_a_predictor_to_zero_or_past_its_limit(root: Path) -> None:
    patched = 0
    for path in [
        *(root / "infra").rglob("kustomization.yaml"),
        *(root / "serving").rglob("kustomization.yaml"),
    ]:
        for patch in yaml.safe_load(path.read_text()).get("patches", []):
            for step in yaml.safe_load(patch["patch"]):
                if step["path"].endswith("Replicas"):
                    assert 1 <= step["value"] <= 3
                    patched += 1
    assert patched >= 3


def test_every_container_says_what_it_needs_and_cannot_become_root(manifests: Manifests) -> None:
    containers = 0
    for _, manifest in manifests:
        for _, pod in pod_specs(manifest):
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
            for container in pod["containers"]:
                for bound in ("requests", "limits"):
                    sizes = container["resources"][bound]
                    assert sizes.keys() == {"cpu", "memory"}
                    assert all(QUANTITY.fullmatch(size) for size in sizes.values()), sizes
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
                containers += 1
    assert containers == 4


def test_every_image_is_pinned_and_ours_are_of_this_version(manifests: Manifests) -> None:
    images = {c["image"] for _, m in manifests for _, pod in pod_specs(m) for c in pod["containers"]}
    for image in images:
        assert re.search(r"@sha256:[0-9a-f]{64}$|:\d+\.\d+\.\d+$", image), f"{image} is not pinned"
    ours = {image for image in images if image.startswith("ghcr.io/carryflow/")}
    assert ours == {TRAINING_IMAGE, PIPELINE_IMAGE.rsplit("/", 1)[0] + f"/serving:{TAG}"}


def test_steps_and_predictor_meet_on_one_volume_as_one_user(manifests: Manifests) -> None:
    (claim,) = of_kind(manifests, "PersistentVolumeClaim")
    (service,) = of_kind(manifests, "InferenceService")
    predictor = service["spec"]["predictor"]
    (container,) = predictor["containers"]
    claims = [
        v["persistentVolumeClaim"]["claimName"] for v in predictor["volumes"] if "persistentVolumeClaim" in v
    ]
    assert claims == [claim["metadata"]["name"]] == [HOME_CLAIM]
    assert {"name": "home", "mountPath": HOME, "readOnly": True} in container["volumeMounts"]
    assert {"name": "CARRYFLOW__HOME", "value": HOME} in container["env"]
    assert predictor["securityContext"]["runAsUser"] == USER


def test_steps_and_predictor_find_one_feature_store(root: Path, manifests: Manifests) -> None:
    base = yaml.safe_load((root / "infra" / "base" / "kustomization.yaml").read_text())
    (store,) = base["configMapGenerator"]
    values = dict(literal.split("=", 1) for literal in store["literals"])
    assert (store["name"], tuple(sorted(values))) == (STORE_MAP, tuple(sorted(STORE_KEYS)))
    assert store["options"] == {
        "disableNameSuffixHash": True
    }  # the compiled graph knows the map by this name
    assert (root / "feature_repo" / values["CARRYFLOW_FEATURE_STORE"]).is_file()
    (redis,) = of_kind(manifests, "Service")
    port = redis["spec"]["ports"][0]["port"]
    assert values["CARRYFLOW_REDIS"] == f"{redis['metadata']['name']}:{port}"
    (service,) = of_kind(manifests, "InferenceService")
    (container,) = service["spec"]["predictor"]["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": STORE_MAP}}]

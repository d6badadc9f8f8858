"""The manifests of deploy/kubernetes against the published schemas, and against what this version is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from command import CLI

from indexer import __version__

FOLDER = CLI.parent / "deploy" / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
OF_KUSTOMIZE = "kustomization.yaml"
OF_OPERATOR = {"ServiceMonitor", "PrometheusRule"}
OLDEST, NEWEST = "1.29", "1.37"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def manifests(path: Path) -> list[dict[str, Any]]:
    """Return the documents of a file."""
    return list(yaml.safe_load_all(path.read_text()))


MANIFESTS = [each for path in FILES if path.name != OF_KUSTOMIZE for each in manifests(path)]


def named(manifest: dict[str, Any]) -> str:
    """Return the kind and the name of a manifest."""
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the specification of each pod."""
    for manifest in MANIFESTS:
        spec = manifest.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            yield named(manifest), template["spec"]


PODS = list(pods())
OF_PODS = pytest.mark.parametrize("pod", [pod for _, pod in PODS], ids=[name for name, _ in PODS])


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("manifest", [each for each in MANIFESTS if each["kind"] not in OF_OPERATOR], ids=named)
def test_kubernetes_accepts_each_manifest_and_knows_each_of_its_fields(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("manifest", [each for each in MANIFESTS if each["kind"] in OF_OPERATOR], ids=named)
def test_the_prometheus_operator_accepts_its_manifests_and_knows_each_of_their_fields(manifest: dict[str, Any]) -> None:
    v1 = pytest.importorskip("cloudcoil.models.prometheus_operator.v1")  # slow to import
    model = getattr(v1, manifest["kind"]).model_validate(manifest)
    assert model.model_dump(mode="json", by_alias=True, exclude_unset=True) == manifest  # unknown fields would be lost


def test_kustomize_finds_all_its_files_and_the_image_that_they_use() -> None:
    (kustomization,) = manifests(FOLDER / OF_KUSTOMIZE)
    assert set(kustomization["resources"]) <= {path.name for path in FILES}
    (image,) = kustomization["images"]
    assert image["newTag"] == __version__
    used = {each["image"] for _, pod in PODS for each in pod.get("initContainers", []) + pod["containers"]}
    assert f"{image['name']}:{__version__}" in used


def test_the_job_has_the_version_in_its_name_and_no_deadline() -> None:
    (job,) = (each for each in MANIFESTS if each["kind"] == "Job")
    assert job["metadata"]["name"] == f"indexer-up-{__version__.replace('.', '-')}"
    assert job["metadata"]["labels"]["app.kubernetes.io/version"] == __version__
    assert "activeDeadlineSeconds" not in job["spec"]
    assert job["spec"]["ttlSecondsAfterFinished"] >= 600


@OF_PODS
def test_every_pod_is_restricted_and_gets_no_variables_of_services(pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod.get("initContainers", []) + pod["containers"]:
        assert container["securityContext"] == RESTRICTED
        assert container["resources"]["limits"]["memory"]


@OF_PODS
def test_every_mount_has_its_volume(pod: dict[str, Any]) -> None:
    for container in pod.get("initContainers", []) + pod["containers"]:
        assert {each["name"] for each in container.get("volumeMounts", [])} <= {each["name"] for each in pod["volumes"]}


def test_the_service_and_its_monitor_select_the_pods_of_serve() -> None:
    by_name = {named(each): each for each in MANIFESTS}
    labels = by_name["Deployment-indexer"]["spec"]["template"]["metadata"]["labels"]
    service, monitor = by_name["Service-indexer"], by_name["ServiceMonitor-indexer"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {each["port"] for each in monitor["spec"]["endpoints"]} <= {
        each["name"] for each in service["spec"]["ports"]
    }


def test_the_alerts_are_those_of_prometheus() -> None:
    (rule,) = (each for each in MANIFESTS if each["kind"] == "PrometheusRule")
    rules = yaml.safe_load((FOLDER.parent / "prometheus" / "alerts.yaml").read_text())
    assert rule["spec"] == rules, "copy the groups of deploy/prometheus/alerts.yaml"

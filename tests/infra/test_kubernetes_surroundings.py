"""The optional folders of infra/kubernetes: a Prefect server with Postgres, and the figures for Prometheus."""

from __future__ import annotations

import kubernetes_validate
import pytest

from flows.serving.environment import DEFAULTS
from tests.infra.manifests import KUBERNETES, documents, is_secret, object_of, project_version, walk
from tests.infra.test_kubernetes_schemas import KUBERNETES_VERSION

FOLDERS = {"prefect": "prefect", "monitoring": "engraph"}


def in_folder(folder):
    """Its objects; Kustomize's own file and custom resources not."""
    found = [o for path in sorted((KUBERNETES / folder).glob("*.yaml")) for o in documents(path)]
    return [o for o in found if o["kind"] not in ("Kustomization", "ServiceMonitor")]


def workload(folder, name):
    [found] = [o for o in in_folder(folder) if o["metadata"]["name"] == name and "template" in o.get("spec", {})]
    return found["spec"]["template"]


def environment(container):
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container.get("env", [])}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_fits_its_schema_and_its_namespace(folder):
    for found in in_folder(folder):
        kubernetes_validate.validate(found, KUBERNETES_VERSION, strict=True)
        name = found["metadata"]["name"] if found["kind"] == "Namespace" else found["metadata"]["namespace"]
        assert name == FOLDERS[folder]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_kustomization_names_what_is_there(folder):
    [kustomization] = documents(KUBERNETES / folder / "kustomization.yaml")
    there = {p.name for p in (KUBERNETES / folder).glob("*.yaml")} - {"kustomization.yaml", "service-monitor.yaml"}
    assert set(kustomization["resources"]) == there


@pytest.mark.parametrize(
    ("folder", "name"), [("prefect", "postgres"), ("prefect", "prefect-server"), ("monitoring", "metrics")]
)
def test_pods_are_restricted_and_hold_no_secret_in_clear(folder, name):
    pod = workload(folder, name)["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] and container["securityContext"]["capabilities"] == {
        "drop": ["ALL"]
    }
    assert container["resources"]["limits"].keys() == {"cpu", "memory"}
    for variable, value in environment(container).items():
        if is_secret(variable) or variable.endswith("CONNECTION_URL"):
            assert isinstance(value, dict) and "secretKeyRef" in value, variable


def test_the_server_is_the_one_that_workers_look_for_and_keeps_its_leases():
    api = object_of("ConfigMap", "engraph-settings")["data"]["PREFECT_API_URL"]
    assert api == "http://prefect-server.prefect.svc.cluster.local:4200/api"
    template = workload("prefect", "prefect-server")
    [container] = template["spec"]["containers"]
    assert container["image"] == f"engraph:{project_version()}"
    given = environment(container)
    for name in DEFAULTS:
        if "_SERVER_CONCURRENCY_" in name:
            assert given[name] == DEFAULTS[name]
    assert {"name": "home", "mountPath": given["PREFECT_HOME"]} in container["volumeMounts"]


def test_heartbeats_are_as_the_automation_expects_them():
    settings = object_of("ConfigMap", "engraph-settings")["data"]
    for name in (
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY",
        "PREFECT_CLIENT_MAX_RETRIES",
        "PREFECT_WORKER_ENABLE_CANCELLATION",
    ):
        assert settings[name] == DEFAULTS[name]


def test_the_worker_mounts_the_settings_that_it_is_told_of():
    path = object_of("ConfigMap", "engraph-settings")["data"]["ENGRAPH_CONFIG"]
    [container] = object_of("Deployment")["spec"]["template"]["spec"]["containers"]
    [mount] = [m for m in container["volumeMounts"] if m["name"] == "config"]
    assert path == f"{mount['mountPath']}/engraph.toml"
    assert "engraph.toml" in object_of("ConfigMap", "engraph-config")["data"]


def test_prometheus_finds_the_port_that_is_served_and_may_reach_it():
    template = workload("monitoring", "metrics")
    [container] = template["spec"]["containers"]
    port = container["ports"][0]["containerPort"]
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(port) == container["args"][-1]
    [monitor] = documents(KUBERNETES / "monitoring" / "service-monitor.yaml")
    [service] = [o for o in in_folder("monitoring") if o["kind"] == "Service"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    [policy] = [o for o in in_folder("monitoring") if o["kind"] == "NetworkPolicy"]
    assert policy["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": port}]


def test_only_the_server_reaches_postgres():
    policies = {o["metadata"]["name"]: o["spec"] for o in in_folder("prefect") if o["kind"] == "NetworkPolicy"}
    [rule] = policies["postgres"]["ingress"]
    labels = dict(walk(rule["from"]))
    assert list(labels.values()) == ["prefect-server"] and policies["postgres"]["egress"] == []

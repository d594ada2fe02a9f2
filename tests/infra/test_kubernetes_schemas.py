"""Every manifest against the schema of its kind, strictly: a field misspelt or in the wrong place is refused.

Core kinds and all pod templates: Kubernetes' OpenAPI schemas (the package kubernetes-validate). SparkApplication: the Spark
operator's own API models (kubeflow-spark-api). RayCluster, RayJob and the values of Prefect's chart: no package carries their
schemas, so our own strict models of the documented fields (`ray_api`, `helm_values`) stand in for them.
"""

from __future__ import annotations

import copy

import kubernetes_validate
import pytest
from kubeflow_spark_api.models.spark_v1beta2_spark_application import SparkV1beta2SparkApplication
from pydantic import ValidationError

from tests.infra.helm_values import Values
from tests.infra.manifests import (
    KUBERNETES,
    VALUES,
    Object,
    documents,
    object_of,
    objects,
    pod_templates,
    spark_pod_template,
    walk,
)
from tests.infra.ray_api import RayCluster, RayJob

KUBERNETES_VERSION = "1.34"


def check(found: Object) -> None:
    """Raises ValidationError (of one library or the other) where a manifest does not fit its schema."""
    if found["kind"] == "RayCluster":
        RayCluster.model_validate(found)
        options = found["spec"]["autoscalerOptions"]
        check_pod_template(
            {
                "spec": {
                    "containers": [{"name": "autoscaler", **{k: options[k] for k in ("resources", "securityContext")}}]
                }
            }
        )
    elif found["kind"] == "RayJob":
        RayJob.model_validate(found)
    elif found["kind"] == "SparkApplication":
        check_spark_application(found)
    else:
        kubernetes_validate.validate(found, KUBERNETES_VERSION, strict=True)


def check_pod_template(template: Object) -> None:
    """A pod template is checked inside the core kind PodTemplate."""
    outer = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "any"}, "template": template}
    kubernetes_validate.validate(outer, KUBERNETES_VERSION, strict=True)


def check_spark_application(found: Object) -> None:
    """The models ignore what they do not know, so what they took in is compared with what was given."""
    model = SparkV1beta2SparkApplication.from_dict(copy.deepcopy(found))
    unknown = {path for path, _ in walk(found)} - {path for path, _ in walk(model.to_dict())}
    if unknown:
        raise ValueError(f"no such fields in SparkApplication v1beta2: {sorted(map(str, unknown))}")


REFUSED = (ValidationError, ValueError, kubernetes_validate.ValidationError)


def test_every_manifest_fits_the_schema_of_its_kind():
    kinds = set()
    for found in objects():
        check(found)
        kinds.add(found["kind"])
    assert kinds >= {"Namespace", "ServiceAccount", "Role", "RoleBinding", "ConfigMap", "NetworkPolicy", "Deployment"}
    assert kinds >= {"PodDisruptionBudget", "RayCluster", "RayJob", "SparkApplication"}


def test_every_pod_template_fits_the_schema_of_kubernetes():
    templates = list(pod_templates())
    for _, template in templates:
        check_pod_template(template)
    assert len(templates) == 6
    kubernetes_validate.validate({**spark_pod_template(), "metadata": {"name": "any"}}, KUBERNETES_VERSION, strict=True)


def test_the_values_of_the_chart_fit_what_the_chart_documents():
    [values] = documents(VALUES)
    Values.model_validate(values)
    worker = values["worker"]
    container = {
        "name": "worker",
        "env": worker["extraEnvVars"],
        "resources": worker["resources"],
        "securityContext": worker["containerSecurityContext"],
        "volumeMounts": worker["extraVolumeMounts"],
    }
    pod = {
        "containers": [container],
        "volumes": worker["extraVolumes"],
        "securityContext": worker["podSecurityContext"],
    }
    check_pod_template({"spec": pod})


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Deployment", ["spec", "template", "spec", "serviceAcountName"]),
        ("NetworkPolicy", ["spec", "podSelectors"]),
        ("Role", ["rule"]),
        ("PodDisruptionBudget", ["spec", "minimumAvailable"]),
        ("RayCluster", ["spec", "headGroupSpecs"]),
        ("RayCluster", ["spec", "autoscalerOptions", "idleTimeout"]),
        ("RayCluster", ["spec", "workerGroupSpecs", 1, "maxReplica"]),
        ("RayJob", ["spec", "entryPoint"]),
        ("SparkApplication", ["spec", "dynamicAllocation", "maxExecutor"]),
        ("SparkApplication", ["spec", "driver", "securityContext", "runAsNonroot"]),
        ("SparkApplication", ["spec", "sparkVersions"]),
    ],
)
def test_a_misspelt_field_is_refused(kind, path):
    found = copy.deepcopy(next(o for o in objects() if o["kind"] == kind))
    node = found
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = True
    with pytest.raises(REFUSED):
        check(found)


@pytest.mark.parametrize("where", ["RayCluster/engraph gpu", "RayJob/engraph-ingest"])
def test_a_misspelt_field_in_a_pod_template_is_refused(where):
    template = copy.deepcopy(dict(pod_templates())[where])
    template["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(REFUSED):
        check_pod_template(template)


def test_a_value_of_the_wrong_type_is_refused():
    for kind, path in [("RayCluster", ["spec", "rayVersion"]), ("SparkApplication", ["spec", "driver", "cores"])]:
        found = copy.deepcopy(object_of(kind))
        node = found
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = 2.6
        with pytest.raises(REFUSED):
            check(found)


def test_a_misspelt_value_of_the_chart_is_refused():
    [values] = documents(VALUES)
    values["worker"]["replicas"] = 1
    with pytest.raises(ValidationError):
        Values.model_validate(values)


def test_the_kustomization_names_what_is_there_and_leaves_out_only_the_two_jobs():
    [kustomization] = documents(KUBERNETES / "kustomization.yaml")
    there = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert there - set(kustomization["resources"]) == {"ray-job.yaml", "spark-application.yaml"}
    assert set(kustomization["resources"]) <= there

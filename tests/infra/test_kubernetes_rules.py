"""What a schema cannot say about the manifests: secrets by reference, limits, restricted pods, names and versions that agree."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.infra.manifests import (
    INFRA,
    VALUES,
    Object,
    documents,
    is_secret,
    object_of,
    objects,
    pins,
    pod_templates,
    project_version,
    walk,
)

SECRETS = {
    "engraph-ray": {"auth_token"},
    "engraph-store": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    "prefect-auth": {"auth-string"},
}


def containers() -> list[tuple[str, Object, Object]]:
    """(where, pod spec, container) of all pods written as pods."""
    return [(w, t["spec"], c) for w, t in pod_templates() for c in t["spec"]["containers"]]


def spark_roles() -> list[Object]:
    spec = object_of("SparkApplication")["spec"]
    return [spec["driver"], spec["executor"]]


def everything() -> list[Object]:
    return [*objects(), *documents(VALUES)]


def test_no_manifest_holds_a_secret():
    assert not [o for o in objects() if o["kind"] == "Secret"]
    for found in everything():
        for path, value in walk(found):
            if path[-1] == "value" and isinstance(value, str):
                name = parent(found, path)["name"]
                assert not is_secret(name), f"{name} is given in the open"
    for config in (o for o in objects() if o["kind"] == "ConfigMap"):
        assert not [key for key in config["data"] if is_secret(key)]


def parent(node: Object, path: tuple) -> Object:
    for step in path[:-1]:
        node = node[step]
    return node


def test_every_secret_that_is_referred_to_is_one_that_the_readme_says_to_make():
    readme = (INFRA / "kubernetes" / "README.md").read_text()
    for name, keys in SECRETS.items():
        assert f"create secret generic {name}" in readme
        assert all(f"--from-literal={key}=" in readme or f"{key}=" in readme for key in keys)
    for found in everything():
        for path, value in walk(found):
            if path[-2:-1] == ("secretKeyRef",) and path[-1] == "key":
                assert value in SECRETS[parent(found, path)["name"]]
            if path[-2:] == ("secretRef", "name") or path[-1] in ("secretName", "existingSecret"):
                assert value in SECRETS


def test_every_container_has_requests_and_limits_of_cpu_and_memory():
    for where, _, container in containers():
        if where.startswith("Spark's"):
            continue  # Spark writes an executor's resources itself: the next test
        for kind in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(container["resources"][kind]), (where, kind)
        assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"], where


def test_sparks_pods_have_limits_in_sparks_own_words():
    for role in spark_roles():
        assert role["coreLimit"] and role["memory"] and role["memoryOverhead"]
    settings = spark_defaults()
    assert {"spark.kubernetes.executor.limit.cores", "spark.executor.memory", "spark.executor.memoryOverhead"} <= set(
        settings
    )


def spark_defaults() -> dict[str, str]:
    text = object_of("ConfigMap", "engraph-spark")["data"]["spark-defaults.conf"]
    return dict(line.split(None, 1) for line in text.splitlines())


def test_every_pod_is_restricted():
    for where, pod, container in containers():
        assert pod["securityContext"]["runAsNonRoot"] is True, where
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, where
        restricted(container["securityContext"])
    for role in spark_roles():
        assert role["podSecurityContext"]["runAsNonRoot"] is True
        restricted(role["securityContext"])
    restricted(object_of("RayCluster")["spec"]["autoscalerOptions"]["securityContext"])
    restricted(documents(VALUES)[0]["worker"]["containerSecurityContext"])


def restricted(context: Object) -> None:
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_a_read_only_container_can_write_where_it_must():
    for where, pod, container in containers():
        mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
        volumes = {v["name"]: v for v in pod["volumes"]}
        for path in ("/tmp", "/home/engraph"):
            assert "sizeLimit" in volumes[mounts[path]]["emptyDir"], (where, path)


def test_only_the_image_of_this_version_is_used():
    image = f"engraph:{project_version()}"
    images = [(path, value) for found in everything() for path, value in walk(found) if path[-1] == "image"]
    assert {value for _, value in images} == {image, f"{image}-cuda"}
    assert spark_defaults()["spark.kubernetes.container.image"] == image
    values = documents(VALUES)[0]["worker"]["image"]
    assert f"{values['repository']}:{values['prefectTag']}" == image
    assert dict(pod_templates())["Spark's executors of the Prefect worker"]["spec"]["containers"][0]["image"] == image


def test_engine_versions_are_the_pinned_ones():
    assert object_of("RayCluster")["spec"]["rayVersion"] == pins()["ray"]
    assert object_of("SparkApplication")["spec"]["sparkVersion"] == pins()["pyspark"]


def test_the_gpu_group_asks_for_a_gpu_and_is_kept_to_gpu_nodes():
    [gpu] = [g for g in object_of("RayCluster")["spec"]["workerGroupSpecs"] if g["groupName"] == "gpu"]
    pod = gpu["template"]["spec"]
    [container] = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["image"].endswith("-cuda")
    assert pod["nodeSelector"]
    assert [t["key"] for t in pod["tolerations"]] == ["nvidia.com/gpu"]


def test_the_cluster_scales_from_nothing_and_its_head_takes_no_tasks():
    spec = object_of("RayCluster")["spec"]
    assert spec["enableInTreeAutoscaling"] is True
    assert {g["minReplicas"] for g in spec["workerGroupSpecs"]} == {0}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_ray_asks_for_a_token_everywhere():
    options = object_of("RayCluster")["spec"]["authOptions"]
    assert options == {"mode": "token", "secretName": "engraph-ray"}
    assert object_of("ConfigMap", "engraph-settings")["data"]["RAY_AUTH_MODE"] == "token"
    drivers = [object_of("Deployment")["spec"]["template"]["spec"]["containers"][0], spark_roles()[0]]
    drivers += [object_of("RayJob")["spec"]["submitterPodTemplate"]["spec"]["containers"][0]]
    for driver in drivers:
        [token] = [e for e in driver["env"] if e["name"] == "RAY_AUTH_TOKEN"]
        assert token["valueFrom"]["secretKeyRef"] == {"name": "engraph-ray", "key": "auth_token"}


def test_the_drivers_address_is_the_head_service_that_kuberay_makes():
    cluster, settings = object_of("RayCluster"), object_of("ConfigMap", "engraph-settings")["data"]
    name, namespace = cluster["metadata"]["name"], cluster["metadata"]["namespace"]
    assert settings["ENGRAPH_RAY__ADDRESS"] == f"{name}-head-svc.{namespace}.svc.cluster.local:6379"
    assert object_of("RayJob")["spec"]["clusterSelector"] == {"ray.io/cluster": name}


def test_the_role_is_least_privilege():
    role = object_of("Role")
    for rule in role["rules"]:
        assert rule["apiGroups"] == [""]
        assert "*" not in rule["verbs"] + rule["resources"]
        assert "secrets" not in rule["resources"]
    assert not [o for o in objects() if o["kind"].startswith("ClusterRole")]
    assert object_of("ServiceAccount", "engraph-executor")["automountServiceAccountToken"] is False
    bound = {s["name"] for s in object_of("RoleBinding")["subjects"]}
    assert bound == {"engraph-driver"}


def test_only_pods_with_a_known_account_run():
    accounts = {o["metadata"]["name"] for o in objects() if o["kind"] == "ServiceAccount"}
    for where, template in pod_templates():
        account = template["spec"].get("serviceAccountName")
        assert account in accounts or where in ("RayCluster/engraph head", "Spark's executors of the Prefect worker")
    assert {role["serviceAccount"] for role in spark_roles()} <= accounts
    assert spark_defaults()["spark.kubernetes.authenticate.executor.serviceAccountName"] in accounts
    assert documents(VALUES)[0]["serviceAccount"] == {"create": False, "name": "engraph-driver"}


def test_the_network_is_closed_and_every_pod_carries_the_label_that_opens_it():
    closed = object_of("NetworkPolicy", "closed")["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    label = {"app.kubernetes.io/part-of": "engraph"}
    assert object_of("NetworkPolicy", "engraph")["spec"]["podSelector"] == {"matchLabels": label}
    labelled = [(w, t["metadata"]["labels"]) for w, t in pod_templates()]
    labelled += [("spark", role["labels"]) for role in spark_roles()]
    labelled += [("chart", documents(VALUES)[0]["worker"]["podLabels"])]
    for where, labels in labelled:
        assert label.items() <= labels.items(), where


def test_every_object_is_in_the_one_namespace():
    for found in objects():
        if found["kind"] != "Namespace":
            assert found["metadata"]["namespace"] == "engraph", found["metadata"]["name"]


@pytest.mark.parametrize("file", sorted((INFRA / "kubernetes").rglob("*.yaml")), ids=lambda p: p.name)
def test_no_image_tag_floats(file):
    assert not re.search(r":latest\b", file.read_text())
    assert all(yaml.safe_load_all(file.read_text()))

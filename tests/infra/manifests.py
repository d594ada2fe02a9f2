"""The files of infra/ as Python objects, for the tests beside this one: nothing is rendered, nothing is mocked."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
KUBERNETES = INFRA / "kubernetes"
VALUES = KUBERNETES / "helm" / "prefect-worker-values.yaml"
Object = dict[str, Any]


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML as its specification has it: PyYAML takes the last of two equal keys in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Object:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.value != "<<"]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"keys given twice: {twice}", node.start_mark)
        return super().construct_mapping(node, deep)


def documents(path: Path) -> list[Object]:
    """The documents of one YAML file."""
    return list(yaml.load_all(path.read_text(), Loader=UniqueKeyLoader))


def objects() -> list[Object]:
    """Every Kubernetes object of infra/kubernetes, custom resources included, Kustomize's own file not."""
    return [o for path in sorted(KUBERNETES.glob("*.yaml")) for o in documents(path) if o["kind"] != "Kustomization"]


def object_of(kind: str, name: str | None = None) -> Object:
    """The one object of a kind (and name)."""
    [found] = [o for o in objects() if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    return found


def pod_templates() -> Iterator[tuple[str, Object]]:
    """(where, pod template) of everything that becomes a pod and is written as one: Spark's own form is not."""
    for found in objects():
        where, spec = f"{found['kind']}/{found['metadata']['name']}", found.get("spec", {})
        if found["kind"] == "Deployment":
            yield where, spec["template"]
        elif found["kind"] == "RayCluster":
            yield f"{where} head", spec["headGroupSpec"]["template"]
            for group in spec["workerGroupSpecs"]:
                yield f"{where} {group['groupName']}", group["template"]
        elif found["kind"] == "RayJob":
            yield where, spec["submitterPodTemplate"]
    pod = spark_pod_template()
    yield "Spark's executors of the Prefect worker", {key: pod[key] for key in ("metadata", "spec")}


def spark_pod_template() -> Object:
    """The Pod inside the ConfigMap of Spark's settings."""
    return yaml.load(object_of("ConfigMap", "engraph-spark")["data"]["executor.yaml"], Loader=UniqueKeyLoader)


def pins() -> dict[str, str]:
    """Package -> version in infra/constraints.txt."""
    lines = (INFRA / "constraints.txt").read_text().split()
    return dict(line.split("==") for line in lines)


def project_version() -> str:
    """The version in pyproject.toml, which the image's tag carries."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def walk(node: Any, path: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """(path, value) of every scalar."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from walk(value, (*path, key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from walk(value, (*path, number))
    else:
        yield path, node


def is_secret(name: str) -> bool:
    """Whether a variable of this name holds a secret."""
    return (
        bool(re.search(r"(?<!AUTOMOUNT)(TOKEN|PASSWORD|SECRET|AUTH_STRING|ACCESS_KEY|API_KEY)", name))
        or "CREDENTIAL" in name
    )

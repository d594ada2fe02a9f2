"""KubeRay's ray.io/v1, as far as our manifests use it: strict models written for these tests from KubeRay's API reference (v1.6).

No Python package carries KubeRay's CustomResourceDefinitions, so this is our reading of the documented fields, not the CRD
itself: it refuses every field that it does not know, a field misspelt as well as one that we have not used so far. Pod templates
are only `dict` here; they are checked against Kubernetes' own schema.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator

Strings = dict[str, str]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AuthOptions(Strict):
    mode: Literal["disabled", "token"]
    secretName: str


class AutoscalerOptions(Strict):
    version: Literal["v1", "v2"]
    upscalingMode: Literal["Default", "Aggressive", "Conservative"]
    idleTimeoutSeconds: PositiveInt
    resources: dict[str, Strings]
    securityContext: dict[str, Any]
    volumeMounts: list[dict[str, Any]] = []


class HeadGroup(Strict):
    serviceType: Literal["ClusterIP", "NodePort", "LoadBalancer"]
    rayStartParams: Strings
    template: dict[str, Any]


class WorkerGroup(Strict):
    groupName: str
    replicas: int
    minReplicas: int
    maxReplicas: PositiveInt
    rayStartParams: Strings
    template: dict[str, Any]

    @model_validator(mode="after")
    def _in_order(self) -> WorkerGroup:
        if not 0 <= self.minReplicas <= self.replicas <= self.maxReplicas:
            raise ValueError("minReplicas <= replicas <= maxReplicas")
        return self


class RayClusterSpec(Strict):
    rayVersion: str
    enableInTreeAutoscaling: bool
    authOptions: AuthOptions
    autoscalerOptions: AutoscalerOptions
    headGroupSpec: HeadGroup
    workerGroupSpecs: list[WorkerGroup]


class RayJobSpec(Strict):
    entrypoint: str
    submissionMode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]
    clusterSelector: Strings
    entrypointNumCpus: float | int
    runtimeEnvYAML: str
    backoffLimit: int
    activeDeadlineSeconds: PositiveInt
    submitterPodTemplate: dict[str, Any]


class Metadata(Strict):
    name: str
    namespace: str
    labels: Strings = {}


class RayCluster(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: RayClusterSpec


class RayJob(Strict):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec

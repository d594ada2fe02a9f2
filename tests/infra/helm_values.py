"""The values of Prefect's worker chart (2025.3 or newer) that we set: strict models from the chart's documented values.

The chart is in no Python package; like `ray_api` this refuses what it does not know.
"""

from __future__ import annotations

from typing import Any, Literal

from tests.infra.ray_api import Strict

Resources = dict[Literal["requests", "limits"], dict[Literal["cpu", "memory"], str]]


class Image(Strict):
    repository: str
    prefectTag: str
    pullPolicy: Literal["IfNotPresent", "Always", "Never"]


class WorkerConfig(Strict):
    type: Literal["process", "kubernetes", "docker"]
    workPool: str
    installPolicy: Literal["always", "if-not-present", "never", "prompt"]


class BasicAuth(Strict):
    enabled: bool
    existingSecret: str


class ServerApi(Strict):
    apiUrl: str
    basicAuth: BasicAuth


class LivenessProbe(Strict):
    enabled: bool
    config: dict[
        Literal["initialDelaySeconds", "periodSeconds", "timeoutSeconds", "successThreshold", "failureThreshold"], int
    ]


class Worker(Strict):
    image: Image
    config: WorkerConfig
    apiConfig: Literal["selfHostedServer"]
    selfHostedServerApiConfig: ServerApi
    replicaCount: int
    livenessProbe: LivenessProbe
    podLabels: dict[str, str]
    extraEnvVarsCMs: list[str]
    extraEnvVarsSecrets: list[str]
    extraEnvVars: list[dict[str, Any]]
    extraVolumes: list[dict[str, Any]]
    extraVolumeMounts: list[dict[str, Any]]
    resources: Resources
    podSecurityContext: dict[str, Any]
    containerSecurityContext: dict[str, Any]


class Account(Strict):
    create: bool
    name: str


class Create(Strict):
    create: bool


class Values(Strict):
    fullnameOverride: str
    worker: Worker
    serviceAccount: Account
    role: Create
    rolebinding: Create

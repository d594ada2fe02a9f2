"""The plan: what infra/prefect.yaml says, checked, with the schedules that the environment changes.

ENGRAPH_CRON_<NAME> replaces the cron line of a deployment (`off` takes the schedule away), ENGRAPH_CRON_TIMEZONE the time
zone of all.
"""

import os
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import flows
from schemas.errors import UsageError

PLAN = Path("infra") / "prefect.yaml"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WorkPool(_Strict):
    name: str
    type: str = "process"


class WorkQueue(_Strict):
    """Runs of the queue with the lowest priority number start first."""

    name: str
    priority: int = Field(ge=1)
    concurrency_limit: int | None = Field(default=None, ge=1)
    description: str = ""


class Schedule(_Strict):
    slug: str
    cron: str
    timezone: str = "UTC"


class Place(_Strict):
    """Where the runs of a deployment wait."""

    name: str
    work_queue_name: str


class Limit(_Strict):
    """How many runs of one deployment there are at once, and what happens to one more."""

    limit: int = Field(ge=1)
    collision_strategy: Literal["ENQUEUE", "CANCEL_NEW"] = "ENQUEUE"


class Deployment(_Strict):
    """One flow that the server knows how to start."""

    name: str
    entrypoint: str = Field(pattern=r"^[\w.]+:\w+$")
    description: str
    tags: list[str] = []
    parameters: dict[str, Any] = {}
    schedules: list[Schedule] = []
    work_pool: Place
    concurrency_limit: Limit | None = None


class Definitions(_Strict):
    work_pool: WorkPool
    work_queues: list[WorkQueue]
    tag_limits: dict[str, int] = {}


class Plan(BaseModel):
    """Everything that a Prefect server is told."""

    definitions: Definitions
    deployments: list[Deployment]


def find_plan(given: Path | None) -> Path:
    """The file to deploy: the one given, else infra/prefect.yaml of the source tree, else of the working directory.

    Raises:
        UsageError: there is none.
    """
    candidates = [given] if given else [Path(flows.__file__).parents[1] / PLAN, Path.cwd() / PLAN]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UsageError(f"no {given or PLAN}: run it from the repository's root, or give --deployments FILE")


def read_plan(file: Path, environment: Mapping[str, str] = os.environ) -> Plan:
    """The checked plan.

    Raises:
        UsageError: the file or a variable says something that cannot be deployed.
    """
    try:
        plan = Plan.model_validate(yaml.safe_load(file.read_text()))
    except (yaml.YAMLError, ValidationError) as problem:
        raise UsageError(f"{file}: {_first_line(problem)}") from None
    for deployment in plan.deployments:
        deployment.schedules = _schedules(deployment, environment)
    return plan


def _first_line(problem: Exception) -> str:
    if isinstance(problem, ValidationError):
        first = problem.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return " ".join(str(problem).split())


def _schedules(deployment: Deployment, environment: Mapping[str, str]) -> list[Schedule]:
    """The deployment's schedules as the environment wants them."""
    name = f"ENGRAPH_CRON_{deployment.name.upper().replace('-', '_')}"
    cron = environment.get(name, "").strip()
    zone = environment.get("ENGRAPH_CRON_TIMEZONE", "").strip()
    if cron.lower() == "off":
        return []
    found = deployment.schedules
    if cron:
        found = [Schedule(slug=found[0].slug if found else "own", cron=cron)]
    for schedule in found:
        schedule.timezone = zone or schedule.timezone
        _check(schedule, name)
    return found


def _check(schedule: Schedule, variable: str) -> None:
    """Raises UsageError where the server would refuse the schedule, naming the variable that may hold it."""
    from prefect.client.schemas.schedules import CronSchedule

    try:
        zoneinfo.ZoneInfo(schedule.timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise UsageError(
            f"{schedule.timezone!r} is no time zone (ENGRAPH_CRON_TIMEZONE): give one like Europe/Berlin"
        ) from None
    try:
        CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
    except ValidationError:
        raise UsageError(
            f"{schedule.cron!r} is no cron line ({variable}): give five fields, like '0 2 * * *'"
        ) from None

"""Deploy: make a Prefect server know the plan. Doing it again changes nothing; what differs is brought in line and named.

A deployment that is up to date is not written again, because Prefect throws away the scheduled runs of one that is.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from flows.serving.automations import apply_automations
from flows.serving.plan import Deployment, Limit, Plan, WorkPool, WorkQueue
from schemas.errors import EngraphError, UsageError
from schemas.notify import Notify

SEEN = 200  # limits read at once; a server of ours has about ten


@dataclass(frozen=True)
class Change:
    """What deploying did to one thing: created, updated or unchanged."""

    kind: str
    name: str
    done: str
    detail: str = ""


@asynccontextmanager
async def connect(api: str, auth_string: str | None = None) -> AsyncIterator[PrefectClient]:
    """A client of one server, whatever Prefect's profile says.

    Raises:
        EngraphError: nothing answers there, or it asks for another password.
    """
    client = PrefectClient(api, auth_string=auth_string)
    try:
        async with client:
            yield client
    except httpx.ConnectError:
        raise EngraphError(
            f"no Prefect server answers at {api}: start one (engraph serve), or set PREFECT_API_URL"
        ) from None
    except httpx.HTTPStatusError as problem:
        if problem.response.status_code == httpx.codes.UNAUTHORIZED:
            raise UsageError(
                f"the Prefect server at {api} asks for another PREFECT_API_AUTH_STRING (NAME:PASSWORD)"
            ) from None
        raise EngraphError(f"the Prefect server at {api} refused: {_reason(problem.response)}") from None


def _reason(response: httpx.Response) -> str:
    return f"{response.status_code} {response.text[:300]}"


async def deploy(client: PrefectClient, plan: Plan, notify: Notify, say: Callable[[str], None]) -> list[Change]:
    """Bring the server in line with the plan: pool, queues, limits of tags, deployments, automations."""
    pool = plan.definitions.work_pool
    changes = [await _apply_pool(client, pool)]
    changes += [await _apply_queue(client, pool, queue) for queue in plan.definitions.work_queues]
    changes += [await _apply_tag_limit(client, tag, limit) for tag, limit in plan.definitions.tag_limits.items()]
    flows = {deployment.name: load_flow(deployment) for deployment in plan.deployments}
    changes += [await _apply_deployment(client, d, flows[d.name]) for d in plan.deployments]
    automations = await apply_automations(client, notify, say)
    return changes + [Change("automation", name, done) for name, done in automations.items()]


def load_flow(deployment: Deployment) -> Flow:
    """The flow of a module entrypoint.

    Raises:
        UsageError: there is no such module or flow.
    """
    try:
        return load_flow_from_entrypoint(deployment.entrypoint)
    except (ImportError, AttributeError, ValueError) as problem:
        raise UsageError(f"deployment {deployment.name}: cannot load {deployment.entrypoint}: {problem}") from None


async def _apply_pool(client: PrefectClient, pool: WorkPool) -> Change:
    try:
        found = await client.read_work_pool(pool.name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        await client.create_work_pool(WorkPoolCreate(name=pool.name, type=pool.type, base_job_template=template))
        return Change("work pool", pool.name, "created")
    if found.type != pool.type:
        raise EngraphError(
            f"the work pool {pool.name} is of type {found.type}, this needs {pool.type}: "
            f"prefect work-pool delete {pool.name}, or another name in infra/prefect.yaml"
        )
    return Change("work pool", pool.name, "unchanged")


async def _apply_queue(client: PrefectClient, pool: WorkPool, queue: WorkQueue) -> Change:
    wanted = queue.model_dump(include={"priority", "concurrency_limit", "description"})
    try:
        found = await client.read_work_queue_by_name(queue.name, work_pool_name=pool.name)
    except ObjectNotFound:
        await client.create_work_queue(queue.name, work_pool_name=pool.name, **wanted)
        return Change("work queue", queue.name, "created")
    old = {key: getattr(found, key) for key in wanted}
    if old == wanted:
        return Change("work queue", queue.name, "unchanged")
    await client.update_work_queue(found.id, **wanted)
    return Change("work queue", queue.name, "updated", _difference(old, wanted))


async def _apply_tag_limit(client: PrefectClient, tag: str, limit: int) -> Change:
    """Tasks with the tag take a slot of the global limit `tag:<tag>`."""
    name = f"tag:{tag}"
    found = {c.name: c.limit for c in await client.read_global_concurrency_limits(limit=SEEN)}.get(name)
    await client.upsert_global_concurrency_limit_by_name(name, limit)
    if found is None:
        return Change("tag limit", tag, "created")
    return (
        Change("tag limit", tag, "unchanged")
        if found == limit
        else Change("tag limit", tag, "updated", f"{found} -> {limit}")
    )


async def _apply_deployment(client: PrefectClient, deployment: Deployment, flow: Flow) -> Change:
    wanted = _wanted(deployment, flow)
    found = await _read(client, f"{flow.name}/{deployment.name}")
    old = _current(found) if found else None
    if old == wanted:
        return Change("deployment", deployment.name, "unchanged")
    paused = {s.slug for s in found.schedules if not s.active} if found else set()
    limit = deployment.concurrency_limit
    await client.create_deployment(
        flow_id=await client.create_flow_from_name(flow.name),
        name=deployment.name,
        description=deployment.description,
        entrypoint=deployment.entrypoint,
        tags=deployment.tags,
        parameters=deployment.parameters,
        parameter_openapi_schema=wanted["schema"],
        enforce_parameter_schema=True,
        schedules=[
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron=s.cron, timezone=s.timezone), slug=s.slug, active=s.slug not in paused
            )
            for s in deployment.schedules
        ],
        concurrency_limit=limit.limit if limit else None,
        concurrency_options=ConcurrencyOptions.model_validate({"collision_strategy": limit.collision_strategy})
        if limit
        else None,
        work_pool_name=deployment.work_pool.name,
        work_queue_name=deployment.work_pool.work_queue_name,
        pull_steps=[],
        job_variables={},
    )
    if old is None:
        return Change("deployment", deployment.name, "created")
    return Change("deployment", deployment.name, "updated", _difference(old, wanted))


async def _read(client: PrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return await client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _wanted(deployment: Deployment, flow: Flow) -> dict[str, Any]:
    """What of a deployment the plan decides, comparable with `_current`."""
    schema = parameter_schema(flow).model_dump(mode="json", exclude_unset=True)
    return {
        **deployment.model_dump(include={"description", "entrypoint", "parameters"}),
        "tags": sorted(deployment.tags),
        "schema": json.loads(json.dumps(schema)),
        "schedules": sorted((s.slug, s.cron, s.timezone) for s in deployment.schedules),
        "limit": deployment.concurrency_limit,
        "queue": (deployment.work_pool.name, deployment.work_pool.work_queue_name),
    }


def _current(found: DeploymentResponse) -> dict[str, Any]:
    options = found.concurrency_options
    strategy = options.collision_strategy.value if options else "ENQUEUE"
    slots = found.global_concurrency_limit
    return {
        "description": found.description,
        "entrypoint": found.entrypoint,
        "parameters": found.parameters,
        "tags": sorted(found.tags),
        "schema": found.parameter_openapi_schema,
        "schedules": sorted(
            (s.slug or "", getattr(s.schedule, "cron", ""), getattr(s.schedule, "timezone", "") or "")
            for s in found.schedules
        ),
        "limit": Limit.model_validate({"limit": slots.limit, "collision_strategy": strategy}) if slots else None,
        "queue": (found.work_pool_name, found.work_queue_name),
    }


def _difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The names of what differs, with the values where they are short."""
    changed = [key for key in new if old[key] != new[key]]
    return ", ".join(f"{k}: {old[k]} -> {new[k]}" if len(f"{old[k]}{new[k]}") < 80 else k for k in changed)

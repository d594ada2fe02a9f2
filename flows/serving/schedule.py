"""The next runs, as Prefect's scheduler has made them: proof that the schedules work, not what the cron lines promise."""

import asyncio
import time

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort

from flows.serving.plan import Plan
from flows.serving.recovery import PAGE, deployments
from schemas.errors import EngraphError

WITHIN_S = 30.0


async def next_runs(client: PrefectClient, plan: Plan) -> dict[str, str]:
    """deployment -> time of its next scheduled run; waits until each active schedule has one.

    Raises:
        EngraphError: none appears. SQLAlchemy 2.1 does that: the server starts, and cron never fires.
    """
    active = {d.id: d.name for d in await deployments(client, plan) if any(s.active for s in d.schedules)}
    until = time.monotonic() + WITHIN_S
    while True:
        found = await _scheduled(client, active) if active else {}
        if len(found) == len(active):
            return found
        if time.monotonic() > until:
            missing = sorted(set(active.values()) - found.keys())
            raise EngraphError(
                f"Prefect has scheduled no run of {', '.join(missing)}: SQLAlchemy must be older than 2.1"
            )
        await asyncio.sleep(0.5)


async def _scheduled(client: PrefectClient, names: dict) -> dict[str, str]:
    wanted = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=list(names)),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
    )
    order = FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC
    found: dict[str, str] = {}
    for run in await client.read_flow_runs(flow_run_filter=wanted, sort=order, limit=PAGE):
        if run.deployment_id and run.next_scheduled_start_time and run.auto_scheduled:
            found.setdefault(names[run.deployment_id], run.next_scheduled_start_time.isoformat(timespec="minutes"))
    return found

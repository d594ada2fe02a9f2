"""Recovery: flow runs that a dead worker or machine left in the middle are called what they are, and go on.

It is for a server whose only workers we start ourselves: what no living process of ours works on, nobody works on. On servers
with workers elsewhere the automation "crash zombie flows" does the first half by missing heartbeats.
"""

from collections.abc import Callable, Sequence
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import DeploymentSort, FlowRunSort
from prefect.states import Cancelled, Crashed, Scheduled

from flows.serving.plan import Plan

MIDDLE = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
GO_ON = ("nightly-ingest", "backfill")  # what is not done twice can be started again without asking
PAGE = 200


async def deployment_names(client: PrefectClient, plan: Plan) -> dict[UUID, str]:
    """id -> name of our deployments that the server has."""
    return {d.id: d.name for d in await deployments(client, plan)}


async def deployments(client: PrefectClient, plan: Plan) -> list[DeploymentResponse]:
    """Our deployments as the server has them."""
    ours = DeploymentFilter(name=DeploymentFilterName(any_=[d.name for d in plan.deployments]))
    return await client.read_deployments(deployment_filter=ours, sort=DeploymentSort.NAME_ASC, limit=PAGE)


async def runs_in_the_middle(client: PrefectClient, plan: Plan) -> list[FlowRun]:
    """Runs of ours that are Running, Pending or Cancelling."""
    names = await deployment_names(client, plan)
    if not names:
        return []
    wanted = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=list(names)),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=MIDDLE)),
    )
    return list(
        await client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=PAGE)
    )


async def recover(
    client: PrefectClient, names: dict[UUID, str], runs: Sequence[FlowRun], why: str, say: Callable[[str], None]
) -> None:
    """End runs that nobody works on: Cancelled where that was asked for, else Crashed, and then again Scheduled where that is safe.

    The run keeps its id, its parameters and its page; the messages of its states tell what happened. `runs` are as they were
    when their processes were last seen: one that has come to its own end meanwhile is left alone.
    """
    for seen in runs:
        state = (await client.read_flow_run(seen.id)).state
        name = names.get(seen.deployment_id, "") if seen.deployment_id else ""
        if state is None or (state.is_final() and not state.is_crashed()):
            continue
        if seen.state and seen.state.type == StateType.CANCELLING:
            await client.set_flow_run_state(
                seen.id, Cancelled(message=f"{why} while it was being cancelled."), force=True
            )
            say(f"{name} {seen.name}: cancelled")
            continue
        if not state.is_crashed():
            await client.set_flow_run_state(seen.id, Crashed(message=f"{why} while it ran."), force=True)
        if name in GO_ON:
            message = f"{why}; it goes on where it stopped, nothing finished is done again."
            await client.set_flow_run_state(seen.id, Scheduled(message=message), force=True)
        say(
            f"{name} {seen.name}: {'goes on where it stopped' if name in GO_ON else 'crashed; start it again from the UI'}"
        )


async def free_slots(client: PrefectClient, plan: Plan) -> list[str]:
    """Give back all slots of our limits, while nothing runs; returns the names of those that were held.

    Slots are kept in the database and the leases that would free them beside it, so a crash between the two can leave a slot
    that no lease knows and nothing ever gives back.
    """
    ours = {f"tag:{tag}" for tag in plan.definitions.tag_limits}
    ours |= {f"deployment:{id}" for id in await deployment_names(client, plan)}
    held = [
        c.name for c in await client.read_global_concurrency_limits(limit=PAGE) if c.name in ours and c.active_slots
    ]
    for name in held:
        await client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(active_slots=0))
    return held

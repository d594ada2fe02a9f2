"""Automations: what Prefect watches and whom it tells, as code. The user chooses the notification block: `[notify] block`.

Flows emit events about the store (`engraph.*`); Prefect itself emits those about runs. Without a block nobody could be told,
so only the automation that acts by itself (Crash zombie flows) is made, and the others are taken away.
"""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import AutomationSort
from prefect.events.actions import ActionTypes, ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture, ResourceSpecificationDict
from prefect.exceptions import ObjectNotFound

from schemas.errors import UsageError
from schemas.notify import Notify

OURS: ResourceSpecificationDict = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.engraph"}
STORES: ResourceSpecificationDict = {"prefect.resource.id": "engraph.store.*"}
RUNS: ResourceSpecificationDict = {"prefect.resource.id": "prefect.flow-run.*"}
HEARTBEAT = "prefect.flow-run.heartbeat"
HEARTBEAT_SECONDS = 30  # the shortest that Prefect takes; PREFECT_FLOWS_HEARTBEAT_FREQUENCY of every worker
SILENCE_SECONDS = 90  # three heartbeats: one late beat of a busy machine is no death
NOT_RUNNING = ("Completed", "Failed", "Cancelled", "Crashed", "Scheduled", "AwaitingRetry", "Paused", "Suspended")
ZOMBIES = "engraph: crash zombie flows"

SUBJECT = "{{ automation.name }}"
ABOUT_STORE = "{{ event.resource.name }}: {{ event.payload }} ({{ event.resource['engraph.store'] }})"
ABOUT_RUN = "{{ flow.name }} / {{ flow_run.name }} is {{ flow_run.state.name }}. {{ flow_run|ui_url }}"


def automations(notify: Notify, block: UUID | None, *, silence_s: int = SILENCE_SECONDS) -> list[AutomationCore]:
    """Everything that is watched: with the block's id all of it, without only what needs no block."""
    found = [_zombies(block, silence_s)]
    if block:
        found += [
            _stale_snapshot(notify, block),
            _on_event("recall gate failed", "engraph.recall.failed", block),
            _on_event("publishing gate failed", "engraph.gate.failed", block),
            _on_event("much in quarantine", "engraph.quarantine.high", block),
            _late_run(block),
        ]
    return found


def _tell(block: UUID, body: str) -> list[ActionTypes]:
    return [SendNotification(block_document_id=block, subject=SUBJECT, body=body)]


def _on_event(name: str, event: str, block: UUID) -> AutomationCore:
    """Tell as soon as a flow says so."""
    return AutomationCore(
        name=f"engraph: {name}",
        description=f"Tells of every event {event}, which flows emit about a store.",
        trigger=EventTrigger(expect={event}, match=STORES, posture=Posture.Reactive, threshold=1),
        actions=_tell(block, ABOUT_STORE),
    )


def _stale_snapshot(notify: Notify, block: UUID) -> AutomationCore:
    """Tell when a store that has published does not do so again in time. The clock starts with its first snapshot."""
    hours = notify.snapshot_age_hours
    published = {"engraph.snapshot.published"}
    return AutomationCore(
        name="engraph: snapshot too old",
        description=f"Tells when no snapshot has followed the last one for {hours:g} hours.",
        trigger=EventTrigger(
            after=published,
            expect=published,
            match=STORES,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(hours=hours),
        ),
        actions=_tell(block, f"The newest snapshot is older than {hours:g} hours: look at the last nightly-ingest."),
    )


def _late_run(block: UUID) -> AutomationCore:
    return AutomationCore(
        name="engraph: run late",
        description="Tells when a run of ours should have started and has not: the worker is down, or its queue is full.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Late"}, match=RUNS, match_related=OURS, posture=Posture.Reactive, threshold=1
        ),
        actions=_tell(block, ABOUT_RUN),
    )


def _zombies(block: UUID | None, silence_s: int) -> AutomationCore:
    """A run whose machine died says nothing any more; until it is called crashed it holds its slots."""
    crash = ChangeFlowRunState(
        name=None,
        force=False,
        state=StateType.CRASHED,
        message=f"No heartbeat for {silence_s} s: its worker or machine has died. Retry it to go on where it stopped.",
    )
    ends = {f"prefect.flow-run.{state}" for state in NOT_RUNNING}
    return AutomationCore(
        name=ZOMBIES,
        description=f"Marks a run Crashed that has sent no heartbeat for {silence_s} seconds, which frees its slots.",
        trigger=EventTrigger(
            after={HEARTBEAT},
            expect={HEARTBEAT, *ends},
            match=RUNS,
            match_related=OURS,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=silence_s),
        ),
        actions=[crash, *(_tell(block, "A run stopped without a word and was marked Crashed.") if block else [])],
    )


async def apply_automations(client: PrefectClient, notify: Notify, say: Callable[[str], None]) -> dict[str, str]:
    """Make, update or remove our automations; returns what was done to each by name."""
    block = await _find_block(client, notify)
    if block is None:
        say(
            'nobody is told of failures: name a notification block in engraph.toml ([notify] block = "custom-webhook/ops")'
        )
    wanted = {a.name: a for a in automations(notify, block)}
    existing = {
        a.name: a
        for a in await client.read_automations(sort=AutomationSort.NAME_ASC, limit=200)
        if a.name.startswith("engraph: ")
    }
    done = {}
    for name, automation in wanted.items():
        old = existing.get(name)
        if old is None:
            await client.create_automation(automation)
            done[name] = "created"
        elif _same(old, automation):
            done[name] = "unchanged"
        else:
            await client.update_automation(old.id, automation.model_copy(update={"enabled": old.enabled}))
            done[name] = "updated"
    for name in existing.keys() - wanted.keys():
        await client.delete_automation(existing[name].id)
        done[name] = "removed"
    return done


def _same(old: AutomationCore, new: AutomationCore) -> bool:
    """Whether the server has what we want; that somebody disabled it there is no difference."""

    def shape(a: AutomationCore) -> dict:
        trigger = a.trigger.model_dump(mode="json", exclude={"id"})
        sets = {k: sorted(v) if isinstance(v, list) else v for k, v in trigger.items()}
        return {"trigger": sets, **a.model_dump(mode="json", include={"name", "description", "actions"})}

    return shape(old) == shape(new)


async def _find_block(client: PrefectClient, notify: Notify) -> UUID | None:
    if notify.block is None:
        return None
    kind, name = notify.block.split("/")
    try:
        document = await client.read_block_document_by_name(name, kind)
    except ObjectNotFound:
        raise UsageError(
            f"there is no notification block {notify.block} on the Prefect server: make one in its UI under Blocks, or correct "
            "[notify] block"
        ) from None
    return document.id

"""What all flows share with Prefect: settings of the worker, steps as tasks, the grid and the progress as artifacts, events.

Prefect decides when a step runs, tries it again and shows it. What is done is never asked of Prefect: tasks have no cache and keep
no result, because the ledger and the manifests are the truth.
"""

import datetime as dt
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from prefect import get_run_logger, task
from prefect.artifacts import (
    create_link_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.tasks import Task, exponential_backoff

from flows.build import Surroundings
from jobs.day_grid import STAGES, Cell, GridRow, day_grid
from jobs.engines.profile import Engines, engines_of
from jobs.plan_backfill import PlannedDay
from jobs.store import snapshots
from jobs.store.lake import Lake
from jobs.write_report import keep_report
from schemas.errors import GateFailed, SchemaMismatch, UsageError
from schemas.forms import Asked
from schemas.manifest import Snapshot
from schemas.settings import Settings, load_settings

T = TypeVar("T")
TAGS = {
    "embed": "engraph-embed",
    "embed_derived": "engraph-embed",
    "extract": "engraph-extract",
    "index": "engraph-index",
}
"""Tags of the heavy stages; `engraph deploy` gives each a limit."""
HOPELESS = (UsageError, GateFailed, SchemaMismatch)
STAGE_TIMEOUT_S = 6 * 3600
SHOWN_EVERY_S = 2.0
GRID_DAYS = 62
GRID_WORDS = "Rows of each stage by day. ✔ done, · not taken yet, … being worked on, ↻ stale, ✘ failed."


def worker_settings() -> Settings:
    """The settings of the worker: ENGRAPH_STORE and the file ENGRAPH_CONFIG, or engraph.toml beside the store."""
    config = os.environ.get("ENGRAPH_CONFIG")
    return load_settings(None, Path(config) if config else None)


def surroundings(settings: Settings, form: Asked, **more: Any) -> Surroundings:
    """What a build of this flow run needs."""
    now = dt.datetime.now(dt.UTC)
    log = get_run_logger()
    return Surroundings.of(
        settings, now, reason=form.reason or None, flow_run=flow_run.ui_url or flow_run.id, say=log.info, **more
    )


def engines(settings: Settings, form: Asked) -> Callable[[], Engines]:
    """Makes the engines of the form's profile, for each build anew."""
    return lambda: engines_of(form.profile, settings)


def worth_another_try(_: Task, __: Any, state: Any) -> bool:
    """Not where trying again cannot help: wrong settings, a gate, a schema."""
    problem = state.result(raise_on_failure=False)
    return not isinstance(problem, HOPELESS)


STEP: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": exponential_backoff(backoff_factor=3),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": worth_another_try,
    "timeout_seconds": STAGE_TIMEOUT_S,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
"""How a step runs as a task: tried three times with jitter, timed out, never taken from Prefect's cache."""


def stage_task(stage: str, day: dt.date | None) -> Task:
    """A step as a Prefect task, named, under its tag's limit."""

    @task(
        name=stage,
        task_run_name=f"{stage} {day}" if day else stage,
        tags=[TAGS[stage]] if stage in TAGS else [],
        **STEP,
    )
    def step(call: Callable[[], T]) -> T:
        return call()

    return step


class Board:
    """What the UI shows of a run while it works: the grid day x stage, and how far it is.

    Two artifacts, rewritten in place every two seconds at most.
    """

    def __init__(self, name: str, rows: list[GridRow], steps: int) -> None:
        self.name, self.steps, self.done = name, max(steps, 1), 0
        self.rows = {row.day: row for row in rows}
        self._begun = time.monotonic()
        self._shown = 0.0
        grid = create_table_artifact(_grid_table(rows), key=f"{name}-grid", description=GRID_WORDS)
        progress = create_progress_artifact(0.0, key=f"{name}-progress", description="starting")
        assert isinstance(grid, UUID) and isinstance(progress, UUID)  # in a flow that is not async
        self._grid, self._progress = grid, progress

    def cell(self, day: dt.date, stage: str, state: str, rows: int) -> None:
        """One cell of the grid changed."""
        cell = self.rows.setdefault(day, GridRow(day)).cell(stage)
        cell.state, cell.rows = state, max(cell.rows, rows)
        self.show()

    def step(self) -> None:
        """One more step is done."""
        self.done += 1
        self.show()

    def finish(self, rows: list[GridRow]) -> None:
        """Show what the store has now."""
        self.rows, self.done = {row.day: row for row in rows}, self.steps
        self.show(now=True)

    def show(self, *, now: bool = False) -> None:
        if not now and time.monotonic() - self._shown < SHOWN_EVERY_S:
            return
        self._shown = time.monotonic()
        table = json.dumps(_grid_table(list(self.rows.values())))
        get_client(sync_client=True).update_artifact(self._grid, ArtifactUpdate(data=table))
        share = min(self.done / self.steps, 1.0)
        update_progress_artifact(self._progress, 100 * share, description=self._words())

    def _words(self) -> str:
        seconds = time.monotonic() - self._begun
        if not self.done:
            return f"0 of {self.steps} steps"
        rate = self.done / max(seconds, 1e-9)
        return (
            f"{self.done} of {self.steps} steps, {60 * rate:.1f} a minute, {(self.steps - self.done) / rate:.0f} s left"
        )


def _grid_table(rows: list[GridRow]) -> list[dict[str, str]]:
    """The grid as rows of text, newest day first; notes only where there are any."""
    newest = sorted(rows, key=lambda row: row.day, reverse=True)[:GRID_DAYS]
    noted = any(row.why for row in newest)
    table = [
        {"day": row.day.isoformat()}
        | {stage: str(row.cells.get(stage, Cell())) for stage in STAGES}
        | ({"note": "; ".join(row.why)} if noted else {})
        for row in newest
    ]
    return table or [{"day": "no day yet"}]


def current_grid(settings: Settings) -> list[GridRow]:
    """The grid as the store has it now."""
    lake = Lake(settings.store)
    snapshot = snapshots.current(lake)
    return day_grid(lake, snapshot, settings, now=dt.datetime.now(dt.UTC))


class TaskSteps:
    """The `Steps` of a flow run."""

    def __init__(self, board: Board) -> None:
        self.board, self.log = board, get_run_logger()

    def run(self, stage: str, day: dt.date | None, call: Callable[[], T]) -> T:
        try:
            found: Any = stage_task(stage, day)(call)
        except Exception as problem:
            self.log.error("stage=%s day=%s status=failed error=%s", stage, day, problem)
            raise
        self.board.step()
        return found

    def note(self, day: dt.date, stage: str, state: str, rows: int = 0) -> None:
        if state == "done":
            self.log.info("stage=%s day=%s status=done rows_written=%d", stage, day, rows)
        self.board.cell(day, stage, state, rows)


def steps_of(planned: list[PlannedDay], at_once: int) -> int:
    """How many steps a plan has: sources to read, daily stages, index and publish for each batch."""
    batches = -(-len(planned) // at_once)
    return sum(len(day.read) + len(STAGES) - 1 for day in planned) + 2 * batches


def link_report(name: str, settings: Settings, number: int) -> None:
    """Draw the report of a snapshot, keep it beside the snapshot, and link it as an artifact of this run.

    ENGRAPH_REPORTS_URL says where browsers find it; `engraph serve` sets it. The night's work is done by now, so a page that cannot
    be drawn is an error in the log and not the end of the run.
    """
    try:
        kept = keep_report(settings, number, now=dt.datetime.now(dt.UTC))
    except Exception as problem:
        get_run_logger().error("the report of snapshot %d could not be drawn: %s", number, problem)
        return
    base = os.environ.get("ENGRAPH_REPORTS_URL", "").rstrip("/")
    link = f"{base}/{number}" if base else kept
    words = f"What snapshot {number} holds and how good it is; the file is {kept}"
    create_link_artifact(link, link_text=f"Report of snapshot {number}", key=f"{name}-report", description=words)


def store_resource(url: str) -> dict[str, str]:
    """What events are about: a store."""
    id_ = hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
    return {
        "prefect.resource.id": f"engraph.store.{id_}",
        "prefect.resource.name": url.rsplit("/", 1)[-1],
        "engraph.store": url,
    }


def tell(event: str, url: str, **payload: Any) -> None:
    """Emit `engraph.<event>`, which automations wait for."""
    emit_event(f"engraph.{event}", store_resource(url), payload=payload)


def tell_published(published: Snapshot, url: str) -> None:
    """A snapshot was published: its numbers, and its gates that did not hold."""
    tell("snapshot.published", url, snapshot=published.number, rows=published.rows, reason=published.reason)

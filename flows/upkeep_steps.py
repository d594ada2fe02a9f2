"""What the flows of upkeep share: settings and surroundings of a run, how its task is retried, its artifact and its event."""

import datetime as dt
import os
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.tasks import exponential_backoff

from flows.build import Surroundings
from jobs.store.lake import Lake
from schemas.errors import GateFailed, UsageError
from schemas.forms import Form
from schemas.ids import content_hash
from schemas.settings import Settings, load_settings

PUBLISHED = "engraph.snapshot.published"
HOUR = 3600


def _worth_another_try(task: Any, run: Any, state: State) -> bool:
    """Wrong arguments and snapshots that are not good enough stay so however often they are tried."""
    try:
        state.result()
    except (UsageError, GateFailed):
        return False
    except Exception:
        return True
    return False


STEP: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": exponential_backoff(backoff_factor=10),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": _worth_another_try,
    "timeout_seconds": 6 * HOUR,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
"""How a step runs as a task: tried three times; the ledger is the truth about what is done, never Prefect's cache."""


def settings() -> Settings:
    """From ENGRAPH_CONFIG, or `engraph.toml` beside the store, and ENGRAPH_ variables."""
    config = os.environ.get("ENGRAPH_CONFIG")
    return load_settings(None, Path(config) if config else None)


def surroundings(chosen: Settings, form: Form) -> Surroundings:
    """Now, on the store of the settings, with what the form gives as reason and the address of this run."""
    say = get_run_logger().info
    now = dt.datetime.now(dt.UTC)
    return Surroundings.of(chosen, now, reason=form.reason or None, flow_run=flow_run.ui_url, say=say)


def tell(key: str, report: dict, lines: list[str]) -> None:
    """The artifact at the end of a run, and the event where a snapshot was published."""
    store = Lake(settings().store).url
    create_markdown_artifact("\n".join(lines), key=key, description=f"What {key} did in {store}")
    if report.get("published"):
        resource = {
            "prefect.resource.id": f"engraph.store.{content_hash(store)}",
            "prefect.resource.name": store,
            "engraph.store": store,
        }
        emit_event(PUBLISHED, resource, payload={"snapshot": report["snapshot"], "by": key})


def table(columns: list[str], rows: list[list[object]]) -> list[str]:
    """A markdown table."""
    cells: list[list] = [columns, ["---"] * len(columns), *rows]
    return ["", *("| " + " | ".join(str(c) for c in row) + " |" for row in cells), ""]

"""What the flows of upkeep share besides `flows.prefect_steps`: how their steps run as tasks, and how they end."""

from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.tasks import exponential_backoff

from flows.prefect_steps import STAGE_TIMEOUT_S, worker_settings, worth_another_try
from flows.prefect_steps import tell as emit
from jobs.store.lake import Lake

STEP: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": exponential_backoff(backoff_factor=10),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": worth_another_try,
    "timeout_seconds": STAGE_TIMEOUT_S,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
"""How a step runs as a task: tried three times; the ledger is the truth about what is done, never Prefect's cache."""


def tell(key: str, report: dict, lines: list[str]) -> None:
    """The artifact at the end of a run, and the event where a snapshot was published."""
    store = Lake(worker_settings().store).url
    create_markdown_artifact("\n".join(lines), key=key, description=f"What {key} did in {store}")
    if report.get("published"):
        emit("snapshot.published", store, snapshot=report["snapshot"], by=key)


def table(columns: list[str], rows: list[list[object]]) -> list[str]:
    """A markdown table."""
    cells: list[list] = [columns, ["---"] * len(columns), *rows]
    return ["", *("| " + " | ".join(str(c) for c in row) + " |" for row in cells), ""]

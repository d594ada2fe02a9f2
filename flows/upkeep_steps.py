"""What the flows of upkeep share besides `flows.prefect_steps`: how they end."""

from prefect.artifacts import create_markdown_artifact

from flows.prefect_steps import tell as emit
from flows.prefect_steps import worker_settings
from jobs.store.lake import Lake


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

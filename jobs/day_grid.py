"""The grid day x stage: what the newest snapshot holds of each day, what failed, what is stale, what was never taken."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import pyarrow.compute as pc

from jobs.corpora import corpus_days
from jobs.day_states import DayState, day_states, stale_stages
from jobs.stages import DAILY, identity
from jobs.store import ledger
from jobs.store.lake import Lake
from pipelines.embedding import EncoderId
from schemas.manifest import Snapshot
from schemas.settings import Settings

STAGES = ("read", *DAILY)
SIGNS = {"done": "✔", "missing": "·", "failed": "✘", "stale": "↻", "running": "…", "cancelled": "✘", "nothing": ""}
"""What a cell shows beside the number of rows."""
MAIN_TABLES = {
    "read": ("turns", "documents"),
    "embed": ("embeddings",),
    "embed_derived": ("embeddings",),
    "resolve": ("entities",),
    "near_duplicates": ("edges",),
    "link": ("edges",),
}


@dataclass
class Cell:
    """One stage on one day: how it stands, and the rows of its main table."""

    state: str = "nothing"
    rows: int = 0

    def __str__(self) -> str:
        return f"{SIGNS[self.state]} {self.rows:,}" if self.rows else SIGNS[self.state]


@dataclass
class GridRow:
    """One day: its cells by stage, and what there is to say of it."""

    day: dt.date
    cells: dict[str, Cell] = field(default_factory=dict)
    why: list[str] = field(default_factory=list)

    def cell(self, stage: str) -> Cell:
        return self.cells.setdefault(stage, Cell())

    def to_json(self) -> dict:
        return {
            "day": self.day.isoformat(),
            "stages": {stage: cell.rows for stage, cell in self.cells.items() if cell.state in ("done", "stale")},
            "states": {stage: cell.state for stage, cell in self.cells.items()},
            "why": self.why,
        }


def day_grid(lake: Lake, snapshot: Snapshot | None, settings: Settings | None, *, now: dt.datetime) -> list[GridRow]:
    """All days with records or with a source, ascending. Without settings only what the store itself knows."""
    rows: dict[dt.date, GridRow] = {}
    if snapshot is not None:
        _published(lake, snapshot, rows)
        _stale(lake, snapshot, rows)
    _failed(lake, rows)
    if settings is not None and settings.corpora:
        for state in day_states(lake, snapshot, corpus_days(settings.corpora, now=now)):
            _source(state, rows)
    return [rows[day] for day in sorted(rows)]


def _row(rows: dict[dt.date, GridRow], day: dt.date) -> GridRow:
    return rows.setdefault(day, GridRow(day))


def _published(lake: Lake, snapshot: Snapshot, rows: dict[dt.date, GridRow]) -> None:
    catalogue = snapshot.catalogue()
    for stage in STAGES:
        for table in MAIN_TABLES.get(stage, ("memory_units",)):
            for fileset in catalogue.select(table, stage=stage):
                cell = _row(rows, fileset.day).cell(stage)
                cell.state = "done"
                cell.rows += lake.manifest(fileset).rows


def _stale(lake: Lake, snapshot: Snapshot, rows: dict[dt.date, GridRow]) -> None:
    encoder = EncoderId.parse(snapshot.encoder)
    for day, stages in stale_stages(lake, snapshot, encoder, identity(encoder)).items():
        row = _row(rows, day)
        row.why.append(f"made by another version: {', '.join(stages)}")
        first = min(STAGES.index(stage) for stage in stages)
        for stage in STAGES[first:]:
            if row.cell(stage).state == "done":
                row.cell(stage).state = "stale"


def _failed(lake: Lake, rows: dict[dt.date, GridRow]) -> None:
    """Stages whose newest run on a day failed."""
    runs = ledger.read(lake, "runs").select(["stage", "day", "status", "started_at", "error"])
    days = pc.unique(runs.filter(pc.equal(runs["status"], "failed"))["day"].drop_null())
    runs = runs.filter(pc.is_in(runs["day"], days)).sort_by("started_at")
    newest = {(run["day"], run["stage"]): run for run in runs.to_pylist() if run["day"] and run["stage"] in STAGES}
    for (day, stage), run in newest.items():
        if run["status"] == "failed":
            _row(rows, day).cell(stage).state = "failed"
            _row(rows, day).why.append(f"{stage}: {run['error']}")


def _source(state: DayState, rows: dict[dt.date, GridRow]) -> None:
    row = _row(rows, state.day.day)
    if state.state == "done":
        if row.cell("read").state == "nothing":  # it brought nothing that was not known
            row.cell("read").state = "done"
        return
    row.why.append(f"{state.day.corpus}: {state.why}")
    row.cell("read").state = state.state
    if state.state == "missing":
        for stage in STAGES[1:]:
            if row.cell(stage).state == "nothing":
                row.cell(stage).state = "missing"

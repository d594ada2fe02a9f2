"""Describe: what the newest snapshot holds, by day and stage, for `engraph status`."""

from __future__ import annotations

import datetime as dt

from jobs.stages import DAILY
from jobs.store import snapshots, views
from jobs.store.lake import Lake
from schemas.errors import StoreError

STAGES = ["read", *DAILY]
MAIN_TABLE = {
    "read": ("turns", "documents"),
    "embed": ("embeddings",),
    "embed_derived": ("embeddings",),
    "resolve": ("entities",),
    "near_duplicates": ("edges",),
    "link": ("edges",),
}


def describe(store: str, *, now: dt.datetime) -> dict:
    """Snapshot, rows, days x stages (rows written), namespaces, quarantine by reason, gates, sizes."""
    lake = Lake(store)
    snapshots.open_store(lake)
    snapshot = snapshots.current(lake)
    if snapshot is None:
        raise StoreError(f"the store at {lake.url} has no snapshot yet: run `engraph ingest SOURCE`")
    catalogue = snapshot.catalogue()
    con = views.connect(lake, catalogue)
    reasons = con.sql(
        "SELECT stage, reason, count(*) AS n FROM quarantine GROUP BY ALL ORDER BY n DESC, reason LIMIT 20"
    ).to_arrow_table()
    namespaces = con.sql(
        "SELECT namespace, count(*) AS units, count(DISTINCT session_id) AS sessions, count(DISTINCT document_id) AS documents "
        "FROM memory_units GROUP BY ALL ORDER BY namespace"
    ).to_arrow_table()
    duckdb_file = f"snapshots/{snapshot.number}/engraph.duckdb"
    return {
        "snapshot": snapshot.number,
        "created_at": snapshot.created_at.isoformat(),
        "age_hours": (now - snapshot.created_at).total_seconds() / 3600,
        "encoder": snapshot.encoder,
        "store": lake.url,
        "duckdb": lake.path(duckdb_file) if lake.exists(duckdb_file) else None,
        "stages": STAGES,
        "rows": snapshot.rows,
        "days": _days(lake, catalogue),
        "namespaces": namespaces.to_pylist(),
        "quarantine": reasons.to_pylist(),
        "gates": [g.model_dump() for g in snapshot.gates],
        "bytes": lake.size(),
    }


def _days(lake: Lake, catalogue) -> list[dict]:
    """Rows of each stage's main table by day."""
    grid: dict[dt.date, dict[str, int]] = {}
    for stage in STAGES:
        for table in MAIN_TABLE.get(stage, ("memory_units",)):
            for fileset in catalogue.select(table, stage=stage):
                row = grid.setdefault(fileset.day, {})
                row[stage] = row.get(stage, 0) + lake.manifest(fileset).rows
    return [{"day": day.isoformat(), "stages": grid[day]} for day in sorted(grid)]

"""Describe: what the newest snapshot holds, by day and stage, for `engraph status`."""

from __future__ import annotations

import datetime as dt

from jobs.day_grid import STAGES, day_grid
from jobs.store import snapshots, views
from jobs.store.lake import Lake
from schemas.errors import StoreError
from schemas.settings import Settings


def describe(settings: Settings, *, now: dt.datetime) -> dict:
    """Snapshot, rows, the grid day x stage, namespaces, quarantine by reason, gates, sizes."""
    lake = Lake(settings.store)
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
        "flow_run": snapshot.flow_run,
        "reason": snapshot.reason,
        "stages": list(STAGES),
        "rows": snapshot.rows,
        "days": [row.to_json() for row in day_grid(lake, snapshot, settings, now=now)],
        "namespaces": namespaces.to_pylist(),
        "quarantine": reasons.to_pylist(),
        "gates": [g.model_dump() for g in snapshot.gates],
        "bytes": lake.size(),
    }

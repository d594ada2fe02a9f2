"""Drafts against history: same id and same content is nothing new, same id and other content is the next version.

A session that continues or a document that is edited supersedes its units; a unit that its source no longer yields (a passage of
a shortened document) is archived. History is never rewritten: ends are rows of `operations`, and the current units are the
versions that no operation ended. Linear in the drafts and in the history of the same sessions and documents.
"""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pyarrow.compute as pc

from schemas.ids import record_hash
from schemas.tables import TABLES

ENDING = ("SUPERSEDE", "ARCHIVE", "ERASE")


def _signature(row: dict) -> str:
    spans = [(s["ref"], s["start"], s["end"]) for s in row["source_spans"]]
    return record_hash(row["content_hash"], spans, row["event_time"], row["parent_id"], row["ordinal"])


def new_versions(
    drafts: pa.Table, history: pa.Table, ended: pa.Table, *, day: dt.date, now: dt.datetime, policy: str
) -> tuple[pa.Table, pa.Table]:
    """Units and operations that bring `history` to the state of `drafts`.

    Args:
        drafts: every unit that the touched sessions and documents yield now (`units.DRAFT_SCHEMA`).
        history: earlier versions of units of the same sessions and documents (table memory_units).
        ended: operations on them so far.
    Returns:
        (memory_units, operations): versions that are new, and the ends of those they replace.
    """
    if not history.num_rows:
        return _with_version(drafts, [1] * drafts.num_rows, day, now), TABLES["operations"].empty()
    latest: dict[str, dict] = {}
    for row in history.to_pylist():
        if row["unit_id"] not in latest or row["version"] > latest[row["unit_id"]]["version"]:
            latest[row["unit_id"]] = row
    dead = set(zip(ended["unit_id"].to_pylist(), ended["version"].to_pylist(), strict=True))
    keep, versions, operations = [], [], []
    present = set()
    for i, draft in enumerate(drafts.to_pylist()):
        present.add(draft["unit_id"])
        old = latest.get(draft["unit_id"])
        if old is None:
            keep.append(i)
            versions.append(1)
            continue
        alive = (old["unit_id"], old["version"]) not in dead
        if alive and _signature(old) == _signature(draft):
            continue
        keep.append(i)
        versions.append(old["version"] + 1)
        if alive:
            operations.append(_end("SUPERSEDE", old, "its source changed", policy, day, now))
    for unit_id, old in sorted(latest.items()):
        if unit_id not in present and (unit_id, old["version"]) not in dead:
            operations.append(_end("ARCHIVE", old, "its source no longer yields it", policy, day, now))
    units = _with_version(drafts.take(pa.array(keep, pa.int64())), versions, day, now)
    return units, TABLES["operations"].from_rows(operations)


def _with_version(drafts: pa.Table, versions: list[int], day: dt.date, now: dt.datetime) -> pa.Table:
    n = drafts.num_rows
    schema = TABLES["memory_units"].schema
    added = {
        "version": pa.array(versions, pa.int32()),
        "valid_to": pa.nulls(n, schema.field("valid_to").type),
        "recorded_at": pa.array([now] * n, schema.field("recorded_at").type),
        "day": pa.array([day] * n, pa.date32()),
    }
    columns = [added[name] if name in added else drafts[name] for name in schema.names]
    return pa.table(columns, schema=schema)


def _end(operation: str, old: dict, reason: str, policy: str, day: dt.date, now: dt.datetime) -> dict:
    return {
        "operation_id": record_hash(operation, old["unit_id"], old["version"], day),
        "operation": operation,
        "unit_id": old["unit_id"],
        "version": old["version"],
        "reason": reason,
        "policy": policy,
        "at": now,
        "namespace": old["namespace"],
        "day": day,
    }


def live(history: pa.Table, operations: pa.Table) -> pa.Table:
    """The rows of `history` that no operation ended."""
    ends = operations.filter(pc.is_in(operations["operation"], pa.array(ENDING))).select(["unit_id", "version"])
    if not ends.num_rows:
        return history
    row = pa.array(range(history.num_rows), pa.int64())
    keys = history.select(["unit_id", "version"]).append_column("row", row)
    alive = keys.join(ends, keys=["unit_id", "version"], join_type="left anti")["row"]
    return history.take(alive.take(pc.sort_indices(alive)))

"""Publish: gates, then the next snapshot, exclusively. Nothing changed means nothing is published."""

from __future__ import annotations

import json
from collections.abc import Callable

import duckdb
import numpy as np

from jobs.build_indexes import open_shard
from jobs.run import Run
from jobs.store import database, snapshots
from jobs.store.views import connect, row_counts, scalar
from jobs.write_duckdb import write_duckdb
from pipelines.ann.check import recall_at_10
from pipelines.lifecycle.retention import POLICY
from pipelines.recall import Query, Recall
from schemas.errors import GateFailed, UsageError
from schemas.manifest import Erasure, Gate, Snapshot

ANN_TARGET = 0.95
GOLDEN = "golden.jsonl"
GOLDEN_TOLERANCE = 0.01


def publish_snapshot(
    run: Run,
    parent: Snapshot | None,
    index: dict[str, str],
    identity: str,
    *,
    encode: Callable[[list[str]], np.ndarray],
    force: str | None = None,
    reason: str | None = None,
    flow_run: str | None = None,
    erased: Erasure | None = None,
) -> Snapshot | None:
    """Publish the run's catalogue as the next snapshot; None when it equals the parent's, which has its DuckDB file.

    `erased` is what the snapshot forgets: its golden questions are not the parent's, so that theirs is no floor for it.

    Raises:
        GateFailed: a gate did not hold and no reason was given to publish all the same.
        PublishConflict: another writer was faster.
    """
    if (
        parent is not None
        and (run.catalogue, index) == (run.parent, parent.index)
        and database.is_there(run.lake, parent)
    ):
        return None  # `redone` counts only where it changed a fileset
    with run.timed("publish") as piece:
        con = connect(run.lake, run.catalogue)
        rows = row_counts(con, run.catalogue)
        gates = [
            _counts(con, rows),
            _checksums(run),
            *_ann_recall(run, index),
            *_golden(run, None if erased else parent, index, encode),
        ]
        failed = [g for g in gates if not g.passed]
        if failed and force is None:
            listed = "; ".join(f"{g.name}: {g.detail}" for g in failed)
            raise GateFailed(
                f"not published: {listed}. The last snapshot stands; mend the cause, or --force with a reason"
            )
        number = (parent.number if parent else 0) + 1
        snapshot = Snapshot(
            number=number,
            parent=parent.number if parent else None,
            created_at=run.now,
            run_id=run.run_id,
            encoder=run.encoder.name,
            identity=identity,
            filesets=run.catalogue.to_json(),
            index=index,
            rows=rows,
            gates=gates,
            forced=force if failed else None,
            reason=reason or None,
            flow_run=flow_run,
            redone=run.redone,
            erased=erased,
        )
        snapshots.refuse_taken(run.lake, number)
        snapshot.duckdb = write_duckdb(run, snapshot)
        snapshots.publish(run.lake, snapshot)
        piece.rows_out = 1
        piece.skipped = False
    return snapshot


_LOST = """
SELECT count(*) FROM {table} t
WHERE NOT EXISTS (SELECT 1 FROM live u WHERE u.unit_id = t.{id} AND u.granularity = ?)
  AND NOT EXISTS (SELECT 1 FROM quarantine q
                  WHERE q.stage = 'segment' AND q.source_ref = t.source_ref AND q.payload_hash = t.content_hash)
  AND NOT EXISTS (SELECT 1 FROM archived a WHERE a.unit_id = t.{id})
"""
_ARCHIVED = """
CREATE OR REPLACE TEMP TABLE archived AS
WITH policies AS (SELECT unit_id, version FROM operations WHERE operation = 'ARCHIVE' AND policy = ?)
SELECT unit_id, granularity FROM memory_units_all u
WHERE unit_id IN (SELECT unit_id FROM policies)
QUALIFY row_number() OVER (PARTITION BY unit_id ORDER BY version DESC) = 1
    AND (unit_id, version) IN (SELECT (unit_id, version) FROM policies)
"""


def _counts(con: duckdb.DuckDBPyConnection, rows: dict[str, int]) -> Gate:
    """Every source record is exactly one current unit of its own granularity, or its newest version was refused or archived by a
    policy; every delivery is accounted for."""
    wrong = []
    con.execute(_ARCHIVED, [POLICY])
    for table, granularity in (("turns", "turn"), ("documents", "document")):
        have = rows.get(table, 0)
        units = scalar(con, "SELECT count(*) FROM live WHERE granularity = ?", [granularity])
        lost = scalar(con, _LOST.format(table=table, id=f"{table[:-1]}_id"), [granularity]) if have else 0
        if lost or units > have:
            wrong.append(
                f"{have} {table}, {units} units of granularity {granularity}, {lost} neither a unit nor refused nor archived"
            )
    lost = scalar(con, "SELECT coalesce(sum(rows_read - rows_new - rows_known - rows_quarantined), 0) FROM sources")
    if lost:
        wrong.append(f"{lost} records read but neither written nor quarantined")
    archived = scalar(con, "SELECT count(*) FROM archived WHERE granularity IN ('turn', 'document')")
    said = [f"{archived} turns and documents archived by {POLICY}"] if archived and not wrong else wrong
    return Gate(name="counts add up", passed=not wrong, detail="; ".join(said))


def _checksums(run: Run) -> Gate:
    """Files that this snapshot adds hold the bytes that were written."""
    added = sorted(set(run.catalogue) - set(run.parent))
    wrong = run.lake.verify(added)
    return Gate(name="checksums", passed=not wrong, value=float(len(added)), detail="; ".join(wrong[:3]))


def _ann_recall(run: Run, index: dict[str, str]) -> list[Gate]:
    """Recall@10 of every ANN index against exact search over 200 of its own rows, slightly moved."""
    gates = []
    for shard_id in index.values():
        if not run.lake.local:
            continue
        shard = open_shard(run.lake, shard_id)
        for granularity in shard.ranges:
            dense = shard.ann(granularity)
            if dense is not None:
                ((start, end),) = shard.slices(granularity, None)
                value = recall_at_10(dense, shard.vectors[start:end], start)
                name = f"ANN recall@10 of {granularity} in {shard_id.split('/')[1]}"
                detail = f"{value:.3f}, wanted {ANN_TARGET - 0.02}"
                gates.append(
                    Gate(name=name, passed=value >= ANN_TARGET - 0.02, value=value, threshold=ANN_TARGET, detail=detail)
                )
    return gates


def _golden(run: Run, parent: Snapshot | None, index: dict[str, str], encode) -> list[Gate]:
    """Recall on the user's own questions (`golden.jsonl` in the store) is not below the last snapshot's."""
    if not run.lake.exists(GOLDEN):
        return []
    questions = _golden_questions(run.lake.read_bytes(GOLDEN).decode())
    shards = [open_shard(run.lake, shard_id) for shard_id in index.values()]
    found = Recall(shards, encode).recall_many([q for q, _ in questions])
    values = [
        len(refs & {s["ref"] for h in answer.hits for s in h.source}) / len(refs)
        for (_, refs), answer in zip(questions, found, strict=True)
    ]
    value = float(np.mean(values))
    before = next((g.value for g in parent.gates if g.name == "golden recall@10"), None) if parent else None
    spread = 1.96 * float(np.std(values)) / max(len(values), 1) ** 0.5
    floor = (before - GOLDEN_TOLERANCE - spread) if before is not None else 0.0
    detail = f"{value:.3f} on {len(values)} questions, before {before}"
    return [Gate(name="golden recall@10", passed=value >= floor, value=value, threshold=floor, detail=detail)]


def _golden_questions(text: str) -> list[tuple[Query, set[str]]]:
    questions = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            namespaces = (row["namespace"],) if row.get("namespace") else None
            questions.append((Query(row["query"], k=10, namespaces=namespaces), set(row["refs"])))
        except (json.JSONDecodeError, KeyError, TypeError) as problem:
            example = '{"query": "...", "namespace": "...", "refs": ["..."]}'
            raise UsageError(
                f"{GOLDEN} line {number} is no golden question ({problem}); a line looks like {example}"
            ) from None
    return questions

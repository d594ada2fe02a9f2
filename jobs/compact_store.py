"""Compact: old snapshots and what only they named go, small ledger files become one a month, index shards are made whole.

Every part may be killed and run again: files go only after what named them, marks before what they mark; the ledger's readers see
each row once throughout (`jobs.store.ledger`); a rebuilt shard takes the old one's place when it is whole.
"""

from __future__ import annotations

from jobs.build_indexes import build_indexes, wanted_shards, what_is_wrong
from jobs.run import Run
from jobs.store import ledger, snapshots
from schemas.manifest import Snapshot
from schemas.tables import TABLES

STAGE = "compact"


def compact_store(run: Run, newest: Snapshot | None, *, keep: int, dry_run: bool = False) -> dict:
    """Make the store smaller and whole; returns what was done (or would be) and the bytes before and after.

    `index` is what the next snapshot has to name: the newest one's shards, or others where a new version of Engraph builds them.
    """
    with run.timed(STAGE) as piece:
        before = run.lake.size()
        shards, index = _index(run, newest, dry_run)
        merged = [ledger.merge(run.lake, t, now=run.now, dry_run=dry_run) for t, s in TABLES.items() if s.ledger]
        collected = snapshots.collect_garbage(run.lake, keep=keep, dry_run=dry_run, also=set(index.values()))
        report = {
            "dry_run": dry_run,
            "snapshots_kept": collected["kept"],
            "removed": collected["removed"],
            "ledger": [m.to_json() for m in merged if m.months or m.removed],
            "shards": shards,
            "index": index,
            "bytes_before": before,
            "bytes_after": run.lake.size(),
        }
        piece.rows_in = len(report["removed"]) + sum(sum(m.months.values()) + m.removed for m in merged)
        piece.skipped = dry_run or not (piece.rows_in or shards)
    return report


def _index(run: Run, newest: Snapshot | None, dry_run: bool) -> tuple[list[dict], dict[str, str]]:
    """(shards that are not what they should be, bucket -> shard once they are)."""
    if newest is None:
        return [], {}
    wanted = wanted_shards(run)
    wrong = {shard: problem for shard in wanted.values() if (problem := what_is_wrong(run.lake, shard))}
    shards = [
        {"bucket": int(bucket), "shard": shard, "problem": wrong[shard], "rebuilt": not dry_run}
        for bucket, shard in wanted.items()
        if shard in wrong
    ]
    if wrong and not dry_run:
        build_indexes(run, damaged=wrong.keys())
    return shards, wanted

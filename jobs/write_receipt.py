"""Receipts: what was forgotten, when, why, and what that removed. Kept in the ledger table `erasures`, by keyed hash.

The snapshot itself carries what it forgot, so that a receipt that a killed run did not get to write is written by the next one.
"""

from __future__ import annotations

from collections import Counter

import pyarrow.compute as pc

from jobs.find_subject import Subject, What
from jobs.run import Run
from jobs.store import ledger, snapshots, suppression
from schemas.manifest import Erasure, Snapshot

NOTE = "Snapshots before this one still hold it, until `engraph snapshots gc` has removed them."


def erasure(run: Run, subject: Subject) -> Erasure:
    """What the draft has lost against the snapshot before: rows in files by table, every version counted."""
    lost: Counter[str] = Counter()
    before, after = set(run.parent), set(run.catalogue)
    for fileset in before - after:
        lost[fileset.table] += run.lake.manifest(fileset).rows
    for fileset in after - before:
        lost[fileset.table] -= run.lake.manifest(fileset).rows
    removed = {table: n for table, n in sorted(lost.items()) if n > 0}
    hash_ = suppression.subject(run.lake, subject.what, subject.name) or ""
    return Erasure(subject=hash_, what=subject.what, removed=removed)


def write_receipt(run: Run, what: What, name: str) -> dict | None:
    """The newest receipt of a subject, entered into the ledger where it is not yet; None where nothing of it was ever forgotten."""
    subject = suppression.subject(run.lake, what, name)
    if subject is None:
        return None
    written = ledger.read(run.lake, "erasures")
    written = written.filter(pc.equal(written["subject"], subject)).sort_by([("snapshot", "descending")]).to_pylist()
    snapshot = _last_erased(run, subject)
    if snapshot is not None and all(r["snapshot"] != snapshot.number for r in written):
        written.insert(0, _row(snapshot))
        ledger.append(run.lake, "erasures", written[:1])
    if not written:
        return None
    row = written[0]
    removed = {r["table"]: r["rows"] for r in row["removed"]}
    return row | {"name": name, "removed": removed, "at": row["at"].isoformat(), "note": NOTE}


def _last_erased(run: Run, subject: str) -> Snapshot | None:
    for number in reversed(snapshots.numbers(run.lake)):
        snapshot = snapshots.load(run.lake, number)
        if snapshot.erased and snapshot.erased.subject == subject and snapshot.restored_from is None:
            return snapshot
    return None


def _row(snapshot: Snapshot) -> dict:
    assert snapshot.erased is not None
    return {
        "subject": snapshot.erased.subject,
        "what": snapshot.erased.what,
        "snapshot": snapshot.number,
        "removed": [{"table": table, "rows": n} for table, n in snapshot.erased.removed.items()],
        "reason": snapshot.reason,
        "run_id": snapshot.run_id,
        "at": snapshot.created_at,
    }

"""Forget: what one namespace or one source file brought leaves the draft, and the suppression list keeps it out.

The records go from `turns`, `documents`, `given_extractions`, `quarantine`, `sources` and `source_records`; whatever was made
from them goes because the stages are brought up to date afterwards, as if it had never been read. What others extracted from a
record goes with it. Partitions without such records keep their filesets, and vectors stay where another text is the same. Older
snapshots hold it until gc removes them.
"""

from __future__ import annotations

import json
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.find_subject import GIVEN, RECORDS, Subject
from jobs.given_extractions import identity_of_given
from jobs.merge_deliveries import STAGE, refusal_ids, write_by_content, write_lineage
from jobs.publish_snapshot import GOLDEN
from jobs.run import Run
from jobs.store import suppression
from jobs.store.suppression import FORGOTTEN
from jobs.take_written_back import forget_feedback
from pipelines.lifecycle import RETENTION
from schemas.manifest import Fileset
from schemas.tables import TABLES

OF_A_DAY = ("embed", "embed_derived")
SOURCE_REFS = (*RECORDS, "quarantine")


def forget_records(run: Run, subject: Subject) -> None:
    """Refuse the subject from now on and take its records out of the draft; the stages of every stale day have to follow.

    The list is written first: whatever is killed after that, nothing of the subject comes back.
    """
    with run.timed("forget") as piece:
        suppression.make_key(run.lake)
        hash_ = suppression.subject(run.lake, subject.what, subject.name) or ""
        suppression.add(run.lake, hash_, subject.to_refuse, run.now.date())
        taken = _Taken(run, subject)
        taken.sources()  # first: which files brought nothing else is asked of `source_records`
        for table in (*RECORDS, GIVEN, "quarantine", "source_records"):
            taken.table(table)
        _drop_emptied(run)
        _leave_golden_set(run, subject, taken.refs)
        ids = [i for found in subject.records.values() for i in found.to_pylist()]
        forget_feedback(run, subject.name if subject.what == "namespace" else None, ids)
        piece.rows_in, piece.skipped = taken.rows, not taken.rows


class _Taken:
    """Takes rows out of the partitions of `read`; what is left has the fileset that it would have had alone."""

    def __init__(self, run: Run, subject: Subject) -> None:
        self.run, self.subject = run, subject
        self.rows = 0
        self.refs: set[str] = set()
        self.groups: set[str] = set()  # sessions and documents that lost something

    def table(self, table: str) -> None:
        for bucket in sorted(self.subject.buckets):
            for fileset in self.run.catalogue.select(table, stage=STAGE, bucket=bucket):
                rows = self.run.lake.read(table, [fileset])
                self._keep(fileset, rows, self._mine(table, rows))

    def _mine(self, table: str, rows: pa.Table) -> pa.Array:
        if table == GIVEN:
            return pc.or_(self.subject.of(table, rows), self._made_from_taken(rows))
        if table != "source_records":
            return self.subject.of(table, rows)
        if self.subject.what == "namespace":
            return pc.equal(rows["namespace"], self.subject.name)
        pairs = [  # a record may have been brought by one file and changed by another
            pc.and_(pc.equal(rows["kind"], kind), pc.is_in(rows["record_id"], ids))
            for kind, ids in self.subject.records.items()
        ]
        mine = pc.is_in(rows["delivery_id"], pa.array(sorted(self.subject.deliveries), pa.string()))
        for pair in pairs:
            mine = pc.or_(mine, pair)
        return mine

    def _keep(self, fileset: Fileset, rows: pa.Table, gone: pa.Array) -> None:
        n = pc.sum(gone).as_py() or 0
        if not n:
            return
        self.rows += n
        if fileset.table in SOURCE_REFS:
            self.refs |= set(rows.filter(gone)["source_ref"].to_pylist())
        if fileset.table in RECORDS:
            group = rows["session_id" if fileset.table == "turns" else "document_id"]
            self.groups |= set(group.filter(gone).to_pylist())
        _put(self.run, fileset, rows.filter(pc.invert(gone)))

    def _made_from_taken(self, given: pa.Table) -> pa.Array:
        """What others made of something that has gone: of it alone, or of a whole session that held it."""
        rows = zip(given["group_id"].to_pylist(), given["refs"].to_pylist(), strict=True)
        gone = [group in self.groups and (not refs or bool(self.refs & set(refs))) for group, refs in rows]
        return pa.array(gone, pa.bool_())

    def sources(self) -> None:
        """Files that brought nothing else go; one that only takes its name from the namespace loses that name."""
        others = self._files_of_others()
        for fileset in self.run.catalogue.select("sources"):
            rows = self.run.lake.read("sources", [fileset]).to_pylist()
            kept = [self._unnamed(r) for r in rows if r["delivery_id"] in others or not self._is_mine(r)]
            if kept != rows:
                self.rows += len(rows) - len(kept)
                self.refs |= {r["source_ref"] for r in rows if r not in kept}
                _put(self.run, fileset, TABLES["sources"].from_rows(kept))

    def _is_mine(self, row: dict) -> bool:
        if self.subject.what == "source":
            return row["delivery_id"] in self.subject.deliveries
        return row["namespace"] == self.subject.name or row["delivery_id"] in self._files

    def _unnamed(self, row: dict) -> dict:
        named = self.subject.what == "namespace" and row["namespace"] == self.subject.name
        return row | {"namespace": FORGOTTEN} if named else row

    @cached_property
    def _files(self) -> set[str]:
        """Files that brought something of the namespace."""
        where = ds.field("namespace") == self.subject.name
        filesets = [f for b in self.subject.buckets for f in self.run.catalogue.select("source_records", bucket=b)]
        rows = self.run.lake.read("source_records", filesets, columns=["delivery_id"], where=where)
        return set(pc.unique(rows["delivery_id"]).to_pylist())

    def _files_of_others(self) -> set[str]:
        if self.subject.what == "source":
            return set()
        where = ds.field("namespace") != self.subject.name
        filesets = self.run.catalogue.select("source_records")
        rows = self.run.lake.read("source_records", filesets, columns=["delivery_id"], where=where)
        return set(pc.unique(rows["delivery_id"]).to_pylist())


def _put(run: Run, fileset: Fileset, rows: pa.Table) -> None:
    """What is left of a partition of `read`."""
    table, day, bucket = fileset.table, fileset.day, fileset.bucket
    if not rows.num_rows:
        run.catalogue.drop(table, STAGE, day, bucket)
    elif table == "source_records":
        write_lineage(run, day, bucket, rows)
    else:
        ids = {"quarantine": refusal_ids, GIVEN: identity_of_given, "sources": lambda t: t["delivery_id"].to_pylist()}
        identity = ids.get(table, lambda t: t["record_hash"].to_pylist())(rows)
        write_by_content(run, table, day, bucket, rows, identity=identity)


def _drop_emptied(run: Run) -> None:
    """Partitions without records any more lose what stages made of them; days without records lose their vectors."""
    left = {(f.day, f.bucket) for table in RECORDS for f in run.catalogue.select(table)}
    days = {day for day, _ in left}
    for f in list(run.catalogue):
        if f.stage in (STAGE, RETENTION):
            continue
        if f.day not in days if f.stage in OF_A_DAY else (f.day, f.bucket) not in left:
            run.catalogue.drop(f.table, f.stage, f.day, f.bucket)


def _leave_golden_set(run: Run, subject: Subject, refs: set[str]) -> None:
    """Golden questions about what is forgotten are forgotten too; lines that are no questions stay for the gate to name."""
    found = run.lake.find_bytes(GOLDEN)
    if found is None:
        return
    lines = found.decode().splitlines(keepends=True)
    kept = [line for line in lines if not _asks_for(line, subject, refs)]
    if kept != lines:
        run.lake.write_atomic(GOLDEN, "".join(kept).encode())


def _asks_for(line: str, subject: Subject, refs: set[str]) -> bool:
    try:
        row = json.loads(line)
        named = subject.what == "namespace" and row.get("namespace") == subject.name
        return named or bool(refs & set(row["refs"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False

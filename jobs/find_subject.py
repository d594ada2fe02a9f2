"""Subjects: what can be forgotten, found by its name in the newest snapshot, with everything that was read from it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.merge_deliveries import IDS, refusal_ids
from jobs.run import Run
from jobs.store.suppression import FORGOTTEN
from schemas.errors import UsageError
from schemas.ids import bucket_of, qualify
from schemas.tables import TABLES

What = Literal["namespace", "source"]
RECORDS = ("turns", "documents")
GIVEN = "given_extractions"
ID = IDS | {GIVEN: "extraction_id"}


@dataclass(frozen=True)
class Subject:
    """What is to be forgotten. `deliveries` are the files it names, `records` kind -> ids of what they brought."""

    what: What
    name: str
    deliveries: frozenset[str] = frozenset()
    records: dict[str, pa.Array] = field(default_factory=dict)
    buckets: frozenset[int] = frozenset()
    to_refuse: tuple[tuple[str, str], ...] = ()

    def of(self, table: str, rows: pa.Table) -> pa.Array:
        """Which rows of turns, documents, given extractions or quarantine belong to it."""
        if self.what == "namespace":
            return pc.equal(rows["namespace"], self.name)
        ids = pa.array(refusal_ids(rows), pa.string()) if table == "quarantine" else rows[ID[table]]
        return pc.is_in(ids, self.records.get(table, pa.array([], pa.string())))


def find(run: Run, what: What, name: str) -> Subject:
    """The subject of that name in the draft.

    Raises:
        UsageError: there is none; names those that are like it.
    """
    return _namespace(run, name) if what == "namespace" else _source(run, name)


def _namespace(run: Run, name: str) -> Subject:
    known = _namespaces(run)
    if name not in known:
        raise UsageError(f"no namespace {name!r} in the newest snapshot: {_near(name, known)}")
    bucket = bucket_of(name, run.info.buckets)
    return Subject("namespace", name, buckets=frozenset([bucket]), to_refuse=(("namespace", name),))


def _source(run: Run, name: str) -> Subject:
    columns = ["delivery_id", "source_ref", "namespace", "content_hash", "rows_new"]
    rows = run.lake.read("sources", run.catalogue.select("sources"), columns=columns).to_pylist()
    rows = [r for r in rows if r["namespace"] != FORGOTTEN or not r["source_ref"].startswith(FORGOTTEN)]
    named = {qualify(r["namespace"], r["source_ref"]): r for r in rows}
    mine = [r for r in rows if name in (r["source_ref"], qualify(r["namespace"], r["source_ref"]))]
    qualified = sorted({qualify(r["namespace"], r["source_ref"]) for r in mine})
    if not mine:
        raise UsageError(
            f"no source {name!r} in the newest snapshot: {_near(name, {*named, *(r['source_ref'] for r in rows)})}"
        )
    if len(qualified) > 1:
        raise UsageError(f"{name!r} is a source of several corpora: say which, {' or '.join(qualified)}")
    deliveries = frozenset(r["delivery_id"] for r in mine)
    where = ds.field("delivery_id").isin(sorted(deliveries))
    brought = run.lake.read("source_records", run.catalogue.select("source_records"), where=where)
    if not brought.num_rows and any(r["rows_new"] for r in mine):
        raise UsageError(
            f"{qualified[0]} was read before Engraph kept which file brought which record: forget its namespace instead"
        )
    records = {
        kind: brought.filter(pc.equal(brought["kind"], kind))["record_id"].combine_chunks()
        for kind in pc.unique(brought["kind"]).to_pylist()
    }
    ids = [("record", id_) for kind in RECORDS if kind in records for id_ in records[kind].to_pylist()]
    bytes_ = [("bytes", r["content_hash"]) for r in mine if ids or GIVEN in records]
    return Subject(
        "source",
        qualified[0],
        deliveries,
        records,
        frozenset(bucket_of(n, run.info.buckets) for n in pc.unique(brought["namespace"]).to_pylist()),
        (("source", qualified[0]), *bytes_, *ids),
    )


def _namespaces(run: Run) -> set[str]:
    found: set[str] = set()
    for table in (*RECORDS, "quarantine", "sources"):
        rows = run.lake.read(table, run.catalogue.select(table), columns=["namespace"])
        found |= set(pc.unique(rows["namespace"]).to_pylist())
    return found - {FORGOTTEN}


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    return (
        f"did you mean {' or '.join(near)}?" if near else "`engraph status` and the table `sources` list what is there"
    )


def count(run: Run, subject: Subject) -> dict[str, int]:
    """Rows that are certain to go, by table: all of a namespace's, or a source's records without what was made from them."""
    tables = [t for t, schema in TABLES.items() if "namespace" in schema.schema.names and not schema.ledger]
    found: dict[str, int] = {}
    for table in tables if subject.what == "namespace" else (*RECORDS, GIVEN, "quarantine"):
        for bucket in sorted(subject.buckets if table != "sources" else {0}):
            rows = run.lake.read(table, run.catalogue.select(table, bucket=bucket))
            found[table] = found.get(table, 0) + (pc.sum(subject.of(table, rows)).as_py() or 0)
    return {table: n for table, n in found.items() if n}

"""Merge: delivered records into their partitions, against what the store holds. The second half of `read_sources`.

A record is known by the hash of its content and keeps the day of its first arrival. A partition's fingerprint is its content,
so that any order of deliveries gives the same fileset. What cannot be accepted (an id twice, an id that clashes) goes to
quarantine.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.engines.engine import Pieces
from jobs.engines.partitions import SHARD_ROWS
from jobs.run import Run
from jobs.store.suppression import FORGOTTEN
from schemas.fingerprint import fingerprint
from schemas.ids import record_hash
from schemas.manifest import Fileset
from schemas.tables import TABLES

STAGE, VERSION = "read", 1
DELIVERIES = -1  # the shuffle's key of what is said of files, where buckets count from 0
QUARANTINE_KEY = TABLES["quarantine"].key
REFUSED = TABLES["quarantine"].schema.append(pa.field("delivery_id", pa.string()))
OWN_ID = re.compile(
    r"#(round|segment|summary|keywords|fact|section|passage|sentence|note|qa|triple)(-\d+|-given-[0-9a-f]{8})?$"
)
IDS = {"turns": "turn_id", "documents": "document_id"}
SORT = {"turns": ("session_id", "turn_no", "turn_id"), "documents": ("document_id",)}


@dataclass
class Merged:
    """What became of one bucket's records: filesets for the catalogue, and per delivery how many were new, known, quarantined."""

    filesets: list[Fileset] = field(default_factory=list)
    counts: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    deliveries: list[dict] = field(default_factory=list)
    written: int = 0


@dataclass(frozen=True)
class DeliveryMerger:
    """Merges what a delivery brought to one bucket into its partitions, day by day; runs where the engine runs."""

    run: Run

    def __call__(self, bucket: int, pieces: Pieces) -> Merged:
        merged = Merged()
        if bucket == DELIVERIES:
            merged.deliveries = pieces.read("sources").to_pylist()
            return merged
        conflicts: dict[dt.date, list[dict]] = defaultdict(list)
        brought: dict[dt.date, list[dict]] = defaultdict(list)
        days: dict[str, list[dt.date]] = defaultdict(list)
        for kind in pieces.kinds():
            table, _, written = kind.partition("/")
            days[table].append(dt.date.fromisoformat(written))
        for table in ("turns", "documents"):
            for day in sorted(days[table]):
                staged = _in_order(pieces.read(f"{table}/{day}"))
                fresh, refused = _fresh_records(self.run, table, staged, bucket, merged.counts)
                conflicts[day] += refused
                if fresh.num_rows:
                    merged.filesets.append(_merge_partition(self.run, table, day, bucket, fresh))
                    brought[day] += brought_by(table, fresh, fresh[IDS[table]].to_pylist())
                merged.written += fresh.num_rows
        for day in sorted({*days["quarantine"], *(day for day, rows in conflicts.items() if rows)}):
            refusals = pa.Table.from_pylist(_unique(conflicts[day], QUARANTINE_KEY), schema=REFUSED)
            if day in days["quarantine"]:
                refusals = pa.concat_tables(
                    [refusals, _in_order(pieces.read(f"quarantine/{day}")).select(REFUSED.names)]
                )
            brought[day] += brought_by("quarantine", refusals, refusal_ids(refusals))
            merged.filesets += merge_quarantine(self.run, refusals, day, bucket)
        for day in sorted(brought):
            merged.filesets += merge_lineage(self.run, brought[day], day, bucket)
        return merged


def _in_order(rows: pa.Table) -> pa.Table:
    """By file and place in it: a shuffle brings them in any order, and the first of two that clash stands."""
    return rows.sort_by([("delivery", "ascending"), ("record", "ascending")])


def merge_quarantine(run: Run, refusals: pa.Table, day: dt.date, bucket: int) -> list[Fileset]:
    """Add refused records that are not there yet; no fileset when there are none."""
    key = QUARANTINE_KEY
    history = run.catalogue.select("quarantine", stage=STAGE, bucket=bucket)
    seen = {tuple(r.values()) for r in run.lake.read("quarantine", history, columns=list(key)).to_pylist()}
    found = refusals.select(TABLES["quarantine"].schema.names).to_pylist()
    fresh = [r for r in _unique(found, key) if tuple(r[k] for k in key) not in seen]
    if not fresh:
        return []
    held = run.lake.read("quarantine", run.catalogue.select("quarantine", stage=STAGE, bucket=bucket, day=day))
    table = pa.concat_tables([held, TABLES["quarantine"].from_rows(fresh)])
    table = table.sort_by([("source_ref", "ascending"), ("payload_hash", "ascending")])
    return [write_by_content(run, "quarantine", day, bucket, table, identity=refusal_ids(table))]


def refusal_ids(refusals: pa.Table) -> list[str]:
    """What stands for each refused record in `source_records`."""
    return [record_hash(*key) for key in zip(*(refusals[k].to_pylist() for k in QUARANTINE_KEY), strict=True)]


def brought_by(kind: str, records: pa.Table, ids: list[str]) -> list[dict]:
    """Rows of `source_records`: a record belongs to the files that brought it or changed it, not to those that repeat it."""
    columns = (records[c].to_pylist() for c in ("delivery_id", "namespace", "day"))
    return [
        {"delivery_id": delivery, "kind": kind, "record_id": id_, "namespace": namespace, "day": day}
        for id_, delivery, namespace, day in zip(ids, *columns, strict=True)
        if namespace != FORGOTTEN
    ]


def merge_lineage(run: Run, rows: list[dict], day: dt.date, bucket: int) -> list[Fileset]:
    """Add to what is known of who brought what; no fileset where nothing is added."""
    key = TABLES["source_records"].key
    filesets = run.catalogue.select("source_records", bucket=bucket)
    where = ds.field("record_id").isin(pa.array([r["record_id"] for r in rows], pa.string()))
    history = run.lake.read("source_records", filesets, columns=[*key], where=where)
    seen = {tuple(r.values()) for r in history.to_pylist()}
    fresh = [r for r in _unique(rows, key) if tuple(r[k] for k in key) not in seen]
    if not fresh:
        return []
    held = run.lake.read("source_records", run.catalogue.select("source_records", bucket=bucket, day=day))
    return [write_lineage(run, day, bucket, pa.concat_tables([held, TABLES["source_records"].from_rows(fresh)]))]


def write_lineage(run: Run, day: dt.date, bucket: int, rows: pa.Table) -> Fileset:
    """A partition of `source_records`, by content."""
    key = TABLES["source_records"].key
    rows = rows.sort_by([(k, "ascending") for k in key])
    ids = [record_hash(*found) for found in zip(*(rows[k].to_pylist() for k in key), strict=True)]
    return write_by_content(run, "source_records", day, bucket, rows, identity=ids)


def _unique(rows: list[dict], key: tuple[str, ...]) -> list[dict]:
    return list({tuple(r[k] for k in key): r for r in rows}.values())


def record_deliveries(run: Run, deliveries: list[dict]) -> None:
    """Enter the files of this run into `sources`."""
    by_day: dict[dt.date, list[dict]] = defaultdict(list)
    for row in deliveries:
        by_day[row["day"]].append(row)
    for day, rows in by_day.items():
        held = run.lake.read("sources", run.catalogue.select("sources", day=day))
        again = pc.is_in(held["delivery_id"], pa.array([row["delivery_id"] for row in rows]))
        held = held.filter(pc.invert(again))
        table = pa.concat_tables([held, TABLES["sources"].from_rows(_unique(rows, ("delivery_id",)))])
        table = table.sort_by("delivery_id")
        write_by_content(run, "sources", day, 0, table, identity=table["delivery_id"].to_pylist())


def _fresh_records(
    run: Run, table: str, staged: pa.Table, bucket: int, counts: dict[int, Counter[str]]
) -> tuple[pa.Table, list[dict]]:
    """Records that say something new, and those refused because their id cannot be theirs."""
    held = _Held(run, table, staged, bucket)
    keep, refused = [], []
    for i, row in enumerate(staged.select(held.columns).to_pylist()):
        reason = held.refusal(row)
        if held.is_known(row):
            counts[row["delivery"]]["known"] += 1
        elif reason:
            counts[row["delivery"]]["quarantined"] += 1
            refused.append(_refuse(staged.slice(i, 1).to_pylist()[0], reason))
        else:
            counts[row["delivery"]]["new"] += 1
            keep.append(i)
            held.add(row)
    return staged.take(pa.array(keep, pa.int64())).drop_columns(["delivery", "record"]), refused


class _Held:
    """What the store holds of the ids of a delivery, and what the delivery itself has brought so far.

    A record is known when the newest record of its id up to its day says the same, or, where it would be the first, when a
    later day has it: a delivery for an earlier day does not move it. So a change back to an older content is a change.
    """

    def __init__(self, run: Run, table: str, staged: pa.Table, bucket: int) -> None:
        self.id = IDS[table]
        self.group = "session_id" if table == "turns" else self.id
        self.columns = list(dict.fromkeys([self.id, self.group, "record_hash", "day", "delivery"]))
        filesets = run.catalogue.select(table, bucket=bucket)
        ids = pc.unique(pa.chunked_array([*staged[self.id].chunks, *staged[self.group].chunks]))
        columns = [c for c in self.columns if c != "delivery"]
        where = ds.field(self.id).isin(ids) | ds.field(self.group).isin(ids)
        self.versions: dict[str, list[tuple[dt.date, str]]] = defaultdict(list)
        self.groups: set[str] = set()
        self.brought: dict[str, str] = {}
        for row in run.lake.read(table, filesets, columns=columns, where=where).to_pylist():
            self.versions[row[self.id]].append((row["day"], row["record_hash"]))
            self.groups.add(row[self.group])

    def is_known(self, row: dict) -> bool:
        if self.brought.get(row[self.id]) == row["record_hash"]:
            return True
        versions = sorted(self.versions.get(row[self.id], []))
        before = [hash_ for day, hash_ in versions if day <= row["day"]]
        return before[-1] == row["record_hash"] if before else any(h == row["record_hash"] for _, h in versions)

    def refusal(self, row: dict) -> str | None:
        """Why a record's id cannot be accepted, or None."""
        id_ = row[self.id]
        if id_ in self.brought:
            return f"duplicate id {id_!r}: another file of this run has it with different content; deliver one of them"
        if OWN_ID.search(id_) or OWN_ID.search(row[self.group]):
            return f"id {id_!r} ends like one of Engraph's own (#section-1, #summary ...): rename it"
        if self.group != self.id and (id_ in self.groups or row[self.group] in self.versions):
            return f"id {id_!r} is both a message and a session: rename one of them"
        return None

    def add(self, row: dict) -> None:
        self.brought[row[self.id]] = row["record_hash"]
        self.versions[row[self.id]].append((row["day"], row["record_hash"]))
        self.groups.add(row[self.group])


def _refuse(row: dict, reason: str) -> dict:
    payload = row["text"].encode("utf-8", "surrogatepass")
    return {
        "namespace": row["namespace"],
        "stage": STAGE,
        "source_ref": row["source_ref"],
        "reason": reason,
        "payload": payload[:65_536],
        "payload_hash": row["content_hash"],
        "payload_bytes": len(payload),
        "day": row["day"],
        "delivery_id": row["delivery_id"],
    }


def _merge_partition(run: Run, table: str, day: dt.date, bucket: int, fresh: pa.Table) -> Fileset:
    """The partition with `fresh` in it: a record delivered again on its day with other content replaces the one before."""
    held = run.lake.read(table, run.catalogue.select(table, bucket=bucket, day=day))
    key = IDS[table]
    replaced = pc.is_in(held[key], fresh[key].combine_chunks())
    rows = pa.concat_tables([held.filter(pc.invert(replaced)), fresh.select(held.column_names)])
    rows = rows.sort_by([(column, "ascending") for column in SORT[table]])
    return write_by_content(run, table, day, bucket, rows, identity=rows["record_hash"].to_pylist())


def write_by_content(
    run: Run, table: str, day: dt.date, bucket: int, rows: pa.Table, *, identity: list[str]
) -> Fileset:
    """Write a partition whose fingerprint is its content: any order of deliveries gives the same fileset."""
    fp = fingerprint(STAGE, VERSION, table, sorted(identity))
    fileset = Fileset(table, STAGE, day, bucket, fp)
    if not run.lake.complete(fileset):
        n = max(1, -(-rows.num_rows // SHARD_ROWS))
        shards = [run.lake.write_shard(fileset, i, n, rows.slice(i * SHARD_ROWS, SHARD_ROWS), {}) for i in range(n)]
        run.lake.write_manifest(fileset, shards, version=VERSION, params={}, inputs=[])
    run.catalogue.put(fileset)
    return fileset

"""What a stage refused, as rows of `quarantine`: every record of a conversation or document that the stage function fails on."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset as ds

from jobs.run import Run
from schemas.fingerprint import fingerprint
from schemas.ids import bucket_of, content_hash
from schemas.manifest import Fileset
from schemas.tables import TABLES

if TYPE_CHECKING:
    from jobs.engines.partitions import Partition

PAYLOAD_BYTES = 65_536


def quarantine_refused(run: Run, partition: Partition) -> None:
    """Enter what the partition's shards refused into the draft's `quarantine`; drop the entry where nothing is refused any more."""
    first = partition.filesets()[0]
    known = run.parent.get(first.table, first.stage, first.day, first.bucket) == first
    if known:  # so is what it refused
        return
    refused = run.lake.manifest(first).refused
    if not refused:
        run.catalogue.drop("quarantine", first.stage, first.day, first.bucket)
        return
    rows = [r for table in ("turns", "documents") for r in _records(run, table, first, refused)]
    named = {r.pop("group") for r in rows}
    rows += [_row(id_, id_, "", refused[id_], first) for id_ in refused.keys() - named]
    write_quarantine(run, first.stage, first.day, first.bucket, rows)


def quarantine_texts(run: Run, stage: str, day: dt.date, upstream: tuple[str, ...]) -> None:
    """Enter texts that no encoder could take, each with the first unit that says it. The units stay, found by their words."""
    refused: dict[str, str] = {}
    for fileset in run.catalogue.select("embeddings", stage=stage, day=day):
        refused |= run.lake.manifest(fileset).refused
    rows: dict[int, list[dict]] = defaultdict(list)
    if refused:
        filesets = [f for s in upstream for f in run.catalogue.select("memory_units", stage=s, day=day)]
        where = ds.field("content_hash").isin(pa.array(list(refused)))
        columns = ["unit_id", "namespace", "text", "content_hash"]
        units = run.lake.read("memory_units", filesets, columns=columns, where=where).sort_by("unit_id").to_pylist()
        first = {unit["content_hash"]: unit for unit in reversed(units)}
        for hash_, unit in sorted(first.items()):
            bucket = bucket_of(unit["namespace"], run.info.buckets)
            address = Fileset("embeddings", stage, day, bucket, "")
            rows[bucket].append(_row(unit["namespace"], unit["unit_id"], unit["text"], refused[hash_], address))
    for bucket in range(run.info.buckets):
        if bucket in rows:
            write_quarantine(run, stage, day, bucket, rows[bucket])
        else:
            run.catalogue.drop("quarantine", stage, day, bucket)


def refused_by(run: Run, stage: str, table: str, bucket: int, day: dt.date) -> set[str]:
    """Conversations and documents of one day that `stage` could not take: later stages leave them out."""
    found = run.catalogue.select(table, stage=stage, bucket=bucket, day=day)
    return {id_ for fileset in found for id_ in run.lake.manifest(fileset).refused}


def write_quarantine(run: Run, stage: str, day: dt.date, bucket: int, rows: list[dict]) -> None:
    """One fileset of what a stage refused in one partition, by content: the same refusals give the same fileset."""
    key = TABLES["quarantine"].key
    earlier = run.catalogue.select("quarantine", stage=stage, bucket=bucket, before=day)
    seen = {tuple(r.values()) for r in run.lake.read("quarantine", earlier, columns=list(key)).to_pylist()}
    fresh = {id_: r for r in rows if (id_ := tuple(r[k] for k in key)) not in seen}
    table = TABLES["quarantine"].from_rows([fresh[id_] for id_ in sorted(fresh)])
    identity = [(*id_, fresh[id_]["reason"]) for id_ in sorted(fresh)]
    fileset = Fileset("quarantine", stage, day, bucket, fingerprint(stage, "quarantine", identity))
    if not run.lake.complete(fileset):
        shard = run.lake.write_shard(fileset, 0, 1, table, {})
        run.lake.write_manifest(fileset, [shard], version=1, params={}, inputs=[])
    run.catalogue.put(fileset)


def _records(run: Run, table: str, first: Fileset, refused: Mapping[str, str]) -> list[dict]:
    group = "session_id" if table == "turns" else "document_id"
    filesets = run.catalogue.select(table, bucket=first.bucket, until=first.day)
    columns = list(dict.fromkeys((group, "namespace", "source_ref", "text")))
    rows = run.lake.read(table, filesets, columns=columns, where=ds.field(group).isin(pa.array(list(refused))))
    found = []
    for row in rows.to_pylist():
        made = _row(row["namespace"], row["source_ref"], row["text"], refused[row[group]], first)
        found.append(made | {"group": row[group]})
    return found


def _row(namespace: str, source_ref: str, text: str, error: str, first: Fileset) -> dict:
    payload = text.encode("utf-8", "surrogatepass")
    return {
        "namespace": namespace,
        "stage": first.stage,
        "source_ref": source_ref,
        "reason": f"stage {first.stage} cannot take it: {error}",
        "payload": payload[:PAYLOAD_BYTES],
        "payload_hash": content_hash(text),
        "payload_bytes": len(payload),
        "day": first.day,
    }

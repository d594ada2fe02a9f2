"""Read: files -> turns, documents, quarantine, sources.

A record is known by the hash of its content and keeps the day of its first arrival, so delivering a file again changes nothing; a
file whose bytes were delivered before is not even opened. Records are spooled to disk by (day, bucket) while files stream by, then
each partition is merged with what it holds. read = new + known + quarantined, for every file.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.engines.local import SHARD_ROWS
from jobs.run import Run, StageReport
from pipelines.readers import (
    DocumentRecord,
    ReadParams,
    Refused,
    SourceFile,
    TurnRecord,
    file_hash,
    read_source,
    reader_name,
)
from schemas.errors import UsageError
from schemas.fingerprint import fingerprint
from schemas.ids import bucket_of, content_hash, record_hash
from schemas.manifest import Fileset
from schemas.tables import TABLES

STAGE, VERSION = "read", 1
SPOOL_BYTES = 64_000_000
ROW_BYTES = 1_000  # what a record weighs besides its text
IDS = {"turns": "turn_id", "documents": "document_id"}
SORT = {"turns": ("session_id", "turn_no", "turn_id"), "documents": ("document_id",)}


class Spool:
    """Rows by (table, day, bucket) on local disk, so that memory does not follow the size of a delivery."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="engraph-spool-")
        self._rows: dict[tuple[str, dt.date, int], list[dict]] = defaultdict(list)
        self._files: dict[tuple[str, dt.date, int], list[Path]] = defaultdict(list)
        self._held = 0

    def add(self, table: str, day: dt.date, bucket: int, row: dict) -> None:
        self._rows[table, day, bucket].append(row)
        self._held += ROW_BYTES + len(row.get("text") or row.get("payload") or b"")
        if self._held >= SPOOL_BYTES:
            self.flush()

    def flush(self) -> None:
        for key, rows in self._rows.items():
            file = (
                Path(self._folder.name)
                / f"{len(self._files)}-{key[0]}-{key[1]}-{key[2]}-{len(self._files[key])}.parquet"
            )
            schema = TABLES[key[0]].schema.append(pa.field("delivery", pa.int32()))
            pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
            self._files[key].append(file)
        self._rows.clear()
        self._held = 0

    def partitions(self, table: str) -> list[tuple[dt.date, int]]:
        return sorted((day, bucket) for (t, day, bucket) in self._files if t == table)

    def read(self, table: str, day: dt.date, bucket: int) -> pa.Table:
        return pa.concat_tables([pq.read_table(f) for f in self._files[table, day, bucket]])

    def close(self) -> None:
        self._folder.cleanup()


class Deliveries:
    """The files of this run and what became of their records."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def open(self, source: SourceFile, delivery_id: str, hash_: str, reader: str, namespace: str, day: dt.date) -> int:
        self.rows.append(
            {
                "delivery_id": delivery_id,
                "source_ref": source.source_ref,
                "reader": reader,
                "namespace": namespace,
                "content_hash": hash_,
                "rows_read": 0,
                "rows_new": 0,
                "rows_known": 0,
                "rows_quarantined": 0,
                "day": day,
            }
        )
        return len(self.rows) - 1

    def count(self, delivery: int, what: str, n: int = 1) -> None:
        self.rows[delivery][f"rows_{what}"] += n


def read_sources(run: Run, sources: Sequence[SourceFile], params: ReadParams, *, day: dt.date | None) -> int:
    """Bring `sources` in; returns how many of their records are in quarantine (now or from before)."""
    with run.timed(STAGE) as piece:
        known = _known_deliveries(run)
        spool, deliveries, refused = Spool(), Deliveries(), 0
        try:
            for i, source in enumerate(sources):
                hash_ = _hash_of(source)
                # two corpora may hold the same file under the same name: each is its own delivery
                delivery_id = fingerprint(hash_, source.source_ref, source.corpus, params.kind, params.namespace)
                if delivery_id in known:
                    refused += known[delivery_id]
                else:
                    _spool_file(run, source, delivery_id, hash_, params, day, spool, deliveries)
                run.progress(STAGE, i + 1, len(sources))
            spool.flush()
            _merge(run, spool, deliveries, piece)
        finally:
            spool.close()
        return refused + sum(d["rows_quarantined"] for d in deliveries.rows)


def _hash_of(source: SourceFile) -> str:
    """The hash of the file's bytes; that of no bytes where there are none to read, so that its reader refuses it by name."""
    try:
        return file_hash(source)
    except UsageError:
        return content_hash("")


def _known_deliveries(run: Run) -> dict[str, int]:
    table = run.lake.read("sources", run.catalogue.select("sources"), columns=["delivery_id", "rows_quarantined"])
    return dict(zip(table["delivery_id"].to_pylist(), table["rows_quarantined"].to_pylist(), strict=True))


def _spool_file(run, source, delivery_id, hash_, params, day, spool, deliveries) -> None:
    arrival = day or source.day or run.now.date()
    namespace = params.namespace or source.corpus
    number = deliveries.open(source, delivery_id, hash_, reader_name(source, params), namespace, arrival)
    for record in read_source(source, params):
        deliveries.count(number, "read")
        if isinstance(record, TurnRecord):
            table, row = "turns", _turn_row(record, arrival)
        elif isinstance(record, DocumentRecord):
            table, row = "documents", _document_row(record, arrival)
        else:
            table, row = "quarantine", quarantine_row(record, STAGE, arrival)
            deliveries.count(number, "quarantined")
        spool.add(table, arrival, bucket_of(row["namespace"], run.info.buckets), row | {"delivery": number})


def _arrival_time(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), dt.UTC)


def _turn_row(r: TurnRecord, day: dt.date) -> dict:
    return {
        "turn_id": r.turn_id,
        "namespace": r.namespace,
        "conversation_id": r.conversation_id,
        "session_id": r.session_id,
        "turn_no": r.turn_no,
        "speaker": r.speaker,
        "role": r.role,
        "said_at": r.said_at or _arrival_time(day),
        "zone": r.zone,
        "time_source": r.time_source,
        "text": r.text,
        "source_ref": r.source_ref,
        "content_hash": content_hash(r.text),
        "record_hash": record_hash("turn", r.turn_id, r.session_id, r.speaker, r.role, r.said_at, r.zone, r.text),
        "day": day,
    }


def _document_row(r: DocumentRecord, day: dt.date) -> dict:
    return {
        "document_id": r.document_id,
        "namespace": r.namespace,
        "title": r.title,
        "text": r.text,
        "media_type": r.media_type,
        "published_at": r.published_at or _arrival_time(day),
        "zone": r.zone,
        "time_source": r.time_source,
        "source_ref": r.source_ref,
        "content_hash": content_hash(r.text),
        "record_hash": record_hash("document", r.document_id, r.title, r.published_at, r.zone, r.media_type, r.text),
        "day": day,
    }


def quarantine_row(r: Refused, stage: str, day: dt.date) -> dict:
    """A refused record as a row of `quarantine`."""
    return {
        "namespace": r.namespace,
        "stage": stage,
        "source_ref": r.source_ref,
        "reason": r.reason,
        "payload": r.payload,
        "payload_hash": r.payload_hash,
        "payload_bytes": r.payload_bytes,
        "day": day,
    }


def _fresh_records(
    run: Run, table: str, staged: pa.Table, bucket: int, deliveries: Deliveries
) -> tuple[pa.Table, list[dict]]:
    """Records never seen before, and those refused because their id came earlier in this run with different content."""
    history = run.lake.read(table, run.catalogue.select(table, bucket=bucket), columns=["record_hash"])
    seen = set(history["record_hash"].to_pylist())
    by_id: dict[str, str] = {}
    keep, refused = [], []
    hashes, ids = staged["record_hash"].to_pylist(), staged[IDS[table]].to_pylist()
    for i, (hash_, id_, delivery) in enumerate(zip(hashes, ids, staged["delivery"].to_pylist(), strict=True)):
        if hash_ in seen:
            deliveries.count(delivery, "known")
        elif id_ in by_id:
            deliveries.count(delivery, "quarantined")
            refused.append(_refuse_conflict(staged.slice(i, 1).to_pylist()[0], IDS[table]))
        else:
            deliveries.count(delivery, "new")
            keep.append(i)
            by_id[id_] = hash_
            seen.add(hash_)
    return staged.take(pa.array(keep, pa.int64())).drop_columns(["delivery"]), refused


def _refuse_conflict(row: dict, id_column: str) -> dict:
    payload = row["text"].encode("utf-8", "surrogatepass")
    reason = (
        f"duplicate id {row[id_column]!r}: another file of this run has it with different content; deliver one of them"
    )
    return {
        "namespace": row["namespace"],
        "stage": STAGE,
        "source_ref": row["source_ref"],
        "reason": reason,
        "payload": payload[:65_536],
        "payload_hash": row["content_hash"],
        "payload_bytes": len(payload),
        "day": row["day"],
    }


def _merge_partition(run: Run, table: str, day: dt.date, bucket: int, fresh: pa.Table) -> None:
    """The partition with `fresh` in it: a record delivered again on its day with other content replaces the one before."""
    held = run.lake.read(table, run.catalogue.select(table, bucket=bucket, day=day))
    key = IDS[table]
    replaced = pc.is_in(held[key], fresh[key].combine_chunks())
    rows = pa.concat_tables([held.filter(pc.invert(replaced)), fresh.select(held.column_names)])
    rows = rows.sort_by([(column, "ascending") for column in SORT[table]])
    write_by_content(run, table, day, bucket, rows, identity=rows["record_hash"].to_pylist())


def write_by_content(run: Run, table: str, day: dt.date, bucket: int, rows: pa.Table, *, identity: list[str]) -> None:
    """Write a partition whose fingerprint is its content: any order of deliveries gives the same fileset."""
    fp = fingerprint(STAGE, VERSION, table, sorted(identity))
    fileset = Fileset(table, STAGE, day, bucket, fp)
    if not run.lake.complete(fileset):
        n = max(1, -(-rows.num_rows // SHARD_ROWS))
        shards = [run.lake.write_shard(fileset, i, n, rows.slice(i * SHARD_ROWS, SHARD_ROWS), {}) for i in range(n)]
        run.lake.write_manifest(fileset, shards, version=VERSION, params={}, inputs=[])
    run.catalogue.put(fileset)


def _merge(run: Run, spool: Spool, deliveries: Deliveries, piece: StageReport) -> None:
    conflicts: dict[tuple[dt.date, int], list[dict]] = defaultdict(list)
    for table in ("turns", "documents"):
        for day, bucket in spool.partitions(table):
            fresh, refused = _fresh_records(run, table, spool.read(table, day, bucket), bucket, deliveries)
            conflicts[day, bucket] += refused
            if fresh.num_rows:
                _merge_partition(run, table, day, bucket, fresh)
            piece.rows_out += fresh.num_rows
    added = sum(
        _merge_quarantine(run, spool, day, bucket, conflicts[day, bucket])
        for day, bucket in sorted(set(spool.partitions("quarantine")) | {k for k, rows in conflicts.items() if rows})
    )
    piece.rows_in = sum(d["rows_read"] for d in deliveries.rows)
    piece.skipped = not deliveries.rows
    if piece.rows_out or added:
        _record_deliveries(run, deliveries)


def _merge_quarantine(run: Run, spool: Spool, day: dt.date, bucket: int, conflicts: list[dict]) -> int:
    """Add refused records that are not there yet; returns how many."""
    key = TABLES["quarantine"].key
    parts = [TABLES["quarantine"].from_rows(_unique(conflicts, key))]
    if (day, bucket) in spool.partitions("quarantine"):
        parts.append(spool.read("quarantine", day, bucket).drop_columns(["delivery"]))
    rows = pa.concat_tables(parts).to_pylist()
    history = run.lake.read("quarantine", run.catalogue.select("quarantine", bucket=bucket), columns=list(key))
    seen = {tuple(r.values()) for r in history.to_pylist()}
    fresh = [r for r in _unique(rows, key) if tuple(r[k] for k in key) not in seen]
    if fresh:
        held = run.lake.read("quarantine", run.catalogue.select("quarantine", bucket=bucket, day=day))
        table = pa.concat_tables([held, TABLES["quarantine"].from_rows(fresh)])
        table = table.sort_by([("source_ref", "ascending"), ("payload_hash", "ascending")])
        ids = [record_hash(*pair) for pair in zip(*(table[k].to_pylist() for k in key), strict=True)]
        write_by_content(run, "quarantine", day, bucket, table, identity=ids)
    return len(fresh)


def _unique(rows: list[dict], key: tuple[str, ...]) -> list[dict]:
    return list({tuple(r[k] for k in key): r for r in rows}.values())


def _record_deliveries(run: Run, deliveries: Deliveries) -> None:
    by_day: dict[dt.date, list[dict]] = defaultdict(list)
    for row in deliveries.rows:
        by_day[row["day"]].append(row)
    for day, rows in by_day.items():
        held = run.lake.read("sources", run.catalogue.select("sources", day=day))
        table = pa.concat_tables([held, TABLES["sources"].from_rows(_unique(rows, ("delivery_id",)))])
        table = table.sort_by("delivery_id")
        write_by_content(run, "sources", day, 0, table, identity=table["delivery_id"].to_pylist())

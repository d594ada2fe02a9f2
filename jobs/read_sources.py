"""Read: files -> turns, documents, quarantine, sources.

A record is known by the hash of its content and keeps the day of its first arrival, so delivering a file again changes nothing; a
file whose bytes were delivered before is not even opened. Records are spooled to disk by (day, bucket) while files stream by, then
each partition is merged with what it holds. read = new + known + quarantined, for every file.
"""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
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
OWN_ID = re.compile(r"#(round|segment|summary|keywords|fact|section|passage|sentence|note|qa|triple)(-\d+)?$")
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
    """Deliveries that need not be opened again, with what they had refused: each the only one of its file on its newest day.

    A file that went back to older bytes is opened: its records decide.
    """
    columns = ["delivery_id", "source_ref", "namespace", "rows_quarantined", "day"]
    newest: dict[tuple[str, str], tuple[dt.date, dict[str, int]]] = {}
    for row in run.lake.read("sources", run.catalogue.select("sources"), columns=columns).to_pylist():
        file = (row["source_ref"], row["namespace"])
        day, found = newest.get(file, (row["day"], {}))
        if row["day"] > day:
            day, found = row["day"], {}
        if row["day"] == day:
            found[row["delivery_id"]] = row["rows_quarantined"]
        newest[file] = (day, found)
    return {id_: refused for _, found in newest.values() if len(found) == 1 for id_, refused in found.items()}


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
    """Records that say something new, and those refused because their id cannot be theirs."""
    held = _Held(run, table, staged, bucket)
    keep, refused = [], []
    for i, row in enumerate(staged.select(held.columns).to_pylist()):
        reason = held.refusal(row)
        if held.is_known(row):
            deliveries.count(row["delivery"], "known")
        elif reason:
            deliveries.count(row["delivery"], "quarantined")
            refused.append(_refuse(staged.slice(i, 1).to_pylist()[0], reason))
        else:
            deliveries.count(row["delivery"], "new")
            keep.append(i)
            held.add(row)
    return staged.take(pa.array(keep, pa.int64())).drop_columns(["delivery"]), refused


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
    piece.rows_quarantined = sum(d["rows_quarantined"] for d in deliveries.rows)
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
        again = pc.is_in(held["delivery_id"], pa.array([row["delivery_id"] for row in rows]))
        held = held.filter(pc.invert(again))
        table = pa.concat_tables([held, TABLES["sources"].from_rows(_unique(rows, ("delivery_id",)))])
        table = table.sort_by("delivery_id")
        write_by_content(run, "sources", day, 0, table, identity=table["delivery_id"].to_pylist())

"""Read: files -> turns, documents, quarantine, sources.

A record is known by the hash of its content and keeps the day of its first arrival, so delivering a file again changes nothing; a
file whose bytes were delivered before is not even opened. Records are spooled to disk by (day, bucket) while files stream by, then
each partition is merged with what it holds. read = new + known + quarantined, for every file.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from jobs.merge_deliveries import STAGE, merge_deliveries
from jobs.run import Run
from jobs.spool import Deliveries, Spool
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
            merge_deliveries(run, spool, deliveries, piece)
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

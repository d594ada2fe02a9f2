"""Read: files -> turns, documents, quarantine, sources, source_records.

A record is known by the hash of its content and keeps the day of its first arrival, so delivering a file again changes nothing; a
file whose bytes were delivered before is not even opened. Files are read where the engine runs; their records come together by
bucket, and each bucket is merged with what it holds. read = new + known + quarantined, for every file. What was forgotten is
refused here (`jobs.store.suppression`), without its payload.
"""

from __future__ import annotations

import argparse
import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from jobs.engines.engine import Engine, Failed, ItemFailed, Piece
from jobs.merge_deliveries import DELIVERIES, STAGE, DeliveryMerger, record_deliveries
from jobs.quarantine import PAYLOAD_BYTES
from jobs.run import Run
from jobs.store import suppression
from pipelines.readers import (
    DocumentRecord,
    ReadParams,
    Refused,
    SourceFile,
    TurnRecord,
    file_hash,
    find_sources,
    open_source,
    read_source,
    reader_name,
)
from schemas.errors import EngraphError, UsageError
from schemas.fingerprint import fingerprint
from schemas.ids import bucket_of, content_hash, record_hash
from schemas.settings import Settings
from schemas.tables import TABLES

HELD_BYTES = 16_000_000
ROW_BYTES = 1_000  # what a record weighs besides its text
ORDER = [pa.field("delivery", pa.int32()), pa.field("record", pa.int64()), pa.field("delivery_id", pa.string())]
Numbered = tuple[int, SourceFile]


def read_sources(
    run: Run, sources: Sequence[SourceFile], params: ReadParams, *, day: dt.date | None, again: bool = False
) -> int:
    """Bring `sources` in; returns how many of their records are in quarantine (now or from before).

    `again`: open files too whose bytes were delivered before, to look at their records once more.
    """
    engine = run.engine(STAGE)
    with run.timed(STAGE, day=day, on=engine.name) as piece:
        known = {} if again else known_deliveries(run)
        forgotten = suppression.load(run.lake)
        reader = FileReader(params, day, run.now.date(), run.info.buckets, frozenset(known), forgotten=forgotten)
        merged = _merged(run, engine, reader, list(enumerate(sources)))
        counts: dict[int, Counter[str]] = defaultdict(Counter)
        rows: list[dict] = []
        for part in merged:
            rows += part.deliveries
            piece.rows_out += part.written
            for delivery, found in part.counts.items():
                counts[delivery].update(found)
            for fileset in part.filesets:
                run.catalogue.put(fileset)
        refused = sum(known[r["delivery_id"]] for r in rows if r["delivery_id"] in known)
        fresh = [_counted(r, counts[r["delivery"]]) for r in rows if r["delivery_id"] not in known]
        piece.rows_in = sum(r["rows_read"] for r in fresh)
        piece.rows_quarantined = sum(r["rows_quarantined"] for r in fresh)
        piece.skipped = not fresh
        if any(part.filesets for part in merged):
            record_deliveries(run, fresh)
        return refused + piece.rows_quarantined


def _merged(run: Run, engine: Engine, reader: FileReader, files: list[Numbered]) -> list:
    """Every bucket's outcome. A file that breaks its reader, or kills the process that reads it, is found and refused whole."""

    def progress(done: int) -> None:
        run.progress(STAGE, done, len(files))

    merger = DeliveryMerger(run)
    try:
        return list(engine.group(reader, files, merger, progress))
    except ItemFailed as failure:
        broken = {n: r.error for n, r in engine.map(_ReadThrough(reader), files) if isinstance(r, Failed)}
        if not broken:
            raise EngraphError(
                f"reading broke off and no single file is to blame: {failure}; run it again"
            ) from failure
        return list(engine.group(replace(reader, broken=broken), files, merger, progress))


def _counted(row: dict, found: Counter[str]) -> dict:
    row = {k: v for k, v in row.items() if k in TABLES["sources"].schema.names}
    row["rows_new"], row["rows_known"] = found["new"], found["known"]
    row["rows_quarantined"] += found["quarantined"]
    return row


def known_deliveries(run: Run) -> dict[str, int]:
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


@dataclass(frozen=True)
class FileReader:
    """Reads one file into rows by bucket; what becomes of the file itself comes under the key `DELIVERIES`."""

    params: ReadParams
    day: dt.date | None
    today: dt.date
    buckets: int
    known: frozenset[str]
    broken: dict[int, str] = field(default_factory=dict)
    forgotten: suppression.Suppressed = field(default_factory=suppression.Suppressed)

    def __call__(self, numbered: Numbered) -> Iterator[Piece]:
        number, source = numbered
        hash_ = _hash_of(source)
        # two corpora may hold the same file under the same name: each is its own delivery
        id_ = fingerprint(hash_, source.source_ref, source.corpus, self.params.kind, self.params.namespace)
        hidden = self.forgotten.hidden(id_)  # what a file is called of which nothing may be kept
        id_ = hidden if hidden in self.known else id_
        delivery = self._delivery(source, id_, hash_) | {"delivery": number, "record": 0}
        if id_ not in self.known:
            suppressed = yield from self._records(number, source, delivery, hash_)
            if suppressed and suppressed == delivery["rows_read"]:
                delivery |= self.forgotten.delivery(delivery)
            elif self.forgotten.since("namespace", delivery["namespace"]):
                delivery["namespace"] = suppression.FORGOTTEN  # its records have namespaces of their own
        yield DELIVERIES, "sources", _table("sources", [delivery])

    def _delivery(self, source: SourceFile, id_: str, hash_: str) -> dict:
        return {
            "delivery_id": id_,
            "source_ref": source.source_ref,
            "reader": reader_name(source, self.params) if id_ not in self.known else "",
            "namespace": self.params.namespace or source.corpus,
            "content_hash": hash_,
            "rows_read": 0,
            "rows_new": 0,
            "rows_known": 0,
            "rows_quarantined": 0,
            "day": self.day or source.day or self.today,
        }

    def _records(self, number: int, source: SourceFile, delivery: dict, hash_: str) -> Generator[Piece, None, int]:
        """The file's records as rows; returns how many of them were forgotten."""
        rows: dict[tuple[int, str], list[dict]] = defaultdict(list)
        held, suppressed = 0, 0
        since = self.forgotten.source(delivery, hash_)
        records = (
            read_source(source, self.params)
            if number not in self.broken
            else [self._refusal(numbered=(number, source), hash_=hash_)]
        )
        for record in records:
            table, row = _row(record, delivery["day"])
            if on := since or self.forgotten.record(row):
                table, row = "quarantine", quarantine_row(self.forgotten.refusal(row, on), STAGE, delivery["day"])
                suppressed += 1
            row |= {"delivery": number, "record": delivery["rows_read"], "delivery_id": delivery["delivery_id"]}
            delivery["rows_read"] += 1
            delivery["rows_quarantined"] += table == "quarantine"
            rows[bucket_of(row["namespace"], self.buckets), f"{table}/{delivery['day']}"].append(row)
            held += ROW_BYTES + len(row.get("text") or row.get("payload") or b"")
            if held >= HELD_BYTES:
                yield from _pieces(rows)
                held = 0
        yield from _pieces(rows)
        return suppressed

    def _refusal(self, numbered: Numbered, hash_: str) -> Refused:
        number, source = numbered
        with open_source(source) as stream:
            payload = stream.read(PAYLOAD_BYTES)
            size = len(payload) + sum(map(len, iter(lambda: stream.read(1 << 20), b"")))
        return Refused(
            namespace=self.params.namespace or source.corpus,
            source_ref=source.source_ref,
            reason=f"reading it breaks the reader: {self.broken[number]}; convert the file, or leave it out",
            payload=payload,
            payload_hash=hash_,
            payload_bytes=size,
        )


@dataclass(frozen=True)
class _ReadThrough:
    """Reads a file and keeps nothing, to see whether it can be read."""

    reader: FileReader

    def __call__(self, numbered: Numbered) -> None:
        for _ in self.reader(numbered):
            pass


def _pieces(rows: dict[tuple[int, str], list[dict]]) -> Iterator[Piece]:
    for (bucket, kind), found in rows.items():
        yield bucket, kind, _table(kind.partition("/")[0], found)
    rows.clear()


def _table(name: str, rows: list[dict]) -> pa.Table:
    schema = TABLES[name].schema
    for column in ORDER:
        schema = schema if column.name in schema.names else schema.append(column)
    return pa.Table.from_pylist(rows, schema=schema)


def _hash_of(source: SourceFile) -> str:
    """The hash of the file's bytes; that of no bytes where there are none to read, so that its reader refuses it by name."""
    try:
        return file_hash(source)
    except UsageError:
        return content_hash("")


def _row(record: TurnRecord | DocumentRecord | Refused, day: dt.date) -> tuple[str, dict]:
    if isinstance(record, TurnRecord):
        return "turns", _turn_row(record, day)
    if isinstance(record, DocumentRecord):
        return "documents", _document_row(record, day)
    return "quarantine", quarantine_row(record, STAGE, day)


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Read files alone: `python -m jobs.read_sources SOURCE... --store DIR`."""
    from jobs import alone

    parser = alone.parser_of("Read files into turns, documents, quarantine and sources; publish nothing.")
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="files, folders, globs or URLs")
    parser.add_argument("--kind", choices=("auto", "conversation", "document"), default="auto", help="what they hold")
    parser.add_argument("--namespace", help="of everything read; default from the source")
    parser.add_argument("--day", type=dt.date.fromisoformat, help="day of arrival of new records; default today (UTC)")

    def work(run: Run, given: argparse.Namespace, settings: Settings) -> dict:
        params = ReadParams(kind=given.kind, namespace=given.namespace)
        return {"quarantined": read_sources(run, find_sources(given.sources), params, day=given.day)}

    return alone.report(STAGE, parser.parse_args(arguments), work)


if __name__ == "__main__":
    raise SystemExit(main())

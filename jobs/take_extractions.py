"""Take: files of extractions that others made -> given_extractions, each row at the session or document it was made from.

Part of reading, after the sources of the same ingest are in the draft. Every bucket is asked, where the engine runs, which of the
sources that a file names it has; what none has, or several namespaces have, goes to quarantine. A row lies on the day on which
the last of what it was made from arrived, so `extract` meets it when it works on that day, and a later backfill needs no file.
A file delivered again under its name with other content replaces what it gave before for the same sessions and documents.
read = new + known + quarantined, for every file. What was forgotten is refused, without its payload.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from jobs.engines.engine import Failed
from jobs.find_sources_of import Found, SourceFinder, Wanted, passage_key, placed
from jobs.given_extractions import TABLE, identity_of_given
from jobs.merge_deliveries import (
    REFUSED,
    STAGE,
    brought_by,
    merge_lineage,
    merge_quarantine,
    record_deliveries,
    refusal_ids,
    write_by_content,
)
from jobs.quarantine import PAYLOAD_BYTES
from jobs.read_sources import known_deliveries, quarantine_row
from jobs.run import Run
from jobs.store import suppression
from pipelines.extraction.given_files import Given, Refusal, form_of, read_given
from pipelines.readers import Refused
from pipelines.readers.sources import SourceFile, file_hash
from schemas.errors import EngraphError
from schemas.fingerprint import fingerprint
from schemas.ids import bucket_of, content_hash, record_hash
from schemas.tables import TABLES

SUFFIX = "#extractions"  # a file may be a source and give extractions: two deliveries


def take_extractions(
    run: Run, files: Sequence[Path], *, namespace: str | None = None, day: dt.date | None = None
) -> int:
    """Bring files of extractions in; returns how many of their records are in quarantine (now or from before).

    Raises:
        UsageError: a file is missing or in none of the forms.
    """
    forms = {file: form_of(file) for file in files}
    refused = 0
    for file, form in forms.items():
        with run.timed(STAGE, day=day, on=run.engine(STAGE).name) as piece:
            delivery = _delivery(file, form, namespace, day or run.now.date())
            known = known_deliveries(run).get(delivery["delivery_id"])
            piece.skipped = known == 0  # what found no source before may find it now
            if piece.skipped:
                continue
            _Taking(run, delivery, suppression.load(run.lake)).take(file, namespace)
            piece.rows_in, piece.rows_out = delivery["rows_read"], delivery["rows_new"]
            piece.rows_quarantined = delivery["rows_quarantined"]
            piece.skipped = known is not None and not delivery["rows_new"]
            refused += delivery["rows_quarantined"]
    return refused


def _delivery(file: Path, form: str, namespace: str | None, day: dt.date) -> dict:
    hash_ = file_hash(SourceFile(str(file), file.name, file.stem, None))
    ref = f"{file.name}{SUFFIX}"
    return {
        "delivery_id": fingerprint(hash_, ref, "extractions", namespace),
        "source_ref": ref,
        "reader": f"extractions:{form}",
        "namespace": namespace or file.stem,
        "content_hash": hash_,
        "rows_read": 0,
        "rows_new": 0,
        "rows_known": 0,
        "rows_quarantined": 0,
        "day": day,
    }


class _Taking:
    """One file on its way in."""

    def __init__(self, run: Run, delivery: dict, forgotten: suppression.Suppressed) -> None:
        self.run, self.delivery, self.forgotten = run, delivery, forgotten
        self.refusals: list[dict] = []

    def take(self, file: Path, namespace: str | None) -> None:
        since = self.forgotten.source(self.delivery, self.delivery["content_hash"])
        rows: dict[str, dict] = {}
        for item, found in self._located(list(read_given(file, namespace))):
            self.delivery["rows_read"] += 1
            own = item.namespace or self.delivery["namespace"]
            if on := since or self.forgotten.since("namespace", own):
                self._refuse_forgotten(item, own, on)
            elif isinstance(item, Refusal):
                self._refuse(item.place, own, item.reason, item.payload)
            elif isinstance(found, str):
                # of a store that forgot something, what has no source any more may tell of it
                self._refuse(item.place, own, found, "" if self.forgotten.hashes else item.text)
            elif found is not None:
                row = self._row(item, found)
                self.delivery["rows_known"] += row["extraction_id"] in rows
                rows.setdefault(row["extraction_id"], row)
        self._merge(list(rows.values()))
        self._quarantine()
        if since:
            self.delivery |= self.forgotten.delivery(self.delivery)
        record_deliveries(self.run, [self.delivery])

    def _located(self, items: list[Given | Refusal]) -> Iterator[tuple[Given | Refusal, Found | str | None]]:
        """Every item with its source, or why it has none."""
        wanted = Wanted.of(item for item in items if isinstance(item, Given))
        finder = SourceFinder(self.run, wanted)
        found: dict[str, list[Found]] = defaultdict(list)
        for _, part in self.run.engine(STAGE).map(finder, range(self.run.info.buckets)):
            if isinstance(part, Failed):
                raise EngraphError(f"sources of {self.delivery['source_ref']} cannot be looked up: {part.error}")
            for ref, places in part.items():
                found[ref] += places
        for item in items:
            if isinstance(item, Refusal):
                yield item, None
            else:
                keys = [passage_key(item.passage)] if item.passage else list(item.refs)
                yield item, placed(item, [place for key in keys for place in found.get(key, [])])

    def _row(self, item: Given, found: Found) -> dict:
        what = (
            item.granularity,
            item.text,
            item.subject,
            item.predicate,
            item.object,
            item.start,
            item.end,
            item.event_time,
        )
        id_ = record_hash(
            found.namespace, found.group_id, *what, item.trust, item.made_by, found.made_from, *found.refs
        )
        return {
            "extraction_id": id_,
            "namespace": found.namespace,
            "group_id": found.group_id,
            "granularity": item.granularity,
            "text": item.text,
            "subject": item.subject,
            "predicate": item.predicate,
            "object": item.object,
            "refs": list(found.refs),
            "start": item.start,
            "end": item.end,
            "made_from": found.made_from,
            "event_time": item.event_time,
            "zone": item.zone,
            "trust": item.trust,
            "extractor": f"import:{item.made_by}@{self.delivery['content_hash'][:8]}",
            "source_ref": self.delivery["source_ref"],
            "day": found.day,
        }

    def _merge(self, rows: list[dict]) -> None:
        by_bucket: dict[int, list[dict]] = defaultdict(list)
        for row in rows:
            by_bucket[bucket_of(row["namespace"], self.run.info.buckets)].append(row)
        for bucket, mine in sorted(by_bucket.items()):
            self._merge_bucket(bucket, mine)

    def _merge_bucket(self, bucket: int, rows: list[dict]) -> None:
        """Partitions with what is new in them, and without what this file gave before and gives no more."""
        held = {f.day: self.run.lake.read(TABLE, [f]) for f in self.run.catalogue.select(TABLE, bucket=bucket)}
        known = {id_ for table in held.values() for id_ in table["extraction_id"].to_pylist()}
        fresh = [row for row in rows if row["extraction_id"] not in known]
        self.delivery["rows_new"] += len(fresh)
        self.delivery["rows_known"] += len(rows) - len(fresh)
        kept_ids = {row["extraction_id"] for row in rows}
        said = {(row["group_id"], row["granularity"]) for row in rows}
        for day in sorted({*held, *(row["day"] for row in fresh)}):
            before = held.get(day, TABLES[TABLE].empty())
            stays = [
                r["extraction_id"] in kept_ids
                or r["source_ref"] != self.delivery["source_ref"]
                or (r["group_id"], r["granularity"]) not in said
                for r in before.select(["extraction_id", "source_ref", "group_id", "granularity"]).to_pylist()
            ]
            today = [row for row in fresh if row["day"] == day]
            if today or not all(stays):
                table = before.filter(pa.array(stays, pa.bool_()))
                table = pa.concat_tables([table, TABLES[TABLE].from_rows(today)])
                self._write(day, bucket, table, today)

    def _write(self, day: dt.date, bucket: int, table: pa.Table, fresh: list[dict]) -> None:
        if not table.num_rows:
            self.run.catalogue.drop(TABLE, STAGE, day, bucket)
            return
        table = table.sort_by([("group_id", "ascending"), ("extraction_id", "ascending")])
        write_by_content(self.run, TABLE, day, bucket, table, identity=identity_of_given(table))
        self._lineage(TABLE, pa.Table.from_pylist(fresh), [row["extraction_id"] for row in fresh], day, bucket)

    def _lineage(self, kind: str, rows: pa.Table, ids: list[str], day: dt.date, bucket: int) -> None:
        if rows.num_rows:
            delivery = pa.array([self.delivery["delivery_id"]] * rows.num_rows)
            merge_lineage(self.run, brought_by(kind, _with(rows, "delivery_id", delivery), ids), day, bucket)

    def _refuse(self, place: str, namespace: str, reason: str, text: str) -> None:
        payload = text.encode("utf-8", "surrogatepass")
        ref = f"{self.delivery['source_ref']}/{place}"
        refused = Refused(namespace, ref, reason, payload[:PAYLOAD_BYTES], content_hash(text), len(payload))
        self._keep(refused)

    def _refuse_forgotten(self, item: Given | Refusal, namespace: str, on: str) -> None:
        row = {"source_ref": f"{self.delivery['source_ref']}/{item.place}", "record_hash": content_hash(item.place)}
        self._keep(self.forgotten.refusal(row, on))

    def _keep(self, refused: Refused) -> None:
        self.delivery["rows_quarantined"] += 1
        self.refusals.append(quarantine_row(refused, STAGE, self.delivery["day"]))

    def _quarantine(self) -> None:
        by_bucket: dict[int, list[dict]] = defaultdict(list)
        for row in self.refusals:
            by_bucket[bucket_of(row["namespace"], self.run.info.buckets)].append(row)
        day = self.delivery["day"]
        for bucket, rows in sorted(by_bucket.items()):
            own = {"delivery_id": self.delivery["delivery_id"]}
            table = pa.Table.from_pylist([row | own for row in rows], schema=REFUSED)
            merge_quarantine(self.run, table, day, bucket)
            self._lineage("quarantine", table.drop_columns(["delivery_id"]), refusal_ids(table), day, bucket)


def _with(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    rows = rows.drop_columns([name]) if name in rows.column_names else rows
    return rows.append_column(name, values)

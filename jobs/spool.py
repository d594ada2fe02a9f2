"""What a delivery holds while its files stream by: records by partition on local disk, and what became of each file's records."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.readers import SourceFile
from schemas.tables import TABLES

SPOOL_BYTES = 64_000_000
ROW_BYTES = 1_000  # what a record weighs besides its text


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

"""Ledger: one day of one corpus as one run took it in."""

import pyarrow as pa

from schemas.table import TIME, TableSchema, column

FILES = pa.list_(
    pa.struct([pa.field("source_ref", pa.string()), pa.field("bytes", pa.int64()), pa.field("version", pa.string())])
)

TABLE = TableSchema(
    name="corpus_days",
    row="one day of one corpus as one run took it in",
    columns=pa.schema(
        [
            column("run_id", pa.string(), "the run, as in `runs`"),
            column("flow_run", pa.string(), "address of the Prefect flow run", nullable=True),
            column("corpus", pa.string(), "name in [corpora]"),
            column("day", pa.date32(), "day of arrival"),
            column("status", pa.string(), "done, failed or cancelled"),
            column("error", pa.string(), "one line, where it is not done", nullable=True),
            column("reason", pa.string(), "why somebody started the run", nullable=True),
            column("files", FILES, "files of the source then: bytes, and the time or tag of their last change"),
            column("rows_quarantined", pa.int64(), "records refused"),
            column("snapshot", pa.int64(), "the snapshot that holds it", nullable=True),
            column("seconds", pa.float64(), "wall time"),
            column("started_at", TIME, "start (UTC)"),
        ]
    ),
    key=(),
    ledger=True,
)

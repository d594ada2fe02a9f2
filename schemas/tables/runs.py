"""Ledger: one stage on one partition in one run."""

import pyarrow as pa

from schemas.table import TIME, TableSchema, column

TABLE = TableSchema(
    name="runs",
    row="one stage on one partition in one run",
    columns=pa.schema(
        [
            column("run_id", pa.string(), "one ingest, backfill or other writing command"),
            column("stage", pa.string(), "stage name"),
            column("day", pa.date32(), "partition day", nullable=True),
            column("bucket", pa.int32(), "partition bucket, -1 where the stage has none"),
            column("fingerprint", pa.string(), "fingerprint of the output"),
            column("engine", pa.string(), "what ran it"),
            column("status", pa.string(), "done, skipped, failed or published"),
            column("rows_in", pa.int64(), "rows the stage worked on"),
            column("rows_out", pa.int64(), "rows it wrote"),
            column("rows_quarantined", pa.int64(), "rows it refused"),
            column("seconds", pa.float64(), "wall time"),
            column("tokens_in", pa.int64(), "LLM tokens read"),
            column("tokens_out", pa.int64(), "LLM tokens written"),
            column("usd", pa.float64(), "what the endpoint charged"),
            column("started_at", TIME, "start (UTC)"),
            column("error", pa.string(), "one line, where it failed", nullable=True),
        ]
    ),
    key=(),
    ledger=True,
)

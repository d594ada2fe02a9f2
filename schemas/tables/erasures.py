"""Ledger: one receipt, what was forgotten and what that removed. It tells no names: `subject` is a keyed hash."""

import pyarrow as pa

from schemas.table import TIME, TableSchema, column, one_of

REMOVED = pa.list_(pa.struct([pa.field("table", pa.string()), pa.field("rows", pa.int64())]))

TABLE = TableSchema(
    name="erasures",
    row="one receipt of something forgotten",
    columns=pa.schema(
        [
            column("subject", pa.string(), "keyed hash of what was forgotten (key: suppression/key in the store)"),
            column("what", pa.string(), "namespace or source"),
            column("snapshot", pa.int64(), "the first snapshot without it"),
            column(
                "removed", REMOVED, "rows that this snapshot's files no longer hold, by table, every version counted"
            ),
            column("reason", pa.string(), "why, as somebody gave it", nullable=True),
            column("run_id", pa.string(), "the run, as in `runs`"),
            column("at", TIME, "when (the run's clock)"),
        ]
    ),
    key=(),
    checks=(one_of("what", ("namespace", "source")),),
    ledger=True,
)

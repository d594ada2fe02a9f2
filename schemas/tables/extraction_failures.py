"""Ledger: one unit whose LLM extraction failed and will be retried."""

import pyarrow as pa

from schemas.table import TIME, TableSchema, column

TABLE = TableSchema(
    name="extraction_failures",
    row="one failed extraction",
    columns=pa.schema(
        [
            column("unit_id", pa.string(), "the unit"),
            column("prompt", pa.string(), "prompt name@version"),
            column("error", pa.string(), "one line"),
            column("attempts", pa.int32(), "how often it was tried"),
            column("at", TIME, "last attempt (UTC)"),
        ]
    ),
    key=(),
    ledger=True,
)

"""One change of memory, in an append-only log that can be replayed."""

import pyarrow as pa

from schemas.table import TIME, TableSchema, column, one_of

TABLE = TableSchema(
    name="operations",
    row="one change of memory",
    columns=pa.schema(
        [
            column("operation_id", pa.string(), "hash of what changed and when"),
            column("operation", pa.string(), "ADD, UPDATE, MERGE, SUPERSEDE, ARCHIVE, ERASE, QUARANTINE"),
            column("unit_id", pa.string(), "the unit"),
            column("version", pa.int32(), "the version that the operation ended (SUPERSEDE, ARCHIVE) or made"),
            column("reason", pa.string(), "why"),
            column("policy", pa.string(), "rule@version that decided"),
            column("at", TIME, "when (the run's clock)"),
            column("namespace", pa.string(), "user, agent, tenant or corpus the row belongs to"),
            column("day", pa.date32(), "day of first arrival"),
        ]
    ),
    key=("operation_id",),
    checks=(one_of("operation", ("ADD", "UPDATE", "MERGE", "SUPERSEDE", "ARCHIVE", "ERASE", "QUARANTINE")),),
)

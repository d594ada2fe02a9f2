"""One delivered file: read = new + known + quarantined."""

import pyarrow as pa

from schemas.table import TableSchema, column, read_is_accounted_for

TABLE = TableSchema(
    name="sources",
    row="one delivered file",
    columns=pa.schema(
        [
            column("delivery_id", pa.string(), "hash of the file's bytes, its name and how it was read"),
            column("source_ref", pa.string(), "path relative to the source that was given"),
            column("reader", pa.string(), "the reader its content chose, or none"),
            column("namespace", pa.string(), "user, agent, tenant or corpus the row belongs to"),
            column("content_hash", pa.string(), "128-bit hash of the file's bytes"),
            column("rows_read", pa.int64(), "records found"),
            column("rows_new", pa.int64(), "records written"),
            column("rows_known", pa.int64(), "records that were there already"),
            column("rows_quarantined", pa.int64(), "records refused"),
            column("day", pa.date32(), "day of first arrival"),
        ]
    ),
    key=("delivery_id", "day"),
    checks=(read_is_accounted_for,),
)

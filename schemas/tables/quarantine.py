"""One refused record: nothing that was read is lost."""

import pyarrow as pa

from schemas.table import TableSchema, column

TABLE = TableSchema(
    name="quarantine",
    row="one refused record",
    columns=pa.schema(
        [
            column("namespace", pa.string(), "namespace it was meant for, as far as known"),
            column("stage", pa.string(), "stage that refused it"),
            column("source_ref", pa.string(), "file, and line or record number"),
            column("reason", pa.string(), "what is wrong and what to do"),
            column("payload", pa.binary(), "the first 64 KiB of the record"),
            column("payload_hash", pa.string(), "128-bit hash of the whole record"),
            column("payload_bytes", pa.int64(), "size of the whole record"),
            column("day", pa.date32(), "day of first arrival"),
        ]
    ),
    key=("stage", "source_ref", "payload_hash"),
)

"""One record and the file that brought it: what `forget source` goes by."""

import pyarrow as pa

from schemas.table import TableSchema, column, one_of

TABLE = TableSchema(
    name="source_records",
    row="one record and the file that brought it",
    columns=pa.schema(
        [
            column("delivery_id", pa.string(), "the file, as in `sources`"),
            column(
                "kind",
                pa.string(),
                "turns, documents, given_extractions or quarantine: the table that holds the record",
            ),
            column(
                "record_id", pa.string(), "turn_id, document_id, extraction_id, or the hash of a refused record's key"
            ),
            column("namespace", pa.string(), "user, agent, tenant or corpus the row belongs to"),
            column("day", pa.date32(), "day of first arrival"),
        ]
    ),
    key=("delivery_id", "kind", "record_id"),
    checks=(one_of("kind", ("turns", "documents", "given_extractions", "quarantine")),),
)

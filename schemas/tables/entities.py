"""One resolved entity of a namespace, as of the last day that mentioned it."""

import pyarrow as pa

from schemas.table import TableSchema, column, hex_hash

TABLE = TableSchema(
    name="entities",
    row="one resolved entity",
    columns=pa.schema(
        [
            column("entity_id", pa.string(), "readable id: <namespace>/entity:<normal form>"),
            column("namespace", pa.string(), "user, agent, tenant or corpus the row belongs to"),
            column("name", pa.string(), "the most frequent surface form"),
            column("kind", pa.string(), "person, place, organisation, date, quantity, term or name"),
            column("aliases", pa.list_(pa.string()), "other surface forms, sorted"),
            column("df", pa.int32(), "number of leaf units that mention it"),
            column("content_hash", pa.string(), "128-bit hash of name, joins embeddings"),
            column("day", pa.date32(), "day of first arrival"),
        ]
    ),
    key=("entity_id",),
    checks=(hex_hash("content_hash"),),
)

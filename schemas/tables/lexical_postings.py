"""One term in one unit."""

import pyarrow as pa

from schemas.table import TableSchema, column

TABLE = TableSchema(
    name="lexical_postings",
    row="one term in one unit",
    columns=pa.schema(
        [
            column("term", pa.string(), "stem"),
            column("unit_id", pa.string(), "the unit"),
            column("tf", pa.int32(), "occurrences"),
            column("length", pa.int32(), "terms in the unit"),
            column("namespace", pa.string(), "user, agent, tenant or corpus the row belongs to"),
            column("granularity", pa.string(), "granularity of the unit"),
        ]
    ),
    key=("term", "unit_id"),
)

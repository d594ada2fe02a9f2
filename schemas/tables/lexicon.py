"""The stem that a surface form is indexed under."""

import pyarrow as pa

from schemas.table import TableSchema, column

TABLE = TableSchema(
    name="lexicon",
    row="one surface form and its stem",
    columns=pa.schema(
        [
            column(
                "surface", pa.string(), "lower-case word as written in a unit, or a common word with the stem of one"
            ),
            column("stem", pa.string(), "what it is indexed under"),
        ]
    ),
    key=("surface",),
)

"""One subject-predicate-object fact with its validity and its unit."""

import pyarrow as pa

from schemas.table import TIME, TableSchema, column

TABLE = TableSchema(
    name="triples",
    row="one subject-predicate-object fact",
    columns=pa.schema(
        [
            column("triple_id", pa.string(), "<unit_id>#triple-n"),
            column("namespace", pa.string(), "user, agent, tenant or corpus the row belongs to"),
            column("subject_id", pa.string(), "entity_id"),
            column("predicate", pa.string(), "the words between, or related to"),
            column("object_id", pa.string(), "entity_id"),
            column("unit_id", pa.string(), "the unit that says so"),
            column("unit_version", pa.int32(), "version of the unit that says so"),
            column("event_time", TIME, "when it was said or happened (UTC)"),
            column("valid_to", TIME, "when it stopped being true", nullable=True),
            column("extractor", pa.string(), "name@version"),
            column("day", pa.date32(), "day of first arrival"),
        ]
    ),
    key=("triple_id",),
)

"""One entity mentioned in one unit."""

import pyarrow as pa

from schemas.table import TableSchema, column

TABLE = TableSchema(
    name="mentions",
    row="one mention of an entity in a unit",
    columns=pa.schema(
        [
            column("unit_id", pa.string(), "the unit that mentions"),
            column("entity_id", pa.string(), "the entity mentioned"),
            column("count", pa.int32(), "how often"),
            column("surface", pa.string(), "as written, the most frequent form in the unit"),
            column("kind", pa.string(), "person, place, organisation, date, quantity, term or name"),
            column("unit_version", pa.int32(), "version of the unit that mentions"),
            column("namespace", pa.string(), "user, agent, tenant or corpus the row belongs to"),
            column("day", pa.date32(), "day of first arrival"),
        ]
    ),
    key=("unit_id", "entity_id"),
)

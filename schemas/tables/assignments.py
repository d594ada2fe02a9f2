"""One unit's membership in one cluster of one level."""

import pyarrow as pa

from schemas.table import TableSchema, column

TABLE = TableSchema(
    name="assignments",
    row="one membership of a unit in a cluster",
    columns=pa.schema(
        [
            column("unit_id", pa.string(), "the member"),
            column("cluster_id", pa.string(), "the cluster"),
            column("level", pa.int32(), "level of the cluster"),
            column("namespace", pa.string(), "user, agent, tenant or corpus the row belongs to"),
            column("day", pa.date32(), "day of first arrival"),
        ]
    ),
    key=("unit_id", "level"),
)

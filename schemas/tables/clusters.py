"""One cluster of embeddings with its level, parent and label."""

import pyarrow as pa

from schemas.table import TableSchema, column

TABLE = TableSchema(
    name="clusters",
    row="one cluster",
    columns=pa.schema(
        [
            column("cluster_id", pa.string(), "readable id"),
            column("namespace", pa.string(), "user, agent, tenant or corpus the row belongs to"),
            column("level", pa.int32(), "0 is the finest"),
            column("parent_id", pa.string(), "cluster one level up", nullable=True),
            column("size", pa.int64(), "members"),
            column("label", pa.string(), "what its members have in common"),
            column("day", pa.date32(), "day of first arrival"),
        ]
    ),
    key=("cluster_id",),
)

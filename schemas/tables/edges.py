"""One typed, weighted link between two nodes (units or entities), made when the later one arrived."""

import pyarrow as pa

from schemas.table import TableSchema, column, one_of

RELATIONS = ("part_of", "next", "mentions", "similar", "synonym", "derived_from", "near_duplicate")

TABLE = TableSchema(
    name="edges",
    row="one typed, weighted link",
    columns=pa.schema(
        [
            column("source", pa.string(), "unit_id or entity_id; for next the earlier turn"),
            column("target", pa.string(), "unit_id or entity_id"),
            column("relation", pa.string(), ", ".join(RELATIONS)),
            column(
                "weight",
                pa.float32(),
                "strength: 1 for structure, cosine for similar and synonym, Jaccard for near_duplicate",
            ),
            column("namespace", pa.string(), "user, agent, tenant or corpus the row belongs to"),
            column("created_by", pa.string(), "stage@version"),
            column("owner", pa.string(), "the unit or entity whose arrival made the edge"),
            column("owner_version", pa.int32(), "the version of the owner it was made from"),
            column("day", pa.date32(), "day of first arrival"),
        ]
    ),
    key=("source", "target", "relation"),
    checks=(one_of("relation", RELATIONS),),
)

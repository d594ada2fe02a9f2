"""One dense and lexical index shard: what it holds and how to check it."""

import pyarrow as pa

from schemas.table import TableSchema, column, one_of

TABLE = TableSchema(
    name="index_shards",
    row="one index shard",
    columns=pa.schema(
        [
            column("shard_id", pa.string(), "<fingerprint>/shard-<bucket>"),
            column("kind", pa.string(), "recall"),
            column("bucket", pa.int32(), "bucket of the namespaces it holds"),
            column("fingerprint", pa.string(), "hash of what it was built from"),
            column("encoder", pa.string(), "encoder of its vectors"),
            column("units", pa.int64(), "rows"),
            column("bytes", pa.int64(), "bytes on disk"),
            column("parameters", pa.string(), "JSON"),
            column("checksums", pa.string(), "JSON: file -> 128-bit hash"),
        ]
    ),
    key=("shard_id",),
    checks=(one_of("kind", ("recall",)),),
)

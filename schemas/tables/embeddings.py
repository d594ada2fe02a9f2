"""One vector of one distinct text under one encoder."""

import pyarrow as pa

from schemas.table import TableSchema, column, hex_hash

TABLE = TableSchema(
    name="embeddings",
    row="one vector of one distinct text under one encoder",
    columns=pa.schema(
        [
            column("content_hash", pa.string(), "128-bit hash of the text"),
            column("encoder", pa.string(), "model@precision"),
            column("vector", pa.list_(pa.float32(), 1), "unit-norm vector; its length is the encoder's"),
            column("n_tokens", pa.int32(), "length of the text in the encoder's tokens"),
            column(
                "n_windows",
                pa.int16(),
                "1, or the number of windows a longer text was split into; the vector is their weighted mean",
            ),
        ]
    ),
    key=("content_hash", "encoder"),
    checks=(hex_hash("content_hash"),),
)

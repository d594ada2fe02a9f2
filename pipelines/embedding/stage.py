"""The stage `embed`: a table of distinct texts to the table `embeddings`, row for row."""

from __future__ import annotations

import pyarrow as pa

from pipelines.embedding.encoder import Encoder
from schemas.tables import TABLES


def embed_texts(texts: pa.Table, *, encoder: Encoder) -> pa.Table:
    """`[content_hash, text]` -> `embeddings` in the same order, vectors as fixed_size_list<float32, encoder.dim>.

    Raises `SchemaMismatch` for repeated hashes, ValueError for an empty text (see `Encoder.encode`).
    """
    encoded = encoder.encode(texts["text"].to_pylist())
    columns = {
        "content_hash": texts["content_hash"].combine_chunks(),
        "encoder": pa.array([encoder.id.name] * texts.num_rows, pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(encoded.vectors.ravel(), pa.float32()), encoder.dim),
        "n_tokens": pa.array(encoded.n_tokens, pa.int32()),
        "n_windows": pa.array(encoded.n_windows, pa.int16()),
    }
    return TABLES["embeddings"].validate(pa.table(columns))

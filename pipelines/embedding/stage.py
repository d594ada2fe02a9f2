"""The stage `embed`: a table of distinct texts to the table `embeddings`, row for row."""

from __future__ import annotations

import pyarrow as pa

from pipelines.embedding.encoder import Encoder
from pipelines.embedding.stream import embeddings_of


def embed_texts(texts: pa.Table, *, encoder: Encoder) -> pa.Table:
    """`[content_hash, text]` -> `embeddings` in the same order, vectors as fixed_size_list<float32, encoder.dim>.

    Raises `SchemaMismatch` for repeated hashes, ValueError for an empty text (see `Encoder.encode`).
    """
    return embeddings_of(texts, encoder.encode(texts["text"].to_pylist()), encoder)

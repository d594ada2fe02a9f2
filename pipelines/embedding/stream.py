"""The stage `embed` over many shards: table after table, so that a card is given the next shard before the last is handed out.

On the CPU it is `embed_texts` for each shard, to the bit. On a card a shard alone leaves it idle while texts are tokenised and
results are written; here both happen while it computes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import pyarrow as pa

from pipelines.embedding.encoder import Encoded, Encoder
from schemas.tables import TABLES


def embed_shards(shards: Iterable[pa.Table], *, encoder: Encoder) -> Iterator[pa.Table]:
    """Tables `[content_hash, text]` -> tables `embeddings`, one for one and in order; up to two are drawn ahead.

    Raises `SchemaMismatch` for repeated hashes, ValueError for an empty text (see `Encoder.encode`).
    """
    drawn: deque[pa.Table] = deque()

    def texts() -> Iterator[list[str]]:
        for shard in shards:
            drawn.append(shard)
            yield shard["text"].to_pylist()

    for encoded in encoder.encode_lists(texts()):
        yield embeddings_of(drawn.popleft(), encoded, encoder)


def embeddings_of(texts: pa.Table, encoded: Encoded, encoder: Encoder) -> pa.Table:
    """The table `embeddings` of some texts and their vectors, which it holds without a copy."""
    columns = {
        "content_hash": texts["content_hash"].combine_chunks(),
        "encoder": pa.array([encoder.id.name] * texts.num_rows, pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(encoded.vectors.ravel(), pa.float32()), encoder.dim),
        "n_tokens": pa.array(encoded.n_tokens, pa.int32()),
        "n_windows": pa.array(encoded.n_windows, pa.int16()),
    }
    return TABLES["embeddings"].validate(pa.table(columns))

"""Shards of texts waiting for their vectors: how one is read, encoded and written, wherever that happens.

The plan of a hash bucket (its distinct new texts, and vectors of them that the lake already holds) is staged as two small files, so
that a shard is an address: workers read it, encode it and write it, and only marks come back.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.store.lake import Lake, to_parquet
from pipelines.embedding import Encoder, EncoderId, embed_shards, embed_texts
from schemas.manifest import Fileset, Shard
from schemas.tables import TABLES

SHARD_TEXTS = 2_048
TEXT = pa.schema([("content_hash", pa.string()), ("text", pa.string())])


@dataclass(frozen=True)
class TextShard:
    """One shard to be embedded: where its vectors go, which of the staged texts are its, and texts that no encoder can take."""

    fileset: Fileset
    number: int
    of: int
    texts: int
    staged: str
    encoder: EncoderId
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Embedded:
    """A shard that is done: its mark, and how many texts were encoded for it."""

    shard: TextShard
    mark: Shard
    encoded: int


def stage_texts(lake: Lake, staged: str, texts: pa.Table, copied: pa.Table | None) -> None:
    """Lay down the texts of a hash bucket, sorted by hash, and the vectors that need not be computed."""
    lake.write_atomic(f"{staged}/texts.parquet", to_parquet(texts, row_group_size=SHARD_TEXTS))
    if copied is not None:
        lake.write_atomic(f"{staged}/copied.parquet", to_parquet(copied.sort_by("content_hash")))


def texts_of(lake: Lake, shard: TextShard) -> pa.Table:
    """The texts of a shard that have to be encoded."""
    texts, copied = _texts(lake, shard), _copied(lake, shard)
    left_out = [*shard.refused] if copied is None else [*shard.refused, *copied["content_hash"].to_pylist()]
    return texts.filter(pc.invert(pc.is_in(texts["content_hash"], pa.array(left_out, pa.string()))))


def write_vectors(lake: Lake, shard: TextShard, fresh: pa.Table) -> Embedded:
    """Write a shard: vectors just computed, those that were there, and zeros for refused texts, sorted by hash."""
    parts = [part for part in (fresh, _copied(lake, shard), _zeros(shard, fresh)) if part is not None and part.num_rows]
    rows = pa.concat_tables(parts).sort_by("content_hash")
    mark = lake.write_shard(shard.fileset, shard.number, shard.of, rows, {}, dict(shard.refused))
    return Embedded(shard, mark, fresh.num_rows)


@dataclass(frozen=True)
class ShardEncoder:
    """Embeds one shard in whatever process calls it, with an encoder that the process keeps."""

    lake: Lake
    refused: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, shard: TextShard) -> Embedded:
        shard = replace(shard, refused=self.refused)
        return write_vectors(self.lake, shard, encode(shard.encoder, texts_of(self.lake, shard)))


@dataclass(frozen=True)
class TextProbe:
    """Encodes some texts and throws the vectors away, to see whether they can be encoded."""

    encoder: EncoderId

    def __call__(self, texts: Sequence[dict]) -> None:
        encode(self.encoder, pa.Table.from_pylist(list(texts), schema=TEXT))


def encode(id: EncoderId, texts: pa.Table) -> pa.Table:
    """`[content_hash, text]` -> `embeddings`, on one core or the process's GPU."""
    return embed_texts(texts, encoder=_loaded(id))


def encode_all(id: EncoderId, shards: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Table by table as `encode` does; on a GPU the next one is prepared while the last is computed."""
    return embed_shards(shards, encoder=_loaded(id))


@lru_cache(maxsize=1)
def _loaded(id: EncoderId) -> Encoder:
    os.environ.setdefault(
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32"
    )  # the code of 1,024 shapes, its default, takes 180 MB
    return Encoder.load(id)


def _texts(lake: Lake, shard: TextShard) -> pa.Table:
    """One row group of the staged file."""
    with lake.fs.open(lake.path(f"{shard.staged}/texts.parquet"), "rb") as file:
        return pq.ParquetFile(file).read_row_group(shard.number).cast(TEXT)


def _copied(lake: Lake, shard: TextShard) -> pa.Table | None:
    name = f"{shard.staged}/copied.parquet"
    if not lake.exists(name):
        return None
    table = pq.read_table(io.BytesIO(lake.read_bytes(name)))
    mine = _texts(lake, shard)["content_hash"]
    return table.filter(pc.is_in(table["content_hash"], mine.combine_chunks()))


def _zeros(shard: TextShard, fresh: pa.Table) -> pa.Table | None:
    """Refused texts keep their place with a vector that is like nothing: their units stay, found by their words."""
    n, dim = len(shard.refused), fresh.schema.field("vector").type.list_size
    if not n:
        return None
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(n * dim, np.float32)), dim)
    columns = {
        "content_hash": pa.array(sorted(shard.refused), pa.string()),
        "encoder": pa.array([shard.encoder.name] * n, pa.string()),
        "vector": vectors,
        "n_tokens": pa.array([0] * n, pa.int32()),
        "n_windows": pa.array([0] * n, pa.int16()),
    }
    return TABLES["embeddings"].validate(pa.table(columns))

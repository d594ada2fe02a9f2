"""Vectors without a model, for measuring everything around embedding: each follows from its text's content hash alone.

A text belongs to one of `TOPICS` topics; its vector is the topic's centre and its own noise in `LATENT` dimensions, turned into the
encoder's by a fixed matrix of orthonormal rows, at unit length. So thresholds and indexes find about what they find in real
vectors: few pairs are alike, those of one topic are, and the intrinsic dimension is that of text (some 30), not the encoder's.
`TOPICS` is set so that a unit has as many similarity links as the real encoder gives it on the same corpus (2 a linked unit).

The embedder has the interface of the real ones and writes the same shards; only the forward pass is missing. What that costs is
measured apart (`bench embed`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType

import numpy as np
import pyarrow as pa

from jobs.embed_shards import Embedded, TextShard, texts_of, write_vectors
from jobs.engines.engine import Engine, Failed
from jobs.store.lake import Lake
from schemas.errors import EngraphError
from schemas.tables import TABLES

DIM, LATENT, TOPICS, TOGETHER = 384, 32, 48, 1.6
"""`TOGETHER`: length of a topic's centre where the noise has length 1; two texts of one topic have a cosine of some 0.7."""
_STEP = np.uint64(0x9E3779B97F4A7C15)


def planted(hashes: Sequence[str], dim: int = DIM) -> np.ndarray:
    """f32 [n, dim], unit length: one vector for each content hash (32 hex digits)."""
    seeds = np.array([int(h[:16], 16) for h in hashes], np.uint64)
    centres, turned = _world(dim)
    latent = TOGETHER * centres[seeds % TOPICS] + _noise(seeds)
    latent /= np.linalg.norm(latent, axis=1, keepdims=True)
    return (latent @ turned).astype(np.float32)


def _noise(seeds: np.ndarray) -> np.ndarray:
    """f64 [n, LATENT] of expected length 1: SplitMix64 of seed and place to uniform numbers, Box and Muller to normal ones."""
    places = np.arange(1, LATENT + 1, dtype=np.uint64) * _STEP
    mixed = seeds[:, None] + places
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    uniform = ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53 + 2.0**-54
    radius, angle = np.sqrt(-2 * np.log(uniform[:, ::2])), 2 * np.pi * uniform[:, 1::2]
    return np.hstack([radius * np.cos(angle), radius * np.sin(angle)]) / np.sqrt(LATENT)


@lru_cache(maxsize=2)
def _world(dim: int) -> tuple[np.ndarray, np.ndarray]:
    """(centres of unit length [TOPICS, LATENT], orthonormal rows [LATENT, dim]), always the same."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((TOPICS, LATENT))
    turned, _ = np.linalg.qr(random.standard_normal((dim, LATENT)))
    return centres / np.linalg.norm(centres, axis=1, keepdims=True), turned.T


@dataclass(frozen=True)
class ShardPlanter:
    """Writes one shard; runs where the engine runs it."""

    lake: Lake

    def __call__(self, shard: TextShard) -> Embedded:
        return write_vectors(self.lake, shard, _embeddings(shard.encoder.name, texts_of(self.lake, shard)))


class PlantedEmbedder:
    """An `Embedder` on any engine."""

    name = "planted"

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def embed(self, lake: Lake, shards: Sequence[TextShard]) -> Iterator[tuple[int, Embedded]]:
        for number, embedded in self.engine.map(ShardPlanter(lake), shards):
            if isinstance(embedded, Failed):
                raise EngraphError(f"planting vectors failed: {embedded.error}")
            yield number, embedded

    def __enter__(self) -> PlantedEmbedder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def _embeddings(encoder: str, texts: pa.Table) -> pa.Table:
    n = texts.num_rows
    vectors = planted(texts["content_hash"].to_pylist()).ravel()
    columns = {
        "content_hash": texts["content_hash"],
        "encoder": pa.array([encoder] * n, pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors), DIM),
        "n_tokens": pa.array([0] * n, pa.int32()),
        "n_windows": pa.array([1] * n, pa.int16()),
    }
    return TABLES["embeddings"].validate(pa.table(columns))

"""How well a finished index finds what an exact scan finds: the number that a snapshot's gate wants.

Queries are rows of the index, slightly moved. What is as near as the tenth is right, whichever row it is: a text that stands in a
corpus several times has as many equal vectors, and an index may return any of them.
"""

from __future__ import annotations

import numpy as np

from pipelines.ann.exact import scan_blocks
from pipelines.ann.index import Index
from pipelines.ann.source import VectorSource

QUERIES, K = 200, 10
MOVED = 0.3  # length of what is added to a row of length 1
BLOCK_ROWS = 16_384  # vectors compared at a time: 25 MB of 384 dimensions
ROUNDING = 1e-6


def recall_at_10(index: Index, vectors: np.ndarray, first: int = 0) -> float:
    """Recall@10 of an index by inner product over `vectors` f32 [n, dim], n >= 10, whose row i has the key `first` + i."""
    noise = np.random.default_rng(0).standard_normal((QUERIES, vectors.shape[1])).astype(np.float32)
    rows = np.linspace(0, len(vectors) - 1, QUERIES).astype(int)
    queries = np.ascontiguousarray(vectors[rows] + MOVED * noise / np.linalg.norm(noise, axis=1, keepdims=True))
    keys, _ = index.search(queries, K)
    _, nearest = scan_blocks(VectorSource(vectors).blocks(BLOCK_ROWS), "ip", queries, K)
    scores = np.einsum("qd,qkd->qk", queries, vectors[(keys - first).clip(min=0)])
    return float(((keys >= 0) & (scores >= nearest[:, -1:] - ROUNDING)).mean())

"""Several indexes searched as one: each finds its own k best, the best of all are merged.

Shards are built apart, so in parallel or on other machines, and hold different keys. Since each shard answers for itself, the
merged recall is at least the lowest of theirs, and probing everything equals brute force over all vectors. The one thing to
know: a query costs the sum of its shards, so shard for building and moving, not for speed on one machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.ann.exact import best, worst
from pipelines.ann.index import Index
from schemas.errors import UsageError


class Shards:
    """Opened indexes of one metric and dimension with disjoint keys. `len` counts the live vectors of all."""

    def __init__(self, indexes: Sequence[Index]) -> None:
        if not indexes:
            raise UsageError("no index folders are given: give at least one")
        kinds = sorted({(index.metric, index.dim) for index in indexes})
        if len(kinds) > 1:
            told = ", ".join(f"{metric} of {dim} dimensions" for metric, dim in kinds)
            raise UsageError(f"the shards differ ({told}): build them with one metric and one encoder")
        self.indexes = list(indexes)
        self.metric, self.dim = indexes[0].metric, indexes[0].dim

    def __len__(self) -> int:
        return sum(len(index) for index in self.indexes)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        nprobe: int | None = None,
        rerank: int | None = None,
        recall_target: float | None = None,
        filter: np.ndarray | None = None,
        threads: int = 1,
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Index.search`; nprobe and rerank are for each shard. filter: int64 keys, which mean the same in all shards."""
        if filter is not None and np.asarray(filter).dtype == np.bool_:
            raise UsageError("a boolean filter names rows of one index: give several shards int64 keys")
        effort: dict[str, Any] = {"nprobe": nprobe, "rerank": rerank, "recall_target": recall_target}
        found = [index.search(queries, k, filter=filter, threads=threads, **effort) for index in self.indexes]
        single = found[0][0].ndim == 1
        keys = np.concatenate([np.atleast_2d(keys) for keys, _ in found], axis=1)
        scores = np.concatenate([np.atleast_2d(scores) for _, scores in found], axis=1)
        keys, scores = _merged(keys, scores, k, self.metric)
        return (keys[0], scores[0]) if single else (keys, scores)


def _merged(keys: np.ndarray, scores: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The k best of each line [b, c]. Padding scores worst, so it comes last; keys may be negative, hence places stand for
    them in `best`, whose order among equals is then that of the shards."""
    places = np.where(scores == worst(metric), -1, np.arange(keys.shape[1]))
    places, scores = best(places, scores, k, metric)
    return np.where(places < 0, -1, np.take_along_axis(keys, np.maximum(places, 0), axis=1)), scores

"""Which leaves of a large scope are worth scoring: those that an index, a word, a name's walk or a date brings up.

Every level that has an ANN index gives its nearest units, smaller ones are scanned, words give the best of the two finest levels,
a time window what it holds. Fine units bring all the leaves that they cover; a topic or a session brings as many as the finest
levels would. Cost: the searches, and passes over arrays of scores, none over vectors.
"""

from __future__ import annotations

import numpy as np

from pipelines.recall.channels import Asked, level_shares
from pipelines.recall.params import RecallParams
from pipelines.recall.scope import Level, Scope
from pipelines.recall.times import in_window

COARSE = ("topic", "whole", "summary")
COARSE_SHARE = 10


def candidate_leaves(scope: Scope, asked: Asked, params: RecallParams) -> np.ndarray:
    """Numbers of leaves, ascending."""
    marked = np.zeros(scope.n_leaves, bool)
    for name, level in scope.levels.items():
        most = max(1, params.candidates // COARSE_SHARE) if name in COARSE else params.candidates
        if params.dense.get(name) and params.speaks(f"dense:{name}"):
            _mark(marked, level, _nearest(level, asked.vector, most))
        if params.lexical.get(name) and params.speaks(f"lexical:{name}") and name not in COARSE:
            shares = level_shares(level, asked.reading.text)
            best = _best(shares, most)
            _mark(marked, level, best[shares[best] > 0])
    if asked.reading.window is not None and params.time and params.speaks("time"):
        inside = in_window(scope, asked.reading.window)
        if inside is not None and 0 < inside.sum() <= params.candidates * COARSE_SHARE:
            marked |= inside > 0
    return np.flatnonzero(marked)


def _mark(marked: np.ndarray, level: Level, units: np.ndarray) -> None:
    for low, high in zip(level.low[units].tolist(), level.high[units].tolist(), strict=True):
        marked[low:high] = True


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    if len(scores) <= k:
        return np.arange(len(scores))
    return np.argpartition(-scores, k - 1)[:k]


def _nearest(level: Level, vector: np.ndarray, k: int) -> np.ndarray:
    """The k units of a level nearest to the question, by the index of a part where there is one."""
    units, cosines = [], []
    for part, offset in zip(level.parts, level.offsets, strict=False):
        index = part.shard.ann(part.granularity)
        if index is None:
            scores = part.shard.vectors[part.start : part.end] @ vector
            best = _best(scores, k)
            units.append(offset + best)
            cosines.append(scores[best])
            continue
        whole = len(part) == len(index)
        keys, found = index.search(vector[None], k, filter=None if whole else np.arange(part.start, part.end))
        kept = keys[0] >= 0
        units.append(offset + keys[0][kept] - part.start)
        cosines.append(found[0][kept])
    together = np.concatenate(units)
    return together[_best(np.concatenate(cosines), k)]

"""The best of many scores, and the units of a part that are nearest to a question."""

from __future__ import annotations

import numpy as np

from pipelines.recall.scope import Part

STEP, FEW = 16, 8_192


def best_places(scores: np.ndarray, k: int) -> np.ndarray:
    """Places of the k highest scores; of equal ones the first."""
    if len(scores) <= k:
        return np.arange(len(scores))
    if len(scores) > FEW:  # a sample tells which can be left out: sorting through all of them takes ten times as long
        sample = scores[::STEP]
        some = min(len(sample), 2 * k // STEP + 8)
        likely = np.flatnonzero(scores >= np.partition(sample, len(sample) - some)[len(sample) - some])
        if k <= len(likely) < len(scores) // 2:
            return likely[best_places(scores[likely], k)]
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores > least)
    return np.concatenate([above, np.flatnonzero(scores == least)[: k - len(above)]])


def nearest_of(part: Part, vector: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(units of the part, cosines) of the k nearest, by its index where there is one."""
    index = part.shard.ann(part.granularity)
    if index is None:
        cosines = part.shard.vectors[part.start : part.end] @ vector
        best = best_places(cosines, k)
        return best, cosines[best]
    whole = len(part) == len(index)
    keys, found = index.search(vector[None], k, filter=None if whole else np.arange(part.start, part.end))
    kept = keys[0] >= 0
    return keys[0][kept] - part.start, found[0][kept]

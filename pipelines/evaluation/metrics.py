"""Retrieval metrics over a whole question set at once, and bootstrap intervals for their means.

Every metric takes `gains`, int [questions, depth]: how many gold items the hit at each rank is the first to bring
(shorter lists are padded with 0), and `n_gold`, int [questions]. It returns float64 [questions]; O(questions * k).

- recall_any@k: is at least one gold item among the first k? recall_all@k: are all? (LongMemEval and MemGAS print
  recall_all as "Recall@k"; the three recalls must never be compared with one another.)
- recall@k: |found in the first k| / |gold|, the fractional recall of HippoRAG.
- ndcg@k: binary relevance. "standard" discounts rank i by log2(i + 1). "longmemeval" uses the first form of Jarvelin
  and Kekalainen (SIGIR 2000): rank 1 undiscounted, rank i by log2(i), so ranks 1 and 2 weigh the same.
- reciprocal rank: 1 / rank of the first hit that brings gold, over the whole depth.

The one thing to know: no gold at all makes recall_all 1 and recall_any, ndcg and reciprocal rank 0, as LongMemEval has
it, and recall nan; `score` leaves such questions out of every mean.

Intervals: percentile bootstrap over questions (Efron 1979). A resample of n questions is a row of multinomial counts,
so all means of all metrics are one matrix product.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

NdcgForm = Literal["standard", "longmemeval"]

# Counts of one block of resamples: 8 million float64 are 64 MB.
_BLOCK = 8_000_000


def recall_any(gains: np.ndarray, n_gold: np.ndarray, k: int) -> np.ndarray:
    """1.0 where at least one gold item is among the first k hits, else 0.0; 0.0 for empty gold."""
    return (_found(gains, k) > 0).astype(np.float64)


def recall_all(gains: np.ndarray, n_gold: np.ndarray, k: int) -> np.ndarray:
    """1.0 where every gold item is among the first k hits, else 0.0; 1.0 for empty gold."""
    return (_found(gains, k) >= n_gold).astype(np.float64)


def recall(gains: np.ndarray, n_gold: np.ndarray, k: int) -> np.ndarray:
    """Share of the gold items that are among the first k hits; nan for empty gold."""
    found = _found(gains, k).astype(np.float64)
    return np.divide(found, n_gold, out=np.full(len(found), np.nan), where=n_gold > 0)


def ndcg(gains: np.ndarray, n_gold: np.ndarray, k: int, form: NdcgForm = "standard") -> np.ndarray:
    """Normalised discounted cumulative gain of the first k hits; 0.0 for empty gold.

    A hit is relevant when it brings gold that no hit before it brought, and the ideal list has min(n_gold, k) relevant
    hits at its head. For hits with one ref each this is the usual definition; a gold item that turns up twice is
    counted once, which keeps the value at most 1.
    """
    weights = _discounts(k, form)
    relevant = (gains[:, :k] > 0).astype(np.float64)
    dcg = relevant @ weights[: relevant.shape[1]]
    ideal = np.concatenate([[0.0], np.cumsum(weights)])[np.minimum(n_gold, k)]
    return np.divide(dcg, ideal, out=np.zeros(len(dcg)), where=ideal > 0)


def reciprocal_rank(gains: np.ndarray) -> np.ndarray:
    """1 / rank of the first hit that brings gold; 0.0 where none does."""
    relevant = gains > 0
    if relevant.shape[1] == 0:
        return np.zeros(len(relevant))
    return np.where(relevant.any(axis=1), 1.0 / (relevant.argmax(axis=1) + 1), 0.0)


def bootstrap_interval(values: np.ndarray, *, seed: int, resamples: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """95 % percentile interval of each column's mean: float64 [n, metrics] -> (low [metrics], high [metrics]).

    Rows (questions) are resampled together, so for paired data pass the differences. nan for n = 0.
    """
    n, width = values.shape
    if n == 0:
        return np.full(width, np.nan), np.full(width, np.nan)
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // n)
    means = [
        rng.multinomial(n, np.full(n, 1.0 / n), size=min(block, resamples - start)) @ values / n
        for start in range(0, resamples, block)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0)
    return low, high


def paired_difference(
    a: np.ndarray, b: np.ndarray, *, seed: int, resamples: int = 1000
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of b - a per column with its 95 % interval: two [n, metrics] over the same questions -> three [metrics]."""
    if a.shape != b.shape:
        raise ValueError(f"paired values must have one shape, got {a.shape} and {b.shape}")
    difference = b - a
    low, high = bootstrap_interval(difference, seed=seed, resamples=resamples)
    mean = difference.mean(axis=0) if len(difference) else np.full(difference.shape[1], np.nan)
    return mean, low, high


def _found(gains: np.ndarray, k: int) -> np.ndarray:
    return gains[:, :k].sum(axis=1)


def _discounts(k: int, form: NdcgForm) -> np.ndarray:
    """Weight of each rank 1..k -> float64 [k]."""
    ranks = np.arange(1, k + 1, dtype=np.float64)
    if form == "standard":
        return 1.0 / np.log2(ranks + 1.0)
    return 1.0 / np.maximum(1.0, np.log2(ranks))

"""Personalized PageRank by power iteration, with the semantics of igraph's prpack on an undirected, weighted graph.

x = (1 - d) r + d (P'x + dangling r), r the reset normalised to sum 1, P the adjacency with rows normalised by weight, d the
probability of following an edge. The error after t steps is at most 2 d^t in L1, so steps follow from the tolerance.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import sparse


def undirected(n: int, source: np.ndarray, target: np.ndarray, weight: np.ndarray) -> sparse.csr_array:
    """The symmetric adjacency [n, n] of edges given once each; parallel edges add up."""
    half = sparse.coo_array((weight, (source, target)), shape=(n, n)).tocsr()
    return (half + half.T).tocsr()


def personalized_pagerank(
    adjacency: sparse.csr_array, reset: np.ndarray, damping: float, *, tolerance: float = 1e-10
) -> np.ndarray:
    """The mass of each node -> float64 [n], summing to 1.

    `reset` must have some positive mass; what is negative or nan counts as 0.
    """
    start = np.where(np.isfinite(reset) & (reset > 0), reset, 0.0)
    start = start / start.sum()
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    share = np.divide(1.0, degree, out=np.zeros_like(degree, dtype=np.float64), where=degree > 0)
    dangling = degree == 0
    x = start.copy()
    for _ in range(math.ceil(math.log(tolerance / 2) / math.log(damping))):
        x = (1 - damping) * start + damping * (adjacency.T @ (x * share) + x[dangling].sum() * start)
    return x

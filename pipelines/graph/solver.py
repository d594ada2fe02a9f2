"""Personalized PageRank of a graph that is small enough to be solved whole.

With x = D y, D the strengths, (D - d A) y = (1 - d) r is symmetric and positive definite. Most entities of a corpus are named in
one to three passages: nodes of so few edges, no two of them neighbours, are eliminated once for all questions. One with a single
edge vanishes, one with two becomes an edge between its neighbours; what is left has a third of the nodes and six tenths of the
weights, and is nearer to the identity. That is solved by conjugate gradients (Jacobi), and the others follow from their neighbours.
`engraph bench graph` measures it on graphs made at random, which have fewer rare nodes than a corpus.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import LinearOperator, cg

FEW_EDGES = 6  # an eliminated node of k edges leaves up to k (k - 1) weights for its 2 k
ROUNDS = 64
TOLERANCE = 5e-4  # of the right-hand side, in what is left unsolved


@dataclass(frozen=True)
class System:
    """The equations of a graph for one damping d, f32. `few` are the eliminated nodes, `kept` the others, `strength` that of all
    nodes (1 for those without edges), `across` the weights from `few` to `kept`. What is left is (diagonal - matrix) y = b."""

    damping: np.float32
    strength: np.ndarray
    few: np.ndarray
    kept: np.ndarray
    across: csr_array
    matrix: csr_array
    diagonal: np.ndarray

    def solve(self, seeds: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """x [nodes] of distinct `seeds` with `weights` of sum 1, of sum 1."""
        given = np.zeros(len(self.strength), np.float32)
        given[seeds] = (1 - self.damping) * weights
        by_few = given[self.few]
        passed_on = self.damping * (self.across.T @ (by_few / self.strength[self.few]))
        y = self._conjugate_gradients(given[self.kept] + passed_on)
        x = np.empty(len(self.strength), np.float32)
        x[self.kept] = self.strength[self.kept] * y
        x[self.few] = by_few + self.damping * (self.across @ y)
        x = x.clip(min=0.0)
        return x / x.sum()

    def _conjugate_gradients(self, right: np.ndarray) -> np.ndarray:
        operator = partial(LinearOperator, self.matrix.shape, dtype=np.float32)
        system = operator(matvec=lambda y: self.diagonal * y - self.matrix @ y)
        jacobi = operator(matvec=lambda y: y / self.diagonal)
        return cg(system, right, rtol=TOLERANCE, maxiter=ROUNDS, M=jacobi)[0]


def system_of(matrix: csr_array, strength: np.ndarray, damping: float) -> System:
    """The equations of a symmetric graph [nodes, nodes] without loops; `strength` is the sum of each row."""
    d = np.float32(damping)
    strength = np.where(strength > 0, strength, np.float32(1.0))
    chosen = _independent(matrix)
    few, kept = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    left = _left(matrix, strength, d, few, kept)
    # rows of like length side by side, the most looked at first: a product takes half the time
    by_length = np.argsort(-np.diff(left.indptr), kind="stable")
    left, kept = csr_array(left[by_length][:, by_length]), kept[by_length]
    own = left.diagonal()
    left.setdiag(0)
    left.eliminate_zeros()
    return System(d, strength, few, kept, _narrow(matrix[few][:, kept]), _narrow(left), strength[kept] - own)


def _left(matrix: csr_array, strength: np.ndarray, d: np.float32, few: np.ndarray, kept: np.ndarray) -> csr_array:
    """The weights between `kept` nodes, times d, and of the steps by way of `few` ones."""
    across = matrix[few][:, kept]
    return csr_array(d * matrix[kept][:, kept] + d * d * (across.T @ (diags_array(1 / strength[few]) @ across)))


def _independent(matrix: csr_array) -> np.ndarray:
    """Which nodes are eliminated: those of few edges that have fewer, or as many and a lower number, than all such neighbours."""
    edges, nodes = np.diff(matrix.indptr).astype(np.int64), matrix.shape[0]
    order = np.where(edges <= FEW_EDGES, edges * nodes + np.arange(nodes), np.iinfo(np.int64).max)
    lowest = np.full(nodes, np.iinfo(np.int64).max)
    linked = np.flatnonzero(edges)
    if len(linked):
        lowest[linked] = np.minimum.reduceat(order[matrix.indices], matrix.indptr[linked])
    return (edges <= FEW_EDGES) & (order < lowest)


def _narrow(matrix: csr_array) -> csr_array:
    """Sorted, f32 and with indices of four bytes: half as much to read."""
    matrix = csr_array(matrix, dtype=np.float32)
    matrix.sort_indices()
    if matrix.nnz < 2**31:
        matrix.indices, matrix.indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return matrix

"""Personalized PageRank of a graph that is small enough to be solved whole.

With x = D^1/2 y, D the strengths, (I - d D^-1/2 A D^-1/2) y = (1 - d) D^-1/2 r is symmetric and positive definite. Only some
nodes are asked for, the passages; most of the others, the entities, are named in a few of them. In levels, nodes of few edges, no
two of them neighbours, are eliminated once for all questions (block Gaussian elimination, Schur complements): what is left has a
quarter of the nodes and fewer weights, and is nearer to the identity. A question costs the rows of its seeds on the way down, and
conjugate gradients there; the way back up is taken only if all nodes are asked for. Where a walk comes to rest is known, in
proportion to the strengths: what the gradients leave unsolved is corrected by that, so that each component has its mass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, cg

from pipelines.ranges import numbers_in

FEW_EDGES = 10  # an eliminated node of k edges leaves up to k (k - 1) weights for its 2 k
NODE = 8  # a node of what is left takes as long as so many weights
SMALL = 20_000  # weights of a graph in which nothing is eliminated: it would take longer than the questions
ROUNDS = 64
TOLERANCE = 1e-4  # of the right-hand side, in what is left unsolved
Entries = tuple[np.ndarray, np.ndarray]
"""(places, values) of a vector that is 0 elsewhere; what is said of one place several times adds up."""


@dataclass(frozen=True)
class Level:
    """Some nodes eliminated. `place` of each node: its number among the kept, or -1 - its number among the eliminated; `across` the
    weights [eliminated, kept]; `inverse` 1 / diagonal of the eliminated."""

    place: np.ndarray
    across: csr_array
    inverse: np.ndarray

    def down(self, given: Entries) -> tuple[Entries, Entries]:
        """(what the eliminated nodes have of their own, the right-hand side of the kept)."""
        place, values = self.place[given[0]], given[1]
        out = place < 0
        rows = -1 - place[out]
        own = values[out] * self.inverse[rows]
        kept, passed_on = _passed_on(self.across, rows, own)
        return (rows, own), (np.concatenate([place[~out], kept]), np.concatenate([values[~out], passed_on]))

    def up(self, own: Entries, kept: np.ndarray) -> np.ndarray:
        """The solution of all nodes from that of the kept."""
        out = self.place < 0
        y = np.empty(len(out), np.float32)
        y[~out] = kept
        eliminated = self.inverse * (self.across @ kept)
        np.add.at(eliminated, *own)
        y[out] = eliminated
        return y


@dataclass(frozen=True)
class System:
    """The equations of a graph for one damping d, f32. `root` is D^1/2 (1 for nodes without edges, which `linked` tells). What is
    left after the `levels` is y - matrix y = b, its i-th node at `number[i]`, scaled by `scale`; components lie there in a row,
    each from one of `bounds` to the next. `rest` is where a walk comes to rest in them, `pull` the equations times that."""

    damping: float
    root: np.ndarray
    linked: np.ndarray
    levels: list[Level]
    number: np.ndarray
    scale: np.ndarray
    matrix: csr_array
    bounds: np.ndarray
    rest: np.ndarray
    pull: np.ndarray
    asked: np.ndarray
    """Where the nodes that are asked for have come to lie."""

    def solve(self, seeds: np.ndarray, weights: np.ndarray, *, only_asked: bool = False) -> np.ndarray:
        """x of distinct `seeds` with `weights` of sum 1: of all nodes, or of those asked for. All nodes together have 1."""
        given = seeds, ((1 - self.damping) * weights / self.root[seeds]).astype(np.float32)
        owned = []
        for level in self.levels:
            own, given = level.down(given)
            owned.append(own)
        y = self._solved(self.number[given[0]], given[1])
        if only_asked:
            x = self.root[: len(self.asked)] * y[self.asked]
        else:
            y = y[self.number]
            for level, own in zip(reversed(self.levels), reversed(owned), strict=True):
                y = level.up(own, y)
            x = self.root * y
        kept = 1 - self.damping * float(weights[~self.linked[seeds]].sum())  # nodes without edges pass nothing on
        return x.clip(min=0.0) / np.float32(kept)

    def _solved(self, places: np.ndarray, values: np.ndarray) -> np.ndarray:
        b = self.scale * np.bincount(places, values, len(self.number)).astype(np.float32)
        shape = self.matrix.shape
        system = LinearOperator(shape, dtype=np.float32, matvec=lambda y: y - self.matrix @ y)
        y = cg(system, b, rtol=TOLERANCE, maxiter=ROUNDS)[0]
        for component in np.unique(np.searchsorted(self.bounds, places, "right") - 1).tolist():
            part = slice(*self.bounds[component : component + 2])
            rest, pull = self.rest[part], self.pull[part]
            y[part] += (rest @ b[part] - pull @ y[part]) / (rest @ pull) * rest
        return self.scale * y


def _passed_on(across: csr_array, rows: np.ndarray, own: np.ndarray) -> Entries:
    """`own` of some rows times these rows. A few are picked in less than half the time that a matrix of them takes."""
    first, end = across.indptr[rows], across.indptr[rows + 1]
    at = numbers_in(first, end)
    return across.indices[at], across.data[at] * np.repeat(own, end - first)


def system_of(matrix: csr_array, strength: np.ndarray, damping: float, asked: int = 0) -> System:
    """The equations of a symmetric graph [nodes, nodes] without loops; `strength` is the sum of each row. The first `asked` nodes
    are asked for: they are never eliminated."""
    linked = strength > 0
    root = np.sqrt(np.where(linked, strength, 1.0)).astype(np.float32)
    to_root = diags_array(1 / root)
    left = csr_array(np.float32(damping) * (to_root @ matrix @ to_root))
    diagonal, nodes, levels = np.ones(len(root), np.float32), np.arange(len(root)), []
    while left.nnz >= SMALL:
        level, smaller, its_diagonal = _eliminated(left, diagonal, _independent(left, nodes >= asked))
        if _cost(smaller) >= _cost(left):
            break
        levels.append(level)
        left, diagonal, nodes = smaller, its_diagonal, nodes[level.place >= 0]
    order, bounds = _order(left)
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    scale = (1 / np.sqrt(diagonal[order])).astype(np.float32)
    to_one = diags_array(scale)
    final = _narrow(to_one @ left[order][:, order] @ to_one)
    rest = root[nodes[order]] / scale
    # asked nodes come first at every level
    return System(
        damping, root, linked, levels, number, scale, final, bounds, rest, rest - final @ rest, number[:asked]
    )


def _cost(matrix: csr_array) -> int:
    return matrix.nnz + NODE * matrix.shape[0]


def _eliminated(left: csr_array, diagonal: np.ndarray, chosen: np.ndarray) -> tuple[Level, csr_array, np.ndarray]:
    """(the level that eliminates `chosen`, weights between the others, their diagonal)."""
    few, kept = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    across, inverse = _narrow(left[few][:, kept]), 1 / diagonal[few]
    smaller = csr_array(left[kept][:, kept] + across.T @ (diags_array(inverse) @ across))
    back = smaller.diagonal()
    smaller.setdiag(0)
    smaller.eliminate_zeros()
    place = np.empty(len(chosen), np.int64)
    place[kept], place[few] = np.arange(len(kept)), -1 - np.arange(len(few))
    return Level(place, across, inverse), smaller, diagonal[kept] - back


def _independent(matrix: csr_array, may: np.ndarray) -> np.ndarray:
    """Which nodes are eliminated: of those that `may` be and have few edges the ones with fewer, or as many and a lower number,
    than all such neighbours."""
    edges, nodes = np.diff(matrix.indptr).astype(np.int64), matrix.shape[0]
    may = may & (edges <= FEW_EDGES)
    order = np.where(may, edges * nodes + np.arange(nodes), np.iinfo(np.int64).max)
    lowest = np.full(nodes, np.iinfo(np.int64).max)
    linked = np.flatnonzero(edges)
    if len(linked):
        lowest[linked] = np.minimum.reduceat(order[matrix.indices], matrix.indptr[linked])
    return may & (order < lowest)


def _order(matrix: csr_array) -> tuple[np.ndarray, np.ndarray]:
    """(nodes by component, the largest first, rows of like length side by side: so a product takes half the time; where each
    component begins, and the end)."""
    count, label = connected_components(matrix, directed=False)
    sizes = np.bincount(label, minlength=count)
    order = np.lexsort((-np.diff(matrix.indptr), label, -sizes[label]))
    return order, np.concatenate([[0], np.cumsum(-np.sort(-sizes))])


def _narrow(matrix: csr_array) -> csr_array:
    """Sorted, f32 and with indices of four bytes: half as much to read."""
    matrix = csr_array(matrix, dtype=np.float32)
    matrix.sort_indices()
    if matrix.nnz < 2**31:
        matrix.indices, matrix.indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
    return matrix

"""Personalized PageRank over an undirected weighted graph: exactly, or as near to that as a ranking needs.

x = (1 - d) r + d (P' x + m r): r the reset vector of sum 1, P the row-normalised adjacency, m the mass on nodes without edges, d
the probability of following an edge (HippoRAG: 0.5; MemGAS: 0.1). `exact` is the power iteration, its error at most 2 d^t after t
steps of 2 (nodes + edges) each. `near` solves a small graph (`solver`). In a large one it is the forward push of Andersen, Chung
and Lang (2006) in rounds, so that a round is two sparse products: a node passes on what it holds while that is more than EPS
per edge. What is left then is spread so thin that it has forgotten where it came from: the steps it would still take are replaced
by their limit, the share of each node in the weights of its component. Those that come out best take one of these steps as it is.
Without the first the hubs, which live on many small sums, come out 10 to 20 % low, without the second their order is not sure.
100,000 nodes and 1,000,000 edges: 2 to 4 ms, top 50 as the exact ones to 0.99 and more (`engraph bench graph`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from pipelines.graph.solver import System, system_of

STEPS = 1000
ROUNDS = 64
EPS = 4e-6
REST = 5e-3  # mass that could be passed on whose way does not change the order of the best
FEW = 4_096  # nodes that all take the last step, and about the size of a sample of more
BEST = 1_000  # of more nodes about as many do
WHOLE = 800_000  # weights of a graph that is solved whole; in a larger one pushing costs less than the products
ONE_BY_ONE = 1_000  # edges that are added one by one
SMALL = 100_000  # edges that a product goes through while rows are being picked
MANY = 2  # taking rows out copies them: twice the cost of a product with all rows


@dataclass(frozen=True)
class Adjacency:
    """A symmetric weighted graph, f32, without loops; `strength` is the sum of each row's weights. Its first `asked` nodes are what
    is asked for."""

    matrix: csr_array
    strength: np.ndarray
    asked: int = 0

    @cached_property
    def inverse(self) -> np.ndarray:
        """1 / strength; 0 for nodes without edges."""
        return np.divide(1.0, self.strength, out=np.zeros(len(self), np.float32), where=self.strength > 0)

    @cached_property
    def least(self) -> np.ndarray:
        """What a node has to hold to pass it on: EPS for each edge, f32."""
        return np.float32(EPS) * np.diff(self.matrix.indptr).astype(np.float32).clip(min=1.0)

    @cached_property
    def components(self) -> tuple[np.ndarray, np.ndarray]:
        """(component of each node, 1 / sum of its weights, 0 for a node without edges)."""
        count, label = connected_components(self.matrix, directed=False)
        total = np.bincount(label, self.strength, count)
        return label, np.divide(1.0, total, out=np.zeros(count, np.float32), where=total > 0)

    @cached_property
    def _systems(self) -> dict[float, System]:
        return {}

    def system(self, damping: float) -> System:
        """Its equations, made once for each damping."""
        if damping not in self._systems:
            self._systems[damping] = system_of(self.matrix, self.strength, damping, self.asked)
        return self._systems[damping]

    def __len__(self) -> int:
        return len(self.strength)


def adjacency(source: np.ndarray, target: np.ndarray, weight: np.ndarray, nodes: int) -> Adjacency:
    """From undirected edges, each given once: parallel ones add up, loops and what is not above 0 fall away."""
    keep = (source != target) & (weight > 0)
    source, target, weight = source[keep], target[keep], weight[keep].astype(np.float32)
    ends = np.concatenate([source, target]), np.concatenate([target, source])
    matrix = csr_array((np.concatenate([weight, weight]), ends), shape=(nodes, nodes))  # adds duplicates, sorts columns
    # both of one type, or scipy copies all of them whenever it takes rows out or multiplies
    number = np.int32 if matrix.nnz < 2**31 else np.int64
    matrix.indices, matrix.indptr = matrix.indices.astype(number), matrix.indptr.astype(number)
    return Adjacency(matrix, np.asarray(matrix.sum(axis=1), np.float32).ravel())


def exact(graph: Adjacency, reset: np.ndarray, damping: float = 0.5, tolerance: float = 1e-10) -> np.ndarray:
    """PageRank [nodes] in f64, to `tolerance` in L1. Entries of `reset` that are negative or no number count as 0."""
    start = _distribution(reset)
    matrix = graph.matrix.astype(np.float64)
    strength = np.asarray(matrix.sum(axis=1)).ravel()
    inverse = np.divide(1.0, strength, out=np.zeros_like(strength), where=strength > 0)
    isolated = strength == 0
    x = start
    for _ in range(STEPS):
        followed = matrix @ (x * inverse) + x[isolated].sum() * start
        x, before = (1 - damping) * start + damping * followed, x
        if np.abs(x - before).sum() * damping <= tolerance * (1 - damping):
            break
    return x


def _distribution(reset: np.ndarray) -> np.ndarray:
    start = np.nan_to_num(np.asarray(reset, np.float64), nan=0.0, posinf=0.0, neginf=0.0).clip(min=0.0)
    if not start.sum():
        raise ValueError("all seeds weigh nothing: rank by the dense scores instead")
    return start / start.sum()


def near(
    graph: Adjacency, seeds: np.ndarray, weights: np.ndarray, damping: float = 0.5, *, only_asked: bool = False
) -> np.ndarray:
    """Nearly `exact` of distinct `seeds` with `weights` (0 elsewhere), f32: of all nodes, or of those that the graph is asked for.
    Exact where the mass is, 0 where none can come by."""
    seeds, start = np.asarray(seeds), _distribution(weights).astype(np.float32)
    if graph.matrix.nnz <= WHOLE:
        return graph.system(damping).solve(seeds, start, only_asked=only_asked)
    wanted = graph.asked if only_asked else len(graph)
    return _pushed(graph, seeds, start, np.float32(damping), wanted)[:wanted]


def _pushed(graph: Adjacency, seeds: np.ndarray, start: np.ndarray, d: np.float32, wanted: int) -> np.ndarray:
    """Of all nodes; the order of the best is sure among the first `wanted`."""
    held, x = np.zeros((2, len(graph)), np.float32)
    held[seeds] = start
    active, mass = seeds, start
    for _ in range(ROUNDS):
        x[active] += (1 - d) * mass
        held[active] = 0
        active = _pass_on(graph, held, active, d * mass * graph.inverse[active])
        mass = held[active]
        if mass.sum() < REST:
            break
    x += (1 - d) * held
    rest = d * _at_rest(graph, held, seeds)
    best = _likely_best(x[:wanted] + rest[:wanted])
    came = graph.matrix[best] @ (held * graph.inverse)
    rest[best] = d * ((1 - d) * came + rest[best])
    x += rest
    return x / x.sum()  # what nodes without edges hold returns to the seeds: all of x grows in proportion


def _pass_on(graph: Adjacency, held: np.ndarray, nodes: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Add to `held` what all get when `nodes` pass on `mass` by each unit of weight; who then holds enough to pass on. A few rows
    are added one by one, of more a product is taken, of many the product with all rows: taking rows out copies them."""
    starts = graph.matrix.indptr
    counts = starts[nodes + 1] - starts[nodes]
    edges = int(counts.sum())
    if edges < ONE_BY_ONE:
        rows = graph.matrix[nodes]
        np.add.at(held, rows.indices, rows.data * np.repeat(mass, counts))
        reached = np.unique(rows.indices)
        return reached[held[reached] > graph.least[reached]]
    if MANY * edges + SMALL < graph.matrix.nnz:
        held += graph.matrix[nodes].T @ mass
    else:
        spread = np.zeros(len(graph), np.float32)
        spread[nodes] = mass
        held += graph.matrix @ spread  # symmetric, so rows serve as columns
    return np.flatnonzero(held > graph.least)


def _at_rest(graph: Adjacency, held: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Where what nodes hold comes to rest: in each component in proportion to the strengths."""
    label, inverse_total = graph.components
    if len(touched := np.unique(label[seeds])) == 1:  # nearly always; adding all up in one place is slow
        return np.multiply(graph.strength * (held.sum() * inverse_total[touched[0]]), label == touched[0])
    mass = np.bincount(label, held, len(inverse_total)).astype(np.float32) * inverse_total
    return mass[label] * graph.strength


def _likely_best(x: np.ndarray) -> np.ndarray:
    """About BEST nodes, the best by `x`; all of a few. The bound comes from a sample."""
    if len(x) <= FEW:
        return np.arange(len(x))
    sample = x[:: len(x) // FEW]
    place = len(sample) - math.ceil(BEST * len(sample) / len(x))
    return np.flatnonzero(x >= np.partition(sample, place)[place])

"""The equations of a small graph: what is eliminated, and that the solution is that of all equations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.graph.pagerank import Adjacency, adjacency
from pipelines.graph.solver import FEW_EDGES, system_of


def graph_of(nodes: int, edges: int, seed: int) -> Adjacency:
    rng = np.random.default_rng(seed)
    return adjacency(rng.integers(0, nodes, edges), rng.integers(0, nodes, edges), rng.random(edges) + 0.1, nodes)


def solved_densely(graph: Adjacency, seeds: np.ndarray, weights: np.ndarray, damping: float) -> np.ndarray:
    whole = graph.matrix.toarray().astype(np.float64)
    strength = np.where(graph.strength > 0, graph.strength, 1.0).astype(np.float64)
    reset = np.zeros(len(graph))
    reset[seeds] = (1 - damping) * weights
    x = strength * np.linalg.solve(np.diag(strength) - damping * whole, reset)
    return x / x.sum()


@given(st.integers(1, 80), st.integers(0, 160), st.sampled_from([0.1, 0.5, 0.85]), st.integers(0, 10**6))
def test_a_solution_is_that_of_all_equations(nodes, edges, damping, seed):
    graph = graph_of(nodes, edges, seed)
    rng = np.random.default_rng(seed)
    seeds = rng.choice(nodes, min(nodes, 5), replace=False)
    weights = rng.random(len(seeds)).astype(np.float32) + 0.1
    weights /= weights.sum()
    found = system_of(graph.matrix, graph.strength, damping).solve(seeds, weights)
    assert np.abs(found - solved_densely(graph, seeds, weights, damping)).sum() <= 2e-3


@given(st.integers(1, 200), st.integers(0, 500), st.integers(0, 10**6))
def test_what_is_eliminated_has_few_edges_and_no_neighbour_that_is(nodes, edges, seed):
    graph = graph_of(nodes, edges, seed)
    system = system_of(graph.matrix, graph.strength, 0.5)
    assert sorted([*system.few, *system.kept]) == list(range(nodes))
    assert graph.matrix[system.few][:, system.few].nnz == 0
    assert (np.diff(graph.matrix.indptr)[system.few] <= FEW_EDGES).all()


@pytest.mark.parametrize("spokes", [1, 50])
def test_a_star_is_left_with_its_middle(spokes):
    star = adjacency(np.zeros(spokes, int), np.arange(1, spokes + 1), np.ones(spokes), spokes + 1)
    assert len(system_of(star.matrix, star.strength, 0.5).kept) == 1


def test_most_of_a_graph_of_rare_names_is_eliminated():
    """A hundred passages that name ten entities each, of which most are named nowhere else or once more."""
    rng = np.random.default_rng(0)
    passages, entities = np.repeat(np.arange(100), 10), 100 + rng.integers(0, 700, 1_000)
    graph = adjacency(passages, entities, np.ones(1_000), 800)
    system = system_of(graph.matrix, graph.strength, 0.85)
    assert len(system.kept) < 0.2 * len(graph)

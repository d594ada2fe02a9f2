"""The equations of a small graph: what is eliminated, and that the solution is that of all equations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.graph import solver
from pipelines.graph.pagerank import Adjacency, adjacency
from pipelines.graph.solver import FEW_EDGES, Level, system_of


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


@pytest.fixture(autouse=True)
def _eliminate_also_in_tiny_graphs(monkeypatch):
    monkeypatch.setattr(solver, "SMALL", 1)


@given(
    st.integers(1, 80),
    st.integers(0, 160),
    st.integers(0, 80),
    st.sampled_from([0.1, 0.5, 0.85]),
    st.integers(0, 10**6),
)
def test_a_solution_is_that_of_all_equations(nodes, edges, asked, damping, seed):
    graph, asked = graph_of(nodes, edges, seed), min(asked, nodes)
    rng = np.random.default_rng(seed)
    seeds = rng.choice(nodes, min(nodes, 5), replace=False)
    weights = rng.random(len(seeds)).astype(np.float32) + 0.1
    weights /= weights.sum()
    system = system_of(graph.matrix, graph.strength, damping, asked)
    found = system.solve(seeds, weights)
    assert np.abs(found - solved_densely(graph, seeds, weights, damping)).sum() <= 2e-3
    np.testing.assert_allclose(system.solve(seeds, weights, only_asked=True), found[:asked], atol=1e-6)


def nodes_of(level: Level) -> tuple[np.ndarray, np.ndarray]:
    """(kept, eliminated) nodes of a level."""
    return np.flatnonzero(level.place >= 0), np.flatnonzero(level.place < 0)


@given(st.integers(1, 200), st.integers(0, 500), st.integers(0, 200), st.integers(0, 10**6))
def test_what_is_eliminated_is_not_asked_for_has_few_edges_and_no_neighbour_that_is(nodes, edges, asked, seed):
    graph = graph_of(nodes, edges, seed)
    system = system_of(graph.matrix, graph.strength, 0.5, min(asked, nodes))
    if system.levels:
        _, few = nodes_of(system.levels[0])
        assert graph.matrix[few][:, few].nnz == 0
        assert (np.diff(graph.matrix.indptr)[few] <= FEW_EDGES).all()
        assert (few >= asked).all()
    left = np.arange(nodes)
    for level in system.levels:
        left = left[nodes_of(level)[0]]
    assert set(range(min(asked, nodes))) <= set(left.tolist())


@pytest.mark.parametrize("spokes", [1, 50])
def test_a_star_is_left_with_its_middle(spokes):
    star = adjacency(np.zeros(spokes, int), np.arange(1, spokes + 1), np.ones(spokes), spokes + 1)
    assert system_of(star.matrix, star.strength, 0.5).matrix.shape == (1, 1)


def test_most_of_a_graph_of_rare_names_is_eliminated():
    """A hundred passages that name ten entities each, of which most are named nowhere else or once more."""
    rng = np.random.default_rng(0)
    passages, entities = np.repeat(np.arange(100), 10), 100 + rng.integers(0, 700, 1_000)
    graph = adjacency(passages, entities, np.ones(1_000), 800)
    assert system_of(graph.matrix, graph.strength, 0.85, asked=100).matrix.shape[0] <= 110


def test_a_walk_that_is_cut_short_gives_each_component_its_mass(monkeypatch):
    """What is not solved is at rest: the sums of the two rings are those of their seeds, and a third has nothing."""
    monkeypatch.setattr(solver, "ROUNDS", 2)
    ring = np.arange(60)
    source, target = (
        np.concatenate([ring + 60 * i for i in range(3)]),
        np.concatenate([np.roll(ring, 1) + 60 * i for i in range(3)]),
    )
    graph = adjacency(source, target, np.ones(180), 180)
    monkeypatch.setattr(solver, "SMALL", 10**9)
    x = system_of(graph.matrix, graph.strength, 0.85).solve(np.array([5, 70]), np.array([0.25, 0.75], np.float32))
    np.testing.assert_allclose([x[:60].sum(), x[60:120].sum()], [0.25, 0.75], atol=1e-5)
    assert not x[120:].any()

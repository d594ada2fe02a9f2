"""PageRank: the golden values, igraph's prpack, and the serving mode beside the exact one."""

import igraph
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.graph import pagerank
from pipelines.graph.pagerank import adjacency, exact, near

PATH = adjacency(np.array([0, 1, 2]), np.array([1, 2, 3]), np.ones(3), 5)  # node 4 has no edges


def random_graph(nodes: int, edges: int, seed: int):
    rng = np.random.default_rng(seed)
    hubs = np.minimum((nodes * rng.random(edges) ** 3).astype(int), nodes - 1)  # a few nodes have most of the edges
    return hubs, rng.integers(0, nodes, edges), rng.random(edges) + 0.05


@pytest.mark.parametrize("whole", [0, pagerank.WHOLE], ids=["pushed", "solved"])
@pytest.mark.parametrize(
    ("damping", "wanted"),
    [
        (0.10, [0.238095, 0.025063, 0.025063, 0.238095, 0.473684]),
        (0.50, [0.200000, 0.133333, 0.133333, 0.200000, 0.333333]),
        (0.85, [0.175439, 0.259344, 0.259344, 0.175439, 0.130435]),
    ],
)
def test_mass_on_nodes_without_edges_returns_to_the_seeds(monkeypatch, damping, wanted, whole):
    monkeypatch.setattr(pagerank, "WHOLE", whole)
    assert np.allclose(exact(PATH, np.array([1, 0, 0, 1, 2]), damping), wanted, atol=1e-6)
    assert np.allclose(near(PATH, np.array([0, 3, 4]), np.array([1, 1, 2]), damping), wanted, atol=1e-5)


def test_weights_of_edges_count():
    graph = adjacency(np.array([0, 1]), np.array([1, 2]), np.array([2, 0.8]), 3)
    assert np.allclose(exact(graph, np.array([1, 0, 0.05])), [0.595238, 0.333333, 0.071429], atol=1e-6)


def test_resets_that_are_no_mass_count_as_none():
    graph = adjacency(np.array([0, 1]), np.array([1, 2]), np.array([2, 0.8]), 3)
    odd = exact(graph, np.array([1, -3, np.nan]))
    np.testing.assert_allclose(odd, exact(graph, np.array([1.0, 0, 0])))


@given(st.integers(2, 60), st.integers(0, 150), st.sampled_from([0.1, 0.5, 0.85]), st.integers(0, 10**6))
def test_exact_agrees_with_igraph(nodes, edges, damping, seed):
    source, target, weight = random_graph(nodes, edges, seed)
    reset = np.random.default_rng(seed).random(nodes) * (np.arange(nodes) % 3 == 0)
    reset[0] += 0.1
    loops = source == target
    peer = igraph.Graph(nodes, list(zip(source[~loops], target[~loops], strict=True)))
    wanted = peer.personalized_pagerank(
        damping=damping, reset=reset, directed=False, weights=weight[~loops].tolist(), implementation="prpack"
    )
    assert np.abs(exact(adjacency(source, target, weight, nodes), reset, damping) - wanted).max() <= 1e-6


def test_a_reset_of_nothing_is_refused_and_of_no_numbers_ignored():
    with pytest.raises(ValueError, match="dense"):
        exact(PATH, np.zeros(5))
    odd = exact(PATH, np.array([1, np.nan, -3, 1, 2]))
    assert np.allclose(odd, exact(PATH, np.array([1, 0, 0, 1, 2])))


@pytest.mark.parametrize("whole", [0, pagerank.WHOLE], ids=["pushed", "solved"])
@pytest.mark.parametrize("seeds", [3, 25, 500])
def test_the_serving_mode_finds_the_exact_top_50(monkeypatch, seeds, whole):
    monkeypatch.setattr(pagerank, "WHOLE", whole)
    nodes = 10_000
    graph = adjacency(*random_graph(nodes, 100_000, 1), nodes)
    rng = np.random.default_rng(2)
    shared = []
    for _ in range(5):
        at, weight = rng.choice(nodes, seeds, replace=False), rng.random(seeds) + 0.05
        reset = np.zeros(nodes)
        reset[at] = weight
        best = [set(np.argsort(-x, kind="stable")[:50]) for x in (exact(graph, reset), near(graph, at, weight))]
        shared.append(len(best[0] & best[1]) / 50)
    assert np.mean(shared) >= 0.99


@given(st.integers(2, 60), st.integers(0, 150), st.sampled_from([0.1, 0.5, 0.85]), st.integers(0, 10**6))
def test_a_small_graph_is_solved_to_a_thousandth(nodes, edges, damping, seed):
    graph = adjacency(*random_graph(nodes, edges, seed), nodes)
    reset = np.random.default_rng(seed).random(nodes) * (np.arange(nodes) % 3 == 0)
    at = np.flatnonzero(reset)
    assert np.abs(near(graph, at, reset[at], damping) - exact(graph, reset, damping)).sum() <= 1e-3


@pytest.mark.parametrize("whole", [0, pagerank.WHOLE], ids=["pushed", "solved"])
def test_the_serving_mode_gives_nothing_to_what_no_path_reaches(monkeypatch, whole):
    monkeypatch.setattr(pagerank, "WHOLE", whole)
    graph = adjacency(np.array([0, 1, 3, 3]), np.array([1, 2, 4, 5]), np.ones(4), 6)
    assert not near(graph, np.array([0]), np.ones(1))[3:].any()

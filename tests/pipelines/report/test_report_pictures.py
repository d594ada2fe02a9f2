"""The pictures say what the data says: planted communities are found, nothing overlaps, clusters are named by their words."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.report import Node, draw
from pipelines.report.charts import column_chart, count_ticks, histogram, share_ticks
from pipelines.report.cluster_map import SIZE, project
from pipelines.report.communities import LABEL


def planted(sizes: list[int]) -> tuple[list[Node], np.ndarray]:
    """Cliques in a ring, each linked to the next by one edge."""
    nodes, pairs, first = [], [], []
    for number, size in enumerate(sizes):
        start = len(nodes)
        first.append(start)
        nodes += [Node(f"group {number} member {i}", "name", "n", size - i) for i in range(size)]
        pairs += itertools.combinations(range(start, start + size), 2)
    pairs += [(a, b) for a, b in itertools.pairwise(first)]
    return nodes, np.array(pairs, int).reshape(-1, 2)


def test_planted_communities_are_found_and_named_after_their_most_mentioned_members():
    nodes, pairs = planted([9, 7, 5])
    picture = draw(nodes, pairs, np.ones(len(pairs)))
    assert [c.size for c in picture.circles] == [9, 7, 5]
    assert [c.names[0] for c in picture.circles] == [f"group {n} member 0" for n in range(3)]
    assert [len(c.dots) for c in picture.circles] == [9, 7, 5]
    assert {(b.a, b.b) for b in picture.bands} == {(0, 1), (1, 2)}


@settings(max_examples=25)
@given(st.lists(st.integers(3, 40), min_size=1, max_size=20))
def test_neither_circles_nor_the_names_below_them_overlap_and_all_lie_in_the_picture(sizes):
    nodes, pairs = planted(sizes)
    picture = draw(nodes, pairs, np.ones(len(pairs)))
    for a, b in itertools.combinations(picture.circles, 2):
        assert math.dist((a.x, a.y), (b.x, b.y)) > a.r + b.r
        below = b.y - b.r < a.y + a.r + LABEL * 0.9 and b.y > a.y
        assert not (below and abs(a.x - b.x) < 4)
    for c in picture.circles:
        assert c.r <= c.x <= picture.width - c.r and c.r <= c.y <= picture.height - c.r - LABEL
        assert all(math.dist((d.x, d.y), (c.x, c.y)) <= c.r for d in c.dots)


def test_the_same_graph_gives_the_same_picture():
    nodes, pairs = planted([6, 6, 6, 4])
    assert draw(nodes, pairs, np.ones(len(pairs))) == draw(nodes, pairs, np.ones(len(pairs)))


def test_of_communities_that_are_all_linked_only_the_strongest_links_are_drawn():
    nodes, pairs = planted([5] * 10)
    across = [(a, b) for a in range(0, 50, 5) for b in range(a + 5, 50, 5)]
    everything = np.concatenate([pairs, np.array(across)])
    picture = draw(nodes, everything, np.ones(len(everything)))
    assert len(picture.circles) == 10
    drawn = [sum(n in (b.a, b.b) for b in picture.bands) for n in range(10)]
    assert min(drawn) >= 2 and len(picture.bands) <= 20 < len(across)


def test_a_graph_without_links_has_no_communities():
    picture = draw([Node("a", "name", "n", 3)] * 5, np.empty((0, 2), int), np.empty(0))
    assert picture.circles == [] and picture.entities == 5


def test_units_alike_lie_together_and_their_cluster_is_named_by_their_words():
    rng = np.random.default_rng(0)
    themes = ["Ann: the harbour and the sailing boat", "Bo: tomato plants in the greenhouse"]
    centres = rng.standard_normal((2, 16)) * 3
    labels = np.arange(80) % 2
    vectors = (centres[labels] + rng.standard_normal((80, 16))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = project([themes[i] for i in labels], vectors, of=500)
    assert found is not None and found.of == 500 and len(found.dots) == 80
    places = np.array([(d.x, d.y) for d in found.dots])
    assert places.min() >= 0 and places.max() <= SIZE
    near = np.linalg.norm(places[:, None] - places[None], axis=2)
    same = labels[:, None] == labels[None]
    assert near[same].mean() < 0.6 * near[~same].mean()
    words = {w for c in found.clusters for w in c.words}
    assert {"harbour", "sailing", "boat"} & words and {"tomato", "greenhouse"} & words and "ann" not in words
    assert project([themes[i] for i in labels], vectors, of=500) == found


def test_a_handful_of_units_is_no_map():
    assert project(["a"] * 5, np.eye(5, dtype=np.float32), of=5) is None


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=200))
def test_a_histogram_counts_every_value_once(values):
    assert sum(n for _, n in histogram(values)) == len(values)


@given(st.integers(0, 10**9))
def test_ticks_of_counts_reach_the_highest(high):
    ticks = count_ticks(high)
    assert ticks[0] == 0 and ticks[-1] >= high and len(ticks) <= 7


@example(0.88, 0.96)
@given(st.floats(0, 1), st.floats(0, 1))
def test_ticks_of_shares_hold_all_values(a, b):
    ticks = share_ticks(min(a, b), max(a, b))
    assert ticks[0] <= min(a, b) + 1e-6 and ticks[-1] >= max(a, b) - 1e-6 and 2 <= len(ticks) <= 8
    assert ticks[0] >= 0 and ticks[-1] <= 1 and ticks[-1] - ticks[0] >= 0.0999


def test_columns_are_as_high_as_their_values():
    chart = column_chart("t", [("a", 10), ("b", 5), ("c", 0)], names=("x", "y"))
    heights = [c.height for c in chart.columns]
    assert heights[0] == 2 * heights[1] and heights[2] == 0

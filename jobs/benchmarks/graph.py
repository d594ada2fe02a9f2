"""The graph's parts on made-up data: PageRank beside igraph, mixtures beside scikit-learn, neighbours beside all pairs.

PageRank, seeded by 25 nodes: 100,000 nodes and ten edges a node, which are walked near the seeds, once at random, once with hubs
(node i has a share ~ i^-0.8 of the edges); and 60,000, which are solved whole, a sixth of them passages that are asked for and name
the others, these with such shares. Mixtures: rows of 30
similarities. Neighbours: planted vectors, the 30 nearest earlier rows of each. A peer that is not installed (igraph is for
developers) is left out.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from jobs.benchmarks.planted_vectors import planted
from jobs.run import Progress
from pipelines.graph.association import AssociationParams, accepted, associate, fit
from pipelines.graph.nearest import nearest_earlier
from pipelines.graph.pagerank import Adjacency, adjacency, exact, near
from schemas.ids import content_hash

NODES, SEEDS, QUESTIONS, TOP = 100_000, 25, 20, 50
SHAPES = (("at random", 1.0, 10.0), ("with hubs", 1.0, 10.0), ("of passages and names", 0.6, 3.5))
"""What is walked, its share of the nodes, edges a node."""
A_PASSAGE = 6  # one node in as many is one
ROWS, WIDTH, PEER_ROWS = 100_000, 30, 300
DAMPINGS = (0.5, 0.85)
VECTORS, COMPARED = 100_000, 2_000


def measure(limit: int | None, *, progress: Progress = lambda stage, done, total: None) -> list[dict]:
    """One row a measurement: what, its size, milliseconds (p50 where many), how often faster than the peer, agreement with it."""
    nodes = limit or NODES
    measured = (
        f"PageRank on {nodes:,} nodes, mixtures of {limit or ROWS:,} rows, neighbours of {limit or VECTORS:,} vectors"
    )
    parts: tuple[Callable[[], Iterator[dict]], ...] = (
        *(
            partial(_pageranks, shape, int(share * nodes), int(share * nodes * degree))
            for shape, share, degree in SHAPES
        ),
        lambda: _mixtures(limit or ROWS),
        lambda: _neighbours(limit or VECTORS),
    )
    rows: list[dict] = []
    for done, part in enumerate(parts, 1):
        rows += part()
        progress("graph", done, len(parts))
    return [row | {"measured": measured} for row in rows]


def _row(part: str, size: str, seconds: float, faster: float | None = None, agreement: float | None = None) -> dict:
    return {
        "part": part, "size": size, "ms": round(1000 * seconds, 3), "times_faster": faster and round(faster, 1),
        "agreement": None if agreement is None else round(agreement, 4),
    }  # fmt: skip


def _pageranks(shape: str, nodes: int, edges: int) -> Iterator[dict]:
    passages = nodes // A_PASSAGE if shape == "of passages and names" else 0
    source, target, weight = made_up_graph(nodes, edges, passages, hubs=shape == "with hubs")
    graph = replace(adjacency(source, target, weight, nodes), asked=passages)
    size = f"{nodes:,} nodes, {edges:,} edges {shape}"
    for damping in DAMPINGS:
        yield from _questions(graph, damping, f"{size}, damping {damping}")
    yield from _igraph(graph, source, target, weight, size)


def made_up_graph(
    nodes: int, edges: int, passages: int = 0, *, hubs: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(source, target, weight) of edges. With `hubs` one end of each is drawn by a power law; with `passages` too, and these nodes
    are the other end."""
    rng = np.random.default_rng(0)
    source, target = rng.integers(0, nodes, edges), rng.integers(0, passages or nodes, edges)
    if hubs or passages:
        named = np.arange(passages, nodes)
        shares = np.cumsum(np.arange(1, len(named) + 1) ** -0.8)
        drawn = np.searchsorted(shares, rng.random(edges) * shares[-1])
        source = rng.permutation(named)[np.minimum(drawn, len(named) - 1)]
    return source, target, rng.random(edges) + 0.1


def _questions(graph: Adjacency, damping: float, size: str) -> Iterator[dict]:
    rng = np.random.default_rng(1)
    serving, whole, shared = [], [], []
    for i in range(QUESTIONS + 2):  # the first two warm up
        seeds, weights = rng.choice(len(graph), SEEDS, replace=False), rng.random(SEEDS) + 0.05
        reset = np.zeros(len(graph))
        reset[seeds] = weights
        quick, quick_s = _timed(lambda s=seeds, w=weights: near(graph, s, w, damping, only_asked=graph.asked > 0))
        slow, slow_s = _timed(lambda r=reset: exact(graph, r, damping)) if i < 10 else (None, 0.0)
        if i >= 2:
            serving.append(quick_s)
        if i >= 2 and slow is not None:
            whole.append(slow_s)
            shared.append(len(_top(quick) & _top(slow[: len(quick)])) / TOP)
    ratio = float(np.median(whole) / np.median(serving))
    yield _row(
        "PageRank near the seeds, top 50 as exact", size, float(np.median(serving)), ratio, float(np.mean(shared))
    )
    yield _row("PageRank exact", size, float(np.median(whole)))


def _top(x: np.ndarray) -> set[int]:
    return set(np.argsort(-x, kind="stable")[:TOP].tolist())


def _igraph(graph: Adjacency, source, target, weight, size: str) -> Iterator[dict]:
    try:
        import igraph
    except ImportError:
        return
    keep = source != target
    peer = igraph.Graph(len(graph), np.column_stack([source[keep], target[keep]]))
    reset = np.zeros(len(graph))
    reset[:SEEDS] = 1.0
    asked = {"reset": reset.tolist(), "weights": weight[keep].tolist(), "directed": False, "implementation": "prpack"}
    wanted, seconds = _timed(lambda: np.array(peer.personalized_pagerank(damping=0.5, **asked)))
    mine, mine_s = _timed(lambda: exact(graph, reset, 0.5))
    yield _row(
        "igraph prpack, largest difference to exact",
        size,
        seconds,
        mine_s / seconds,
        float(np.abs(wanted - mine).max()),
    )


def similarities(rows: int, *, least_gap: float = 0.1) -> np.ndarray:
    """Rows of similarities, best first: a few high ones, the others low, their distance different in each row."""
    rng = np.random.default_rng(2)
    high = np.arange(WIDTH) < rng.integers(2, WIDTH // 2, rows)[:, None]
    middle = rng.uniform(0.2, 0.5, (rows, 1)) + np.where(high, rng.uniform(least_gap, 0.4, (rows, 1)), 0)
    return -np.sort(-(middle + 0.04 * rng.standard_normal((rows, WIDTH))), axis=1)


def _mixtures(rows: int) -> Iterator[dict]:
    from sklearn.mixture import GaussianMixture

    scores, params = similarities(rows), AssociationParams()
    _, mine = _timed(lambda: associate(scores))
    some = scores[:PEER_ROWS]
    known = np.ones(some.shape, bool)
    mixtures = fit(some, known)
    chosen, separable = accepted(some, known, mixtures), mixtures.separable(params)
    equal, begun = [], time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for row, own, counts in zip(some, chosen, separable, strict=True):
            peer = GaussianMixture(n_components=2, random_state=0).fit(row[:, None])
            wanted = peer.predict(row[:, None]) == peer.means_.argmax()
            if counts and params.least_share <= wanted.mean() <= params.most_accepted:
                equal.append(bool((wanted == own).all()))
    theirs = (time.perf_counter() - begun) * rows / len(some)
    yield _row(
        "mixtures, as scikit-learn on separable rows", f"{rows:,} x {WIDTH}", mine, theirs / mine, float(np.mean(equal))
    )


def _neighbours(rows: int) -> Iterator[dict]:
    vectors = planted([content_hash(str(i)) for i in range(rows)])
    new = np.arange(rows)
    found, mine = _timed(lambda: nearest_earlier(vectors, new, WIDTH))
    some = np.linspace(rows // 2, rows - 1, min(COMPARED, rows // 4)).astype(int)
    wanted, part = _timed(lambda: nearest_earlier(vectors, some, WIDTH, exact=True))
    whole = part * (rows * rows / 2) / float(some.sum())  # all pairs, by the pairs compared
    kept = [len(set(a) & set(b)) / WIDTH for a, b in zip(found[0][some].tolist(), wanted[0].tolist(), strict=True)]
    yield _row(
        "nearest earlier, as all pairs", f"{rows:,} x {vectors.shape[1]}", mine, whole / mine, float(np.mean(kept))
    )


def _timed(call: Callable):
    start = time.perf_counter()
    return call(), time.perf_counter() - start

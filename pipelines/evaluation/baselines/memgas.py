"""MemGAS as published (arXiv 2505.19549), without its language model: what the store has stands in for its summaries and
keywords.

Four nodes per session, in this order: the session's vector, the mean of its turns' vectors, its summary's, its keywords'. A
node of the sixth or a later session is compared with all nodes of strictly earlier sessions; of its `candidates` nearest a
two-component Gaussian mixture accepts those of the component with the larger mean, and unweighted edges go there. A question
weighs the four granularities by the router, keeps the `seeds` highest node scores as the reset of a PageRank with damping 0.1,
and a session scores the sum of its nodes' mass.

The router is the paper's: normalised inverse entropy, so the granularity whose similarities are most peaked weighs most. (The
released research code divides 1 - H, which turns that around as soon as H > 1.) Cost of building: quadratic in the sessions of
the scope.
"""

from __future__ import annotations

import numpy as np

from pipelines.evaluation.baselines.corpus import Corpus, Encode, Ranker
from pipelines.graph.association import accepted, fit
from pipelines.graph.pagerank import adjacency, exact
from pipelines.recall.routing import entropy_weights

GRANULARITIES = 4
FIRST = 5
CANDIDATES, SEEDS, DAMPING, TEMPERATURE = 30, 15, 0.1, 0.2


def memgas(corpus: Corpus, encode: Encode) -> Ranker:
    """Sessions by the PageRank mass of their four nodes."""
    n = len(corpus)
    levels = np.stack([corpus.vectors, _mean_of_leaves(corpus), corpus.summaries, corpus.keywords])
    nodes = levels.transpose(1, 0, 2).reshape(GRANULARITIES * n, -1)
    source, target = associations(nodes)
    graph = adjacency(source, target, np.ones(len(source)), len(nodes))

    def rank(text: str, vector: np.ndarray) -> np.ndarray:
        similarities = levels @ vector
        weights = entropy_weights(similarities, TEMPERATURE, kept=None)
        scores = (weights[:, None] * similarities).T.ravel()
        reset = seeded(scores, SEEDS)
        if reset.sum() <= 0:
            return similarities[0]
        return exact(graph, reset, DAMPING).reshape(n, GRANULARITIES).sum(axis=1)

    return rank


def _mean_of_leaves(corpus: Corpus) -> np.ndarray:
    sums = np.zeros(corpus.vectors.shape, np.float32)
    np.add.at(sums, corpus.leaf_item, corpus.leaf_vectors)
    counts = np.bincount(corpus.leaf_item, minlength=len(corpus))
    return sums / np.maximum(counts, 1)[:, None]


def associations(nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges (source, target) from every node of a later session to accepted nodes of earlier ones.

    Sessions are four rows each.
    """
    sources, targets = [], []
    for node in range(FIRST * GRANULARITIES, len(nodes)):
        earlier = nodes[: GRANULARITIES * (node // GRANULARITIES)]
        similarity = earlier @ nodes[node]
        nearest = np.argsort(-similarity, kind="stable")[:CANDIDATES]
        chosen = nearest[accept(similarity[nearest])]
        sources.append(np.full(len(chosen), node))
        targets.append(chosen)
    empty = np.empty(0, np.int64)
    return np.concatenate([empty, *sources]), np.concatenate([empty, *targets])


def accept(values: np.ndarray) -> np.ndarray:
    """Which values the higher component of a two-component Gaussian mixture takes -> bool [m]; the best alone where none."""
    best = np.zeros(len(values), bool)
    best[np.argmax(values)] = True
    if values.std() < 1e-9:
        return best
    known = np.ones((1, len(values)), bool)
    found = accepted(values[None], known, fit(values[None], known))[0]
    return found if found.any() else best


def seeded(scores: np.ndarray, seeds: int) -> np.ndarray:
    """The scores of the `seeds` best nodes, ties with the last of them kept; 0 elsewhere and where negative."""
    least = np.sort(scores)[-min(seeds, len(scores))]
    return np.where(scores >= least, np.maximum(scores, 0.0), 0.0)

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
from pipelines.evaluation.baselines.pagerank import personalized_pagerank, undirected

GRANULARITIES = 4
FIRST = 5
CANDIDATES, SEEDS, DAMPING, TEMPERATURE = 30, 15, 0.1, 0.2


def memgas(corpus: Corpus, encode: Encode) -> Ranker:
    """Sessions by the PageRank mass of their four nodes."""
    n = len(corpus)
    levels = np.stack([corpus.vectors, _mean_of_leaves(corpus), corpus.summaries, corpus.keywords])
    nodes = levels.transpose(1, 0, 2).reshape(GRANULARITIES * n, -1)
    source, target = associations(nodes)
    adjacency = undirected(len(nodes), source, target, np.ones(len(source)))

    def rank(text: str, vector: np.ndarray) -> np.ndarray:
        similarities = levels @ vector
        scores = (router(similarities)[:, None] * similarities).T.ravel()
        reset = seeded(scores, SEEDS)
        if reset.sum() <= 0:
            return similarities[0]
        return personalized_pagerank(adjacency, reset, DAMPING).reshape(n, GRANULARITIES).sum(axis=1)

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
        accepted = nearest[accept(similarity[nearest])]
        sources.append(np.full(len(accepted), node))
        targets.append(accepted)
    empty = np.empty(0, np.int64)
    return np.concatenate([empty, *sources]), np.concatenate([empty, *targets])


def accept(values: np.ndarray, *, most_steps: int = 100, tolerance: float = 1e-6, floor: float = 1e-6) -> np.ndarray:
    """Which values the higher component of a two-component Gaussian mixture takes -> bool [m]; the best alone where none.

    Expectation-maximisation from the quartiles with half the mass each; variances have `floor` added, as in scikit-learn.
    """
    x = np.asarray(values, np.float64)
    best = np.zeros(len(x), bool)
    best[np.argmax(x)] = True
    if len(x) < 2 or x.std() < 1e-9:
        return best
    means, variance, mass = np.percentile(x, [25, 75]), np.full(2, x.var() / 2 + floor), np.array([0.5, 0.5])
    for _ in range(most_steps):
        taken = _responsibilities(x, means, variance, mass)
        counts = np.maximum(taken.sum(axis=1), 1e-12)
        moved = taken @ x / counts
        variance = (taken * (x - moved[:, None]) ** 2).sum(axis=1) / counts + floor
        mass, shift, means = counts / len(x), np.abs(moved - means).max(), moved
        if shift < tolerance:
            break
    accepted = _responsibilities(x, means, variance, mass).argmax(axis=0) == means.argmax()
    return accepted if accepted.any() else best


def _responsibilities(x: np.ndarray, means: np.ndarray, variance: np.ndarray, mass: np.ndarray) -> np.ndarray:
    exponents = np.log(mass)[:, None] - 0.5 * np.log(2 * np.pi * variance)[:, None]
    exponents = exponents - (x - means[:, None]) ** 2 / (2 * variance[:, None])
    weights = np.exp(exponents - exponents.max(axis=0))
    return weights / weights.sum(axis=0)


def entropies(similarities: np.ndarray, temperature: float = TEMPERATURE) -> np.ndarray:
    """Entropy in nats of each row's softmax: [levels, n] -> [levels]."""
    scaled = similarities / temperature
    p = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return -(p * np.log(p + 1e-12)).sum(axis=1)


def router(similarities: np.ndarray, temperature: float = TEMPERATURE) -> np.ndarray:
    """Weights of the granularities, summing to 1: what is left of the highest possible entropy, normalised."""
    most = np.log(max(similarities.shape[1], 2))
    weights = np.maximum(1e-6, 1 - entropies(similarities, temperature) / most)
    return weights / weights.sum()


def seeded(scores: np.ndarray, seeds: int) -> np.ndarray:
    """The scores of the `seeds` best nodes, ties with the last of them kept; 0 elsewhere and where negative."""
    least = np.sort(scores)[-min(seeds, len(scores))]
    return np.where(scores >= least, np.maximum(scores, 0.0), 0.0)

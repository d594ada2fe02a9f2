"""The map of embeddings: units of a sample as dots, near ones alike in meaning, coloured and named by cluster.

Two dimensions by t-SNE (van der Maaten & Hinton 2008; Barnes-Hut of scikit-learn, started from the principal components, fixed
seed); clusters by k-means of the vectors themselves, not of the picture, since t-SNE tears apart what is far only in it. A
cluster is named by the words that its texts use more than the others do (log odds with a prior, Monroe et al. 2008). O(n log n);
900 dots take about 2 s.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import faiss
import numpy as np
from threadpoolctl import threadpool_limits
from wordfreq import zipf_frequency

from pipelines.lexical.terms import STOP_WORDS

DOTS = 900
CLUSTERS = 8
PERPLEXITY = 30.0
SIZE, MARGIN = 600.0, 16.0
LETTER, LINE = 10.0, 24.0
WORD = re.compile(r"[^\W\d_]{3,}(?:['’][^\W\d_]+)?")
COMMON = 5.7
"""Zipf frequency from which on a word says nothing about a cluster; "any", "really", "time" lie above."""
NAMED = 3


@dataclass(frozen=True)
class Dot:
    """One unit."""

    x: float
    y: float
    cluster: int
    text: str


@dataclass(frozen=True)
class Cluster:
    """A cluster: its words, where its name stands, how many dots it has, the text nearest to its centre."""

    words: list[str]
    x: float
    y: float
    size: int
    example: str


@dataclass(frozen=True)
class Map:
    """Dots and clusters in a square of `size`."""

    dots: list[Dot]
    clusters: list[Cluster]
    of: int
    size: float = SIZE


def project(texts: Sequence[str], vectors: np.ndarray, *, of: int) -> Map | None:
    """The map of a sample of `of` units; None where there are too few to see anything. vectors: f32 [n, dim], of unit norm."""
    if len(texts) < 12:
        return None
    labels, centres = _kmeans(vectors)
    places = _scaled(_flatten(vectors))
    words = _names(texts, labels, len(centres))
    clusters = []
    for number, centre in enumerate(centres):
        mine = np.flatnonzero(labels == number)
        best = mine[np.argmax(vectors[mine] @ centre)]
        x, y = np.median(places[mine], axis=0)
        clusters.append(Cluster(words[number], float(x), float(y), len(mine), texts[best]))
    dots = [Dot(float(x), float(y), int(c), t) for (x, y), c, t in zip(places, labels, texts, strict=True)]
    return Map(dots, _spread(clusters), of)


def _spread(clusters: list[Cluster]) -> list[Cluster]:
    """Names moved off each other and off the rim, from the top down."""
    placed: list[Cluster] = []
    order = sorted(range(len(clusters)), key=lambda i: clusters[i].y)
    for cluster in (clusters[i] for i in order):
        half = LETTER * len(", ".join(cluster.words[:2])) / 2
        x, y = min(max(cluster.x, half), SIZE - half), max(cluster.y, LINE)
        for other in placed:
            width = half + LETTER * len(", ".join(other.words[:2])) / 2
            if abs(other.x - x) < width and abs(other.y - y) < LINE:
                y = other.y + LINE
        placed.append(replace(cluster, x=x, y=y))
    return [placed[i] for i in np.argsort(order)]


def _kmeans(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels, largest cluster first, and centres."""
    k = max(2, min(CLUSTERS, len(vectors) // 12))
    model = faiss.Kmeans(vectors.shape[1], k, niter=25, seed=1, spherical=True, min_points_per_centroid=1)
    model.train(np.ascontiguousarray(vectors, np.float32))
    centres = np.asarray(model.centroids)
    labels = np.argmax(vectors @ centres.T, axis=1)
    kept = [
        number for number in np.argsort(-np.bincount(labels, minlength=k), kind="stable") if (labels == number).any()
    ]
    renamed = np.zeros(k, int)
    renamed[kept] = np.arange(len(kept))
    return renamed[labels], centres[kept]


def _flatten(vectors: np.ndarray) -> np.ndarray:
    from sklearn.manifold import TSNE  # a second or so, which every ingest would spend at its start

    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=0, metric="cosine", max_iter=400)
    with threadpool_limits(1):  # more threads wait for each other in every step: 25 times slower on a busy machine
        return tsne.fit_transform(vectors)


def _scaled(places: np.ndarray) -> np.ndarray:
    """Into the square, the farthest half percent at its rim."""
    low, high = np.percentile(places, [0.5, 99.5], axis=0)
    share = np.clip((places - low) / np.maximum(high - low, 1e-9), 0, 1)
    return MARGIN + share * (SIZE - 2 * MARGIN)


def _names(texts: Sequence[str], labels: np.ndarray, k: int) -> list[list[str]]:
    """For each cluster the words in more of its texts than chance would have it; names of speakers are none."""
    told = [_apart(text) for text in texts]
    speakers = {w.casefold() for speaker, _ in told for w in WORD.findall(speaker)}
    words = [
        {w for w in map(str.casefold, WORD.findall(said)) if w not in speakers and _telling(w)} for _, said in told
    ]
    everywhere: Counter[str] = Counter(w for found in words for w in found)
    names: list[list[str]] = []
    for number in range(k):
        mine = Counter(w for found, label in zip(words, labels, strict=True) if label == number for w in found)
        n, rest = int((labels == number).sum()), len(texts) - int((labels == number).sum())
        scores = {}
        for word, inside in mine.items():
            outside = everywhere[word] - inside
            if inside >= 2:
                odds = math.log((inside + 0.5) / (n - inside + 0.5)) - math.log(
                    (outside + 0.5) / (rest - outside + 0.5)
                )
                scores[word] = odds / math.sqrt(1 / (inside + 0.5) + 1 / (outside + 0.5))
        names.append(sorted(scores, key=lambda w: (-scores[w], w))[:NAMED])
    return names


@lru_cache(maxsize=50_000)
def _telling(word: str) -> bool:
    return word not in STOP_WORDS and "'" not in word and "’" not in word and zipf_frequency(word, "en") < COMMON


def _apart(text: str) -> tuple[str, str]:
    """`speaker: what is said` -> both; a text without a speaker is all said."""
    head, colon, rest = text.partition(": ")
    return (head, rest) if colon and len(head) <= 40 and "\n" not in head else ("", text)

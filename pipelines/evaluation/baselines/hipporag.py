"""HippoRAG 2 as published (arXiv 2502.14802), without its language model filter: the five best facts are all kept.

Phrases (normalised heads and tails of triples) and passages are nodes. A fact adds 2 to the edge between its phrases each time a
passage says it, a passage has an edge of 1 to each of its phrases, and phrases at a cosine of 0.8 or more are synonyms with an
edge of twice the cosine. A question keeps the five facts with the best min-max cosine; their phrases are seeds by the score
over the number of passages that know the phrase, all passages are seeds by 0.05 of their own min-max cosine, and PageRank with
damping 0.5 ranks the passages. Without any fact passages are ranked by cosine.

Synonyms are found exactly, in blocks: quadratic in the phrases, some seconds for 20,000 of them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from pipelines.evaluation.baselines.corpus import Corpus, Encode, Ranker
from pipelines.graph.pagerank import Adjacency, adjacency, exact
from pipelines.graph.seeds import fact_weights

FACTS, PHRASES, PASSAGE_WEIGHT, DAMPING = 5, 5, 0.05, 0.5
SYNONYM, MOST_SYNONYMS, SHORTEST = 0.8, 100, 3
BLOCK = 2_000
_NOT_WORD = re.compile(r"[^\w ]|_")

Fact = tuple[str, str, str]


def hipporag2(corpus: Corpus, encode: Encode) -> Ranker:
    """Passages by PageRank from the facts nearest to the question."""
    said = sorted({(phrase(s), phrase(p), phrase(o), item) for s, p, o, item in corpus.triples})
    said = [(s, p, o, item) for s, p, o, item in said if s and o]
    facts: list[Fact] = sorted({(s, p, o) for s, p, o, _ in said})
    if not facts:
        return lambda text, vector: corpus.vectors @ vector
    names = sorted({name for s, _, o in facts for name in (s, o)})
    number = {name: i for i, name in enumerate(names)}
    ends = np.array([(number[s], number[o]) for s, _, o in facts])
    told = np.array(sorted({(number[name], item) for s, _, o, item in said for name in (s, o)}))
    known_by = np.bincount(told[:, 0], minlength=len(names))
    fact_vectors = encode([str(fact) for fact in facts])
    graph = _graph(said, number, told, names, encode(names), len(corpus))

    def rank(text: str, vector: np.ndarray) -> np.ndarray:
        scores = min_max(fact_vectors @ vector)
        best = np.argsort(-scores, kind="stable")[:FACTS]
        phrases = phrase_weights(ends[best], scores[best], known_by)
        passages = PASSAGE_WEIGHT * min_max(corpus.vectors @ vector)
        return exact(graph, np.concatenate([phrases, passages]), DAMPING)[len(names) :]

    return rank


def phrase(text: str) -> str:
    """The normal form of a phrase: compatible characters, lower case, letters and digits of any script."""
    return " ".join(_NOT_WORD.sub(" ", unicodedata.normalize("NFKC", text).lower()).split())


def min_max(scores: np.ndarray) -> np.ndarray:
    """Scores moved to 0..1; all 1 where they are equal."""
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else np.ones_like(scores)


def phrase_weights(ends: np.ndarray, scores: np.ndarray, known_by: np.ndarray, most: int = PHRASES) -> np.ndarray:
    """Reset weights of phrases: `ends` [facts, 2] of the kept facts with their scores -> float64 [phrases].

    A phrase takes the mean over its kept facts of score / passages that know it; the `most` heaviest stay.
    """
    out = np.zeros(len(known_by))
    for node, weight in fact_weights(ends.tolist(), scores, known_by, most).items():
        out[node] = weight
    return out


def _graph(
    said: list[tuple[str, str, str, int]],
    number: dict[str, int],
    told: np.ndarray,
    names: Sequence[str],
    vectors: np.ndarray,
    passages: int,
) -> Adjacency:
    facts = np.array([(number[s], number[o]) for s, _, o, _ in said if s != o]).reshape(-1, 2)
    synonyms = list(_synonyms(names, vectors))
    source = np.concatenate([facts[:, 0], told[:, 0], *(s for s, _, _ in synonyms)])
    target = np.concatenate([facts[:, 1], told[:, 1] + len(names), *(t for _, t, _ in synonyms)])
    weight = np.concatenate([np.full(len(facts), 2.0), np.ones(len(told)), *(w for _, _, w in synonyms)])
    return adjacency(source, target, weight, len(names) + passages)


def _synonyms(names: Sequence[str], vectors: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(source, target, weight) of each direction: both together make twice the cosine. Short phrases look for none."""
    looks = np.array([len(name.replace(" ", "")) >= SHORTEST for name in names])
    bounds = [*range(0, len(names), BLOCK), len(names)]
    for start, end in pairwise(bounds):
        cosines = vectors[start:end] @ vectors.T
        cosines[np.arange(end - start), np.arange(start, end)] = -1.0
        cosines[~looks[start:end]] = -1.0
        if len(names) > MOST_SYNONYMS:
            least = -np.partition(-cosines, MOST_SYNONYMS - 1, axis=1)[:, MOST_SYNONYMS - 1]
            cosines[cosines < least[:, None]] = -1.0
        rows, columns = np.nonzero(cosines >= SYNONYM)
        yield rows + start, columns, cosines[rows, columns].astype(np.float64)

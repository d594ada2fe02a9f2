"""The baselines without structure: cosine, BM25, the best turn of a session, and keys merged with facts.

- dense: the cosine of question and item.
- bm25: Okapi BM25 (Robertson and Zaragoza 2009), k1 = 1.2, b = 0.75, over the same stems as the index, the scope its own
  collection.
- max-over-turns: an item scores as its best leaf does.
- longmemeval: LongMemEval's best key (arXiv 2410.10813, K = V + fact): the item's facts, a space and its text are embedded as
  one.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

from pipelines.evaluation.baselines.corpus import Corpus, Encode, Ranker
from pipelines.lexical.terms import stem_terms

K1, B = 1.2, 0.75


def dense(corpus: Corpus, encode: Encode) -> Ranker:
    """Items by cosine."""
    return lambda text, vector: corpus.vectors @ vector


def bm25(corpus: Corpus, encode: Encode) -> Ranker:
    """Items by BM25."""
    postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
    lengths = np.zeros(len(corpus))
    for item, text in enumerate(corpus.texts):
        found = Counter(stem_terms(text))
        lengths[item] = sum(found.values())
        for term, count in found.items():
            postings[term].append((item, count))
    norm = K1 * (1 - B + B * lengths / max(lengths.mean() if len(corpus) else 1.0, 1e-9))

    def rank(text: str, vector: np.ndarray) -> np.ndarray:
        scores = np.zeros(len(corpus))
        for term in stem_terms(text):
            if term in postings:
                rows, counts = np.array(postings[term]).T
                idf = np.log1p((len(corpus) - len(rows) + 0.5) / (len(rows) + 0.5))
                scores[rows] += idf * counts * (K1 + 1) / (counts + norm[rows])
        return scores

    return rank


def max_over_leaves(corpus: Corpus, encode: Encode) -> Ranker:
    """Items by the cosine of their best leaf; items without leaves come last."""

    def rank(text: str, vector: np.ndarray) -> np.ndarray:
        scores = np.full(len(corpus), -1.0)
        np.maximum.at(scores, corpus.leaf_item, corpus.leaf_vectors @ vector)
        return scores

    return rank


def longmemeval(corpus: Corpus, encode: Encode) -> Ranker:
    """Items by the cosine of a key that is their facts and their text."""
    keys = np.array(corpus.vectors, np.float32)
    expanded = [i for i, fact in enumerate(corpus.facts) if fact]
    if expanded:
        keys[expanded] = encode([f"{corpus.facts[i]} {corpus.texts[i]}" for i in expanded])
    return lambda text, vector: keys @ vector

"""Extractive summary: the central sentences of a group, in their order.

LexRank (Erkan & Radev 2004) in its continuous form: PageRank with damping .85 over the non-negative cosines of the leaves'
vectors, or of their rarity-weighted words where there are no vectors; then maximal marginal relevance (Carbonell & Goldstein
1998) so that no sentence repeats another. Leaves are ranked by centrality and give their best sentence. Cost is quadratic in
the leaves, of which the 2,000 that say most take part (16 MB).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from pipelines.extraction.params import ExtractParams
from pipelines.extraction.reading import Group, Sentence
from pipelines.extraction.rewriting import person
from pipelines.extraction.words import rarity

_MOST_LEAVES = 2000
_FEWEST_WORDS, _MOST_WORDS = 6, 45
_POINTERS = frozenset(["this", "that", "these", "those", "here", "there"])
_STEPS, _TOLERANCE = 50, 1e-6


def central_sentences(group: Group, vectors: np.ndarray | None, params: ExtractParams) -> list[Sentence]:
    """At most `summary_sentences` sentences in the group's order; `vectors` [leaves, dim] of unit norm, or None.

    Questions, greetings and captions are no candidates unless there is nothing else.
    """
    best = _best_sentences(group)
    if not best:
        return []
    rows = sorted(sorted(best, key=lambda r: (-_merit(best[r]), r))[:_MOST_LEAVES])
    near = _cosines(vectors[rows]) if vectors is not None else _word_cosines([best[r] for r in rows])
    scores = centrality(near, params.damping) * np.array([_merit(best[r]) for r in rows])
    chosen = _diverse(near, scores / max(scores.max(), 1e-12), params.summary_sentences, params.redundancy)
    return _within_length([best[rows[i]] for i in chosen], params.summary_words)


def _best_sentences(group: Group) -> dict[int, Sentence]:
    """The sentence with most to say of every leaf that has one fit for a summary."""
    best: dict[int, Sentence] = {}
    for strict in (True, False):
        for s in group.sentences():
            if s.caption or not s.tokens or (strict and not _fit(s)):
                continue
            if s.leaf not in best or _content(s) > _content(best[s.leaf]):
                best[s.leaf] = s
        if best:
            break
    return best


def _fit(s: Sentence) -> bool:
    words = sum(t.tag != "." for t in s.tokens)
    return _FEWEST_WORDS <= words <= _MOST_WORDS and not any(t.text in "?？؟" for t in s.tokens)


def _content(s: Sentence) -> float:
    return float(sum(rarity(t.lower) for t in s.tokens if t.tag in "NVAEM")) + 0.5 * len(s.dates)


def _merit(s: Sentence) -> float:
    """Among equally central sentences those that say more are preferred, and those that can be understood alone."""
    said = _content(s)
    opening = next((t for t in s.tokens if t.tag not in ".CUR"), s.tokens[0])
    dangling = (opening.tag == "P" and not person(opening)) or opening.lower in _POINTERS
    addressed = any(t.lower.partition("'")[0] in ("you", "your", "yours") for t in s.tokens)
    about = bool(s.dates) or any(t.tag in "EM" or person(t) for t in s.tokens)
    return (
        (0.3 + said / (said + 1.5))
        * (1.0 if about else 0.75)
        * (0.5 if dangling else 1.0)
        * (0.6 if addressed else 1.0)
    )


def _cosines(vectors: np.ndarray) -> np.ndarray:
    """Non-negative cosines of unit rows [n, dim] -> float32 [n, n]."""
    rows = np.asarray(vectors, dtype=np.float32)
    return np.maximum(rows @ rows.T, 0)


def _word_cosines(sentences: Sequence[Sentence]) -> np.ndarray:
    """Cosines of rarity-weighted word counts -> float32 [n, n]."""
    vocabulary: dict[str, int] = {}
    rows, columns, weights = [], [], []
    for i, s in enumerate(sentences):
        for t in s.tokens:
            if t.tag in "NVAEM" and (weight := rarity(t.lower)) > 0:
                rows.append(i)
                columns.append(vocabulary.setdefault(t.lower, len(vocabulary)))
                weights.append(weight)
    shape = (len(sentences), max(1, len(vocabulary)))
    counts = sparse.csr_array((weights, (rows, columns)), shape=shape, dtype=np.float32)
    norms = np.sqrt(counts.multiply(counts).sum(axis=1))
    unit = sparse.diags_array(1 / np.maximum(norms, 1e-12)) @ counts
    return np.asarray((unit @ unit.T).toarray(), dtype=np.float32)


def centrality(near: np.ndarray, damping: float) -> np.ndarray:
    """LexRank of a non-negative similarity matrix [n, n] -> float64 [n], sum 1; a row without neighbours jumps anywhere."""
    n = len(near)
    weights = near.astype(np.float64)
    np.fill_diagonal(weights, 0)
    sums = weights.sum(axis=1, keepdims=True)
    walk = np.where(sums > 0, weights / np.maximum(sums, 1e-12), 1 / n)
    rank = np.full(n, 1 / n)
    for _ in range(_STEPS):
        following = (1 - damping) / n + damping * (rank @ walk)
        if np.abs(following - rank).sum() < _TOLERANCE:
            return following
        rank = following
    return rank


def _diverse(near: np.ndarray, scores: np.ndarray, count: int, redundancy: float) -> list[int]:
    """Maximal marginal relevance: row numbers, best first; ties to the earlier row."""
    chosen: list[int] = []
    nearest = np.zeros(len(scores))
    for _ in range(min(count, len(scores))):
        value = (1 - redundancy) * scores - redundancy * nearest
        value[chosen] = -np.inf
        # rounding keeps the choice the same whatever the order in which BLAS adds
        row = int(np.argmax(np.round(value, 5)))
        chosen.append(row)
        nearest = np.maximum(nearest, near[row])
    return chosen


def _within_length(chosen: Sequence[Sentence], most_words: int) -> list[Sentence]:
    kept: list[Sentence] = []
    words = 0
    for s in chosen:
        words += sum(t.tag != "." for t in s.tokens)
        if kept and words > most_words:
            break
        kept.append(s)
    return sorted(kept, key=lambda s: (s.leaf, s.start))

"""Iterative recall without a model: pseudo-relevance feedback (Rocchio), for questions whose answer is a step away.

What was found speaks with the question in the next round: the vector moves towards the centroid of the best hits, and their
words that are rare in the scope join the question's own (structural memory study, arXiv 2412.15266, iterative retrieval).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from pipelines.lexical.terms import stem_terms, surface_words
from pipelines.recall.channels import Asked
from pipelines.recall.ranking import Placed
from pipelines.recall.scope import Scope

HITS, PULL, WORDS = 5, 0.4, 10


def fed_back(scope: Scope, asked: Asked, placed: list[Placed]) -> Asked:
    """The question of the next round."""
    places = [found.place(i) for found, i in placed[:HITS]]
    if not places:
        return asked
    centroid = np.mean([part.shard.vectors[row] for part, row in places], axis=0)
    vector = asked.vector + np.float32(PULL) * centroid
    vector = (vector / np.linalg.norm(vector)).astype(np.float32)
    words = _words([part.shard.units["text"][row].as_py() for part, row in places], asked.reading.text, scope)
    return replace(asked, vector=vector, reading=replace(asked.reading, text=f"{asked.reading.text} {' '.join(words)}"))


def _words(texts: list[str], question: str, scope: Scope) -> list[str]:
    """Words of the hits that the question lacks: in most of the hits, and of these the rarest in the scope."""
    have = set(stem_terms(question))
    shown: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for text in texts:
        words = surface_words(text)
        stems = stem_terms(text)
        for stem, word in zip(stems, words, strict=True):
            shown.setdefault(stem, word)
        counts.update(set(stems) - have)
    level = scope.levels["leaf"]
    n = max(1, len(level))

    def weight(stem: str) -> float:
        df = sum(p.shard.lexical.count(stem, p.start, p.end) for p in level.parts)
        return counts[stem] * float(np.log1p(n / (1 + df)))

    return [shown[s] for s in sorted(counts, key=lambda s: (-weight(s), s))[:WORDS]]

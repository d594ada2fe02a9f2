"""The graph as a channel: personalized PageRank from the names in a question and its nearest passages (HippoRAG 2), which are found
by meaning and by words: a small encoder does not know rare names.

The log of a passage's mass as a z-score over the scope; what has less than a thousandth of an even share counts as not reached.
Where nothing in a scope links, the walk starts from passages alone and still spreads to their neighbours.
"""

from __future__ import annotations

import numpy as np

from pipelines.graph.knowledge_graph import SeedParams
from pipelines.graph.seeds import Seeds
from pipelines.recall.scope import Level, Part, Scope

NEAREST = 20  # twice as many as seed a walk
REACHED = 1e-3  # of an even share; without a bound the spread of the logs would hang on how far the tail of a walk is computed


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    """Places of the k highest, in no order."""
    return np.arange(len(scores)) if len(scores) <= k else np.argpartition(-scores, k - 1)[:k]


class GraphChannel:
    """One question's walk over the graphs of a scope's shards."""

    def __init__(self, scope: Scope, level: Level, text: str, vector: np.ndarray, shares: np.ndarray) -> None:
        """`shares` of the question's words that the units of the level have."""
        self.level, self.vector, self.shares = level, vector, shares
        names = None if scope.namespaces is None else sorted(scope.namespaces)
        self.seeds: dict[int, Seeds] = {}
        for part in self._parts():
            if id(part.shard) not in self.seeds:
                self.seeds[id(part.shard)] = part.shard.graph.link(text, vector, names)  # type: ignore[union-attr]
        self._near: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def _parts(self) -> list[Part]:
        return [p for p in self.level.parts if p.granularity == "passage" and p.shard.graph is not None]

    def scores(self) -> np.ndarray | None:
        """z-scores of the units of the level; None where nothing was reached."""
        mass = np.zeros(len(self.level), np.float32)
        for part, offset in zip(self.level.parts, self.level.offsets, strict=False):
            if id(part.shard) not in self.seeds or part.granularity != "passage":
                continue
            rows, near = self._nearest(part)
            reached, found = part.shard.graph.masses(self.seeds[id(part.shard)], rows, near)  # type: ignore[union-attr]
            inside = (reached >= part.start) & (reached < part.end)
            mass[offset + reached[inside] - part.start] = found[inside]
        if not mass.any():
            return None
        passages = np.concatenate([np.full(len(p), p.granularity == "passage") for p in self.level.parts])
        logs = np.log(np.maximum(mass[passages], REACHED / passages.sum()))
        deviation = float(logs.std())
        z = np.zeros(len(mass), np.float32)
        if deviation > 1e-9:
            z[passages] = (logs - logs.mean()) / deviation
        return z

    def _nearest(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the passages nearest to the question by meaning and by words, and how near they are (`SeedParams.words`)."""
        if part.start not in self._near:
            first = int(self.level.offsets[self.level.parts.index(part)])
            shares = self.shares[first : first + len(part)]
            by_words = _best(shares, NEAREST)
            rows = np.union1d(part.start + by_words[shares[by_words] > 0], self._by_meaning(part))
            cosines = part.shard.vectors[rows] @ self.vector
            self._near[part.start] = rows, cosines + np.float32(SeedParams().words) * shares[rows - part.start]
        return self._near[part.start]

    def _by_meaning(self, part: Part) -> np.ndarray:
        index = part.shard.ann(part.granularity)
        if index is None or len(part) != len(index):
            return part.start + _best(part.shard.vectors[part.start : part.end] @ self.vector, NEAREST)
        keys, _ = index.search(self.vector[None], NEAREST)
        return keys[0][keys[0] >= 0]

    def notes(self) -> list[str]:
        """The names that the walk began from."""
        names = list(dict.fromkeys(seed.name for seeds in self.seeds.values() for seed in seeds.found))
        return ["the walk over the graph begins at " + ", ".join(names[:5])] if names else []

    def explain(self, part: Part, row: int) -> list[str]:
        """In words, what brought a passage."""
        if id(part.shard) not in self.seeds:
            return []
        rows, near = self._nearest(part)
        return part.shard.graph.explain(row, self.seeds[id(part.shard)], rows, near)  # type: ignore[union-attr]

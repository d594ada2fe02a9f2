"""The graph as a channel: personalized PageRank from the names in a question and its nearest passages (HippoRAG 2), which are found
by meaning and by words: a small encoder does not know rare names.

The log of a passage's mass as a z-score over the scope; what has less than a thousandth of an even share counts as not reached.
Where nothing in a scope links, the walk starts from passages alone and still spreads to their neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipelines.graph.knowledge_graph import KnowledgeGraph, SeedParams, soft_weights
from pipelines.graph.seeds import Seeds
from pipelines.recall.nearest import best_places, nearest_of
from pipelines.recall.scope import Level, Part, Scope

NEAREST = 20  # twice as many as seed a walk
REACHED = 1e-3  # of an even share; without a bound the spread of the logs would hang on how far the tail of a walk is computed


@dataclass
class Start:
    """Where a walk over the graph of one shard begins: its named seeds, and passages by row with how near they are to the question
    and what they weigh. Weights of seeds and passages are shares of one over all shards of a scope."""

    graph: KnowledgeGraph
    parts: list[tuple[int, Part]]
    """What is walked, each with the number of its first unit."""
    seeds: Seeds
    rows: np.ndarray
    nearness: np.ndarray
    weights: np.ndarray

    def mass(self) -> tuple[np.ndarray, np.ndarray]:
        """(rows, what they hold of one over all shards)."""
        total = sum(seed.weight for seed in self.seeds.found) + float(self.weights.sum())
        if not total:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        rows, found = self.graph.masses(self.seeds, self.rows, self.weights, weigh=lambda weights: weights)
        return rows, found * np.float32(total)


class GraphChannel:
    """One question's walk over the graphs of a scope's shards."""

    def __init__(self, scope: Scope, level: Level, text: str, vector: np.ndarray, shares: np.ndarray) -> None:
        """`shares` of the question's words that the units of the level have."""
        self.level, self.vector, self.shares = level, vector, shares
        names = None if scope.namespaces is None else sorted(scope.namespaces)
        self.starts: dict[int, Start] = {}
        """By shard."""
        for shard, parts in self._parts().items():
            graph = parts[0][1].shard.graph
            assert graph is not None
            near = [self._nearest(part, first) for first, part in parts]
            rows, nearness = (np.concatenate(found) for found in zip(*near, strict=True))
            self.starts[shard] = Start(graph, parts, graph.link(text, vector, names), rows, nearness, nearness)
        self._share(SeedParams())

    def _parts(self) -> dict[int, list[tuple[int, Part]]]:
        """By shard the parts that are walked, each with the number of its first unit."""
        found: dict[int, list[tuple[int, Part]]] = {}
        for part, first in zip(self.level.parts, self.level.offsets.tolist(), strict=False):
            if part.granularity == "passage" and part.shard.graph is not None:
                found.setdefault(id(part.shard), []).append((first, part))
        return found

    def _share(self, params: SeedParams) -> None:
        """Give seeds and passages their shares of one, so that a shard in which nothing is near gets next to nothing."""
        starts = list(self.starts.values())
        if not starts:
            return
        weights = soft_weights(np.concatenate([start.nearness for start in starts]), params)
        named = sum(seed.weight for start in starts for seed in start.seeds.found)
        of_named, of_passages = (params.entities, 1 - params.entities) if named and weights.any() else (1.0, 1.0)
        ends = np.cumsum([len(start.rows) for start in starts])[:-1]
        for start, own in zip(starts, np.split(weights, ends), strict=True):
            seeds = (replace(seed, weight=of_named * seed.weight / named) for seed in start.seeds.found)
            start.seeds, start.weights = Seeds(tuple(seeds) if named else ()), of_passages * own

    def scores(self) -> np.ndarray | None:
        """z-scores of the units of the level; None where nothing was reached."""
        mass = np.zeros(len(self.level), np.float32)
        for start in self.starts.values():
            reached, found = start.mass()
            for first, part in start.parts:
                inside = (reached >= part.start) & (reached < part.end)
                mass[first + reached[inside] - part.start] = found[inside]
        if not mass.any():
            return None
        passages = np.concatenate([np.full(len(p), p.granularity == "passage") for p in self.level.parts])
        logs = np.log(np.maximum(mass[passages], REACHED / passages.sum()))
        deviation = float(logs.std())
        z = np.zeros(len(mass), np.float32)
        if deviation > 1e-9:
            z[passages] = (logs - logs.mean()) / deviation
        return z

    def _nearest(self, part: Part, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the passages nearest to the question by meaning and by words, and how near they are (`SeedParams.words`)."""
        shares = self.shares[first : first + len(part)]
        by_words = best_places(shares, NEAREST)
        by_meaning, _ = nearest_of(part, self.vector, NEAREST)
        units = np.union1d(by_words[shares[by_words] > 0], by_meaning)
        cosines = part.shard.vectors[part.start + units] @ self.vector
        return part.start + units, cosines + np.float32(SeedParams().words) * shares[units]

    def notes(self) -> list[str]:
        """The names that the walk began from."""
        names = list(dict.fromkeys(seed.name for start in self.starts.values() for seed in start.seeds.found))
        return ["the walk over the graph begins at " + ", ".join(names[:5])] if names else []

    def explain(self, part: Part, row: int) -> list[str]:
        """In words, what brought a passage."""
        start = self.starts.get(id(part.shard))
        return [] if start is None else start.graph.explain(row, start.seeds, start.rows, start.nearness)

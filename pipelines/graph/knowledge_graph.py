"""A question against the graph of a recall shard: seeds by name and by fact, personalized PageRank, ranked passages and rounds.

HippoRAG 2 (arXiv 2502.14802) with a choice of what names an entity: the entities whose normal form the question contains, found by
a look-up of every run of its words, and, where triples have vectors, the phrases of the facts nearest to the question, weighted by
node specificity. Passages seed by how near they are. Namespaces are parts of the graph without an edge between them, so that each
that has a seed is walked by itself and takes its share of the mass. Cost: a look-up of some hundred hashes, one product with the
facts' vectors, and `pagerank.near`: a few milliseconds whatever the size of the graph. Opening maps files and reads one JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from pipelines import ann
from pipelines.graph import pagerank
from pipelines.graph.graph_folder import FACT, MENTION
from pipelines.graph.pagerank import Adjacency
from pipelines.graph.seeds import Seed, Seeds, Span, fact_weights, folded, merged, named_spans
from schemas.ids import unit_keys

KEPT_NAMESPACES = 256
KEPT_NAMES = 64  # entities of one name in as many namespaces
WALKED = 16  # namespaces a question over all of them looks at
NONE = np.empty(0, np.int64)
DAMPING = 0.85  # from a passage to the next are two steps; HippoRAG's 0.5 stops three walks of four before
Ranked = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class SeedParams:
    """How a question seeds the walk. `entities` is the share of the mass that goes to entities, the rest goes to passages.
    What the question does not write as a name (`performer`) weighs `terms` of what it does, the ends of facts near to it `told`.
    The `passages` nearest ones seed by a softmax of cosine + `words` x share of the question's words, at `temperature`."""

    entities: float = 0.6
    terms: float = 0.02
    told: float = 0.02
    passages: int = 10
    words: float = 0.25
    temperature: float = 0.02
    facts: int = 5
    phrases: int = 5


def soft_weights(nearness: np.ndarray, params: SeedParams | None = None) -> np.ndarray:
    """Softmax over the best, 0 for the others."""
    params = params or SeedParams()
    if not len(nearness):
        return np.zeros(0)
    k = min(params.passages, len(nearness))
    least = np.partition(nearness, len(nearness) - k)[len(nearness) - k]
    weights = np.exp((np.asarray(nearness, np.float64) - float(nearness.max())) / params.temperature)
    return np.where(nearness >= least, weights, 0.0) / weights[nearness >= least].sum()


def published_weights(cosines: np.ndarray) -> np.ndarray:
    """HippoRAG 2's: 0.05 x min-max over all passages given, beside phrases that weigh up to 1."""
    spread = float(cosines.max() - cosines.min()) if len(cosines) else 0.0
    return 0.05 * ((cosines - cosines.min()) / spread if spread else np.ones(len(cosines)))


class KnowledgeGraph:
    """An open, mapped graph."""

    def __init__(self, folder: Path, units: pa.Table) -> None:
        self.units = units
        self.spans: dict[str, list[int]] = json.loads((folder / "graph.json").read_text())["namespaces"]
        self._starts, self._columns, self._weights, self._strengths, self._kinds, self._rows = (
            _array(folder / f"{name}.npy") for name in ("starts", "columns", "weights", "strengths", "kinds", "rows")
        )
        self._hashes, self._named_nodes = (_array(folder / f"{name}.npy") for name in ("hashes", "named"))
        entities = _mapped(folder / "entities.arrow")
        self._entities = {name: _whole(entities[name]) for name in entities.column_names}
        self._facts = _mapped(folder / "facts.arrow")
        self._subjects = self._facts["subject"].to_numpy()
        self._fact_index = ann.open(folder / "facts", verify="none") if len(self._facts) else None
        self._names = list(self.spans)
        self._number = {name: i for i, name in enumerate(self._names)}
        self._firsts = np.array([first for first, _, _ in self.spans.values()], np.int64)
        self._entity_of = self._offsets()
        self._open: dict[str, Adjacency] = {}

    def _offsets(self) -> dict[str, int]:
        """Row of `entities.arrow` of each namespace's first entity."""
        out, at = {}, 0
        for namespace, (_, entity, end) in self.spans.items():
            out[namespace] = at
            at += end - entity
        return out

    def __len__(self) -> int:
        return len(self._rows)

    def graph_of(self, namespace: str) -> Adjacency:
        """The part of one namespace: its nodes are numbered from the first of `spans`."""
        if namespace not in self._open:
            if len(self._open) >= KEPT_NAMESPACES:
                self._open.pop(next(iter(self._open)), None)  # another question may have
            first, entity, end = self.spans[namespace]
            starts = self._starts[first : end + 1]
            a, b = int(starts[0]), int(starts[-1])
            starts = (starts - a).astype(np.int32 if b - a < 2**31 else np.int64)
            parts = self._weights[a:b], self._columns[a:b], starts
            matrix = csr_array(parts, shape=(end - first,) * 2)
            self._open[namespace] = Adjacency(matrix, self._strengths[first:end], asked=entity - first)
        return self._open[namespace]

    def link(
        self,
        text: str,
        vector: np.ndarray | None = None,
        namespaces: Iterable[str] | None = None,
        *,
        params: SeedParams | None = None,
    ) -> Seeds:
        """What a question seeds: entities that its words name and, given its vector, the ends of the nearest facts."""
        params = params or SeedParams()
        scope = sorted({n for n in (self.spans if namespaces is None else namespaces) if n in self.spans})
        named = self._named(named_spans(text), scope, params)
        told = self._told(vector, scope, params) if vector is not None else []
        return merged(named, told)

    def _named(self, spans: Sequence[Span], scope: Sequence[str], params: SeedParams) -> list[Seed]:
        """Entities that the text names; of overlapping names of a namespace the longest."""
        found: list[Seed] = []
        taken: dict[int, list[Span]] = {}
        for span, node, owner in self._hashed_alike(spans, scope):
            before = [t for t in taken.get(owner, ()) if span.end > t.start and t.end > span.start and t != span]
            if not before and folded(self._of_entity(node, "normal")) == span.folded and self._degree(node):
                taken.setdefault(owner, []).append(span)
                found.append(self._named_seed(node, span, params))
        return found

    def _hashed_alike(self, spans: Sequence[Span], scope: Sequence[str]) -> list[tuple[Span, int, int]]:
        """(span, node, number of its namespace) of entities with the hash of a span; of each span the first `KEPT_NAMES`."""
        wanted = unit_keys(span.folded for span in spans)
        first = np.searchsorted(self._hashes, wanted)
        known = np.flatnonzero(self._hashes.take(first, mode="clip") == wanted) if len(self._hashes) else first[:0]
        after = np.searchsorted(self._hashes, wanted[known], "right")
        allowed = None if len(scope) == len(self.spans) else np.array([self._number[n] for n in scope], np.int64)
        perhaps: list[tuple[Span, int, int]] = []
        for at, a, b in zip(known.tolist(), first[known].tolist(), after.tolist(), strict=True):
            nodes = self._named_nodes[a:b]
            owners = np.searchsorted(self._firsts, nodes, "right") - 1
            inside = np.ones(len(nodes), bool) if allowed is None else np.isin(owners, allowed)
            nodes, owners = nodes[inside][:KEPT_NAMES], owners[inside][:KEPT_NAMES]
            perhaps += ((spans[at], node, owner) for node, owner in zip(nodes.tolist(), owners.tolist(), strict=True))
        return perhaps

    def _named_seed(self, node: int, span: Span, params: SeedParams) -> Seed:
        is_name = span.written or (span.perhaps and self._of_entity(node, "kind") != "term")
        weight = (1.0 if is_name else params.terms) / max(1, self._of_entity(node, "passages"))
        return Seed(node, self._of_entity(node, "name"), weight, "named in the question")

    def _degree(self, node: int) -> int:
        return int(self._starts[node + 1] - self._starts[node])

    def _told(self, vector: np.ndarray, scope: Sequence[str], params: SeedParams) -> list[Seed]:
        """Ends of the facts nearest to the question. HippoRAG scores them by min-max over all facts, here the least counts as 0."""
        if self._fact_index is None:
            return []
        rows = [np.arange(*self._facts_of(namespace)) for namespace in scope]
        everything = len(scope) == len(self.spans)
        found, scores = self._fact_index.search(
            np.asarray(vector, np.float32), params.facts, filter=None if everything else np.concatenate([*rows, NONE])
        )
        facts = self._facts.take(pa.array(found[found >= 0])).to_pylist()
        if not facts or scores[0] <= 0:
            return []
        shares = scores[: len(facts)].clip(min=0) / scores[0]
        ends = {node for fact in facts for node in (fact["subject"], fact["object"])}
        passages = {node: self._of_entity(node, "passages") for node in ends}
        weights = fact_weights([(f["subject"], f["object"]) for f in facts], shares, passages, params.phrases)
        out = []
        for node, weight in weights.items():
            fact = next(f for f in facts if node in (f["subject"], f["object"]))
            subject, object_ = (self._of_entity(fact[end], "name") for end in ("subject", "object"))
            why = f"in the fact: {subject} {fact['predicate']} {object_}"
            out.append(Seed(node, self._of_entity(node, "name"), params.told * weight, why))
        return out

    def _facts_of(self, namespace: str) -> tuple[int, int]:
        first, _, end = self.spans[namespace]
        return int(np.searchsorted(self._subjects, first)), int(np.searchsorted(self._subjects, end))

    def _of_entity(self, node: int, column: str) -> Any:
        """A value of an entity."""
        namespace = self._namespace_of(node)
        row = self._entity_of[namespace] + node - self.spans[namespace][1]
        return self._entities[column][row].as_py()

    def _namespace_of(self, node: int) -> str:
        return self._names[int(np.searchsorted(self._firsts, node, "right")) - 1]

    def rank(self, seeds: Seeds, rows: np.ndarray, nearness: np.ndarray, **how: Any) -> Ranked:
        """`masses`, best first; of equal ones the lower row."""
        reached, scores = self.masses(seeds, rows, nearness, **how)
        order = np.lexsort((reached, -scores))
        return reached[order], scores[order]

    def masses(
        self,
        seeds: Seeds,
        rows: np.ndarray,
        nearness: np.ndarray,
        *,
        damping: float = DAMPING,
        exact: bool = False,
        weigh: Callable[[np.ndarray], np.ndarray] | None = None,
        params: SeedParams | None = None,
    ) -> Ranked:
        """(rows of the shard, scores): PageRank of passages and rounds, seeded by `seeds` and by the passages or rounds nearest to
        the question, `rows` with their `nearness` (cosines, or cosines and words).

        Rows that are no nodes count for nothing. `weigh` turns it into reset weights that are used as they are beside those
        of the seeds (`published_weights`); by default both are shares of one. Nothing to seed from gives nothing.
        """
        reset = self._reset(seeds, rows, nearness, weigh, params or SeedParams())
        found = [self._walk(namespace, *part, damping, exact) for namespace, part in reset.items()]
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        reached, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return reached, scores

    def _reset(self, seeds: Seeds, rows, nearness, weigh, params: SeedParams) -> dict[str, Ranked]:
        """(nodes, weights) of the `WALKED` namespaces with most weight; the sum over all namespaces is 1."""
        rows, nearness = np.asarray(rows, np.int64), np.asarray(nearness, np.float64)
        nodes = self._nodes_of(rows)
        nearness, nodes = nearness[nodes >= 0], nodes[nodes >= 0]
        dense = weigh(nearness) if weigh else soft_weights(nearness, params)
        named = np.array([s.weight for s in seeds.found])
        if weigh is None and named.sum() and dense.sum():
            named, dense = params.entities * named / named.sum(), (1 - params.entities) * dense
        nodes = np.concatenate([nodes, np.array([s.node for s in seeds.found], np.int64)])
        weights = np.concatenate([dense, named])
        nodes, weights = nodes[weights > 0], weights[weights > 0]
        owners = np.searchsorted(self._firsts, nodes, "right") - 1
        mass = np.bincount(owners, weights, len(self._names))
        walked = np.argsort(-mass, kind="stable")[:WALKED]
        return {
            self._names[owner]: (nodes[owners == owner], weights[owners == owner] / weights.sum())
            for owner in walked.tolist()
            if mass[owner] > 0
        }

    def _nodes_of(self, rows: np.ndarray) -> np.ndarray:
        """The node of each row, -1 where it is none."""
        return self._node_of_row[rows].astype(np.int64)

    @cached_property
    def _node_of_row(self) -> np.ndarray:
        nodes = np.flatnonzero(self._rows >= 0)
        table = np.full(self.units.num_rows, -1, np.int32)
        table[self._rows[nodes]] = nodes
        return table

    def _walk(self, namespace: str, nodes: np.ndarray, weights: np.ndarray, damping: float, exact: bool) -> Ranked:
        first, entity, _ = self.spans[namespace]
        x = self._pagerank(namespace, nodes, weights, damping, exact, only_asked=True)
        reached = np.flatnonzero(x)
        return self._rows[first:entity][reached].astype(np.int64), x[reached].astype(np.float32)

    def _pagerank(
        self, namespace: str, nodes, weights, damping: float, exact: bool = False, *, only_asked: bool = False
    ) -> np.ndarray:
        """Mass of the nodes of a namespace, or of its passages and rounds alone: they come first."""
        graph, first = self.graph_of(namespace), self.spans[namespace][0]
        if exact:
            reset = np.zeros(len(graph))
            np.add.at(reset, nodes - first, weights)
            x = pagerank.exact(graph, reset, damping)
            return weights.sum() * (x[: graph.asked] if only_asked else x)
        distinct, at = np.unique(nodes - first, return_inverse=True)
        weight = np.bincount(at, weights)
        return weight.sum() * pagerank.near(graph, distinct, weight, damping, only_asked=only_asked)

    def explain(
        self,
        row: int,
        seeds: Seeds,
        rows: np.ndarray | Sequence[int] = (),
        nearness: np.ndarray | Sequence[float] = (),
        *,
        damping: float = DAMPING,
        most: int = 3,
    ) -> list[str]:
        """In words, what brought `row`: the entities that passed it most of its mass, and how each was reached."""
        node = int(self._nodes_of(np.array([row]))[0])
        if node < 0:
            return []
        reset = self._reset(seeds, np.asarray(rows), np.asarray(nearness), None, SeedParams())
        namespace = self._namespace_of(node)
        if namespace not in reset:
            return []
        x = self._pagerank(namespace, *reset[namespace], damping)
        why = {seed.node: seed.why for seed in seeds.found}
        direct = set(reset[namespace][0].tolist())
        said = ["near to the question itself"] if node in direct else []
        for neighbour, _ in self._givers(namespace, node, x, most):
            said.append(self._told_in_words(namespace, neighbour, x, why, node))
        return said

    def timeline(self, row: int, seeds: Seeds) -> tuple[str, list[int]] | None:
        """(name, rows by time) of the rarest entity that a question names and `row` mentions: all passages or rounds that mention
        it. None where there is no such entity."""
        node = int(self._nodes_of(np.array([row]))[0])
        if node < 0:
            return None
        named = [seed for seed in seeds.found if seed.node in set(self._mentions(node).tolist())]
        if not named:
            return None
        seed = min(named, key=lambda s: (self._degree(s.node), s.node))
        rows = self._rows[np.sort(self._mentions(seed.node))]
        times = self.units["event_time"].take(pa.array(rows)).cast(pa.int64()).to_numpy()
        return seed.name, rows[np.argsort(times, kind="stable")].tolist()

    def _mentions(self, node: int) -> np.ndarray:
        """Entities that a passage mentions, or passages that mention an entity."""
        a, b = int(self._starts[node]), int(self._starts[node + 1])
        columns = self._columns[a:b][(self._kinds[a:b] & MENTION) > 0]
        return self.spans[self._namespace_of(node)][0] + columns.astype(np.int64)

    def _givers(self, namespace: str, node: int, x: np.ndarray, most: int, but: int = -1) -> list[tuple[int, int]]:
        """(node, kind of edge) of the neighbours that give a node most of its mass."""
        first = self.spans[namespace][0]
        a, b = int(self._starts[node]), int(self._starts[node + 1])
        columns = self._columns[a:b]
        given = x[columns] * self._weights[a:b] / self._strengths[first:][columns]
        given[columns == but - first] = 0
        best = np.argsort(-given, kind="stable")[:most]
        return [(first + int(columns[i]), int(self._kinds[a + i])) for i in best if given[i] > 0]

    def _told_in_words(self, namespace: str, entity: int, x: np.ndarray, why: dict[int, str], to: int) -> str:
        mentions = f"mentions {self._name(entity)}"
        if entity in why:
            return f"{mentions}, {why[entity]}"
        for giver, kind in self._givers(namespace, entity, x, 1, but=to):
            if kind & MENTION:
                return f"{mentions}, as does {self._name(giver)}"
            reached = f", {why[giver]}" if giver in why else ""
            return f"{mentions}, {'related to' if kind & FACT else 'much like'} {self._name(giver)}{reached}"
        return mentions

    def _name(self, node: int) -> str:
        row = int(self._rows[node])
        if row >= 0:
            return str(self.units["unit_id"][row].as_py())
        return str(self._of_entity(node, "name"))


def _array(file: Path) -> np.ndarray:
    """A mapped array, as a plain view: every slice of a `memmap` costs microseconds."""
    return np.asarray(np.load(file, mmap_mode="r"))


def _mapped(file: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array; `combine_chunks` would copy even a single chunk out of its mapping."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

"""What a snapshot holds of one scope, as the baselines see it: items, their leaves, and what was made from them."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from jobs.store import views
from jobs.store.reader import Store
from jobs.store.vectors import as_matrix
from pipelines.evaluation import Ranked
from pipelines.evaluation.baselines import Corpus, Triple

LEAF = {"turn": "turn", "round": "turn", "segment": "turn", "session": "turn"}
LEAF |= {"sentence": "sentence", "passage": "sentence", "section": "sentence", "document": "sentence"}
UNITS = """
    SELECT u.unit_id, u.text, u.source_spans, u.session_id, coalesce(u.session_id, u.document_id) AS group_id, v.vector
    FROM memory_units u JOIN embeddings v ON v.content_hash = u.content_hash AND v.encoder = $encoder
    WHERE u.granularity = $granularity AND ($namespace IS NULL OR u.namespace = $namespace)
    ORDER BY u.namespace, min(u.event_time) OVER (PARTITION BY u.namespace, coalesce(u.session_id, u.document_id)),
        coalesce(u.session_id, u.document_id), u.ordinal, u.unit_id
"""
TRIPLES = """
    SELECT s.name, t.predicate, o.name, t.unit_id
    FROM triples t JOIN entities s ON s.entity_id = t.subject_id JOIN entities o ON o.entity_id = t.object_id
    WHERE $namespace IS NULL OR t.namespace = $namespace ORDER BY t.triple_id
"""


@dataclass(frozen=True)
class Scope:
    """A corpus, and for each of its items what a ranking says of it."""

    corpus: Corpus
    refs: list[tuple[str, ...]]
    sessions: list[str | None]

    def ranked(self, scores: np.ndarray, depth: int) -> Ranked:
        """The `depth` best items; ties go to the earlier one."""
        best = np.argsort(-scores, kind="stable")[:depth]
        return Ranked(
            [self.refs[i] for i in best], [self.sessions[i] for i in best], [self.corpus.texts[i] for i in best]
        )


def gather_corpus(store: Store, namespace: str | None, granularity: str) -> Scope:
    """The current units of a namespace (None: of all) with `granularity` as items."""
    con = store.connect()
    items = _units(con, store, namespace, granularity)
    spots = _Spots(items)
    leaves = items if LEAF[granularity] == granularity else _units(con, store, namespace, LEAF[granularity])
    leaf_item = np.array(spots.of(leaves), np.int64)
    inside = leaf_item >= 0
    corpus = Corpus(
        texts=items["text"].to_pylist(),
        vectors=_matrix(items),
        leaf_vectors=_matrix(leaves)[inside],
        leaf_item=leaf_item[inside],
        summaries=_one_each(spots, _units(con, store, namespace, "summary"), _matrix(items).shape),
        keywords=_one_each(spots, _units(con, store, namespace, "keywords"), _matrix(items).shape),
        facts=_joined(spots, _units(con, store, namespace, "fact"), items.num_rows),
        triples=_triples(con, namespace, spots, leaves),
    )
    refs = [tuple(span["ref"] for span in spans) for spans in items["source_spans"].to_pylist()]
    return Scope(corpus, refs, items["session_id"].to_pylist())


def usual_granularity(store: Store, namespace: str | None) -> str:
    """What recall answers with when nothing is asked for: turns, or passages where there are none."""
    turns = "SELECT count(*) FROM turns WHERE $1 IS NULL OR namespace = $1"
    return "turn" if views.scalar(store.connect(), turns, [namespace]) else "passage"


def _units(con: duckdb.DuckDBPyConnection, store: Store, namespace: str | None, granularity: str) -> pa.Table:
    given = {"encoder": store.snapshot.encoder, "granularity": granularity, "namespace": namespace}
    return con.sql(UNITS, params=given).to_arrow_table()


def _matrix(units: pa.Table) -> np.ndarray:
    if not units.num_rows:
        return np.zeros((0, 1), np.float32)
    vectors = units["vector"].combine_chunks()
    if pa.types.is_fixed_size_list(vectors.type):
        return as_matrix(vectors)
    return vectors.flatten().to_numpy(zero_copy_only=False).reshape(units.num_rows, -1)


class _Spots:
    """Finds the item in which a unit lies: by its group, and inside it by source and character."""

    def __init__(self, items: pa.Table) -> None:
        self._starts: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        self._first: dict[str, int] = {}
        rows = zip(items["group_id"].to_pylist(), items["source_spans"].to_pylist(), strict=True)
        for item, (group, spans) in enumerate(rows):
            self._first.setdefault(group, item)
            for span in spans:
                self._starts[group, span["ref"]].append((span["start"], item))
        for found in self._starts.values():
            found.sort()

    def of(self, units: pa.Table) -> list[int]:
        """For each unit the number of its item, by its first source span; -1 where it lies in none."""
        rows = zip(units["group_id"].to_pylist(), units["source_spans"].to_pylist(), strict=True)
        return [self._at(group, spans[0]) if spans else -1 for group, spans in rows]

    def of_group(self, group: str) -> int:
        """The first item of a session or document; -1 where it has none."""
        return self._first.get(group, -1)

    def _at(self, group: str, span: dict) -> int:
        starts = self._starts.get((group, span["ref"]), [])
        place = bisect_right(starts, span["start"], key=lambda found: found[0]) - 1
        return starts[place][1] if place >= 0 else -1


def _one_each(spots: _Spots, units: pa.Table, shape: tuple[int, ...]) -> np.ndarray:
    """The vector of each item's summary or keywords; zeros where it has none."""
    out = np.zeros(shape, np.float32)
    for group, vector in zip(units["group_id"].to_pylist(), _matrix(units), strict=True):
        if (item := spots.of_group(group)) >= 0:
            out[item] = vector
    return out


def _joined(spots: _Spots, facts: pa.Table, items: int) -> list[str]:
    texts: list[list[str]] = [[] for _ in range(items)]
    for item, text in zip(spots.of(facts), facts["text"].to_pylist(), strict=True):
        if item >= 0:
            texts[item].append(text)
    return [" ".join(found) for found in texts]


def _triples(
    con: duckdb.DuckDBPyConnection, namespace: str | None, spots: _Spots, leaves: pa.Table
) -> Sequence[Triple]:
    item_of = dict(zip(leaves["unit_id"].to_pylist(), spots.of(leaves), strict=True))
    rows = con.execute(TRIPLES, {"namespace": namespace}).fetchall()
    return tuple((s, p, o, item_of[unit]) for s, p, o, unit in rows if item_of.get(unit, -1) >= 0)

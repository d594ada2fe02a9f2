"""One question against the shards of a snapshot: scope, evidence on leaves, hits at the asked granularity.

The steps have a module each: `scope` (which rows), `times` (what the question says about time), `candidates` (where to look in a
large scope), `channels` and `routing` (what speaks for a leaf, and how loudly), `ranking` (units of the asked granularity),
`confidence`, `explain`. Scores of channels add up, so that a hit's `via` sums to its score.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import numpy as np

from pipelines.recall.candidates import candidate_leaves
from pipelines.recall.channels import Asked, Evidence, evidence, lexical_shares
from pipelines.recall.confidence import confidence
from pipelines.recall.explain import explained
from pipelines.recall.feedback import fed_back
from pipelines.recall.params import Answer, Query, RecallParams
from pipelines.recall.ranking import Placed, asked_granularities, best_of, gather, hits_of
from pipelines.recall.scope import Scope
from pipelines.recall.shard import NO_DAY, RecallShard
from pipelines.recall.times import Reading, in_window, read_time
from schemas.errors import UsageError
from schemas.table import GRANULARITIES

KEPT_SCOPES = 256
COMMON = 0.1


class Recall:
    """Answers questions over the shards of one snapshot. `encode` turns texts into unit-norm vectors [n, dim]."""

    def __init__(
        self,
        shards: list[RecallShard],
        encode: Callable[[list[str]], np.ndarray],
        params: RecallParams | None = None,
    ) -> None:
        self.shards, self.encode, self.params = shards, encode, params or RecallParams()
        self._scopes: dict[tuple[str, ...] | None, Scope] = {}

    def _scope(self, namespaces: tuple[str, ...] | None) -> Scope:
        key = None if namespaces is None else tuple(sorted(set(namespaces)))
        if key not in self._scopes:
            known = set().union(*(s.namespaces() for s in self.shards))
            unknown = sorted(set(key or ()) - known)
            if unknown:
                some = ", ".join(sorted(known)[:5])
                raise UsageError(f"no namespace {unknown[0]!r} in this snapshot; there are {len(known)}: {some} ...")
            if len(self._scopes) >= KEPT_SCOPES:
                self._scopes.pop(next(iter(self._scopes)))
            self._scopes[key] = Scope(self.shards, None if key is None else set(key))
        return self._scopes[key]

    def recall(self, query: Query, *, explain: bool = False) -> Answer:
        """Answer one question."""
        return self.recall_many([query], explain=explain)[0]

    def recall_many(self, queries: list[Query], *, explain: bool = False) -> list[Answer]:
        """Answer questions; they are encoded together. With `explain`, answers say in words what brought each hit."""
        for query in queries:
            _check(query)
        if not queries:
            return []
        vectors = self.encode([q.text for q in queries])
        return [self._answer(q, v, explain) for q, v in zip(queries, vectors, strict=True)]

    def _answer(self, query: Query, vector: np.ndarray, explain: bool) -> Answer:
        scope = self._scope(query.namespaces)
        if not scope.n_leaves:
            return Answer([], 0.0)
        asked = Asked(query.text, vector, _reading(scope, query))
        found, placed = self._ranked(scope, asked, query)
        for _ in range(query.iterate):
            asked = fed_back(scope, asked, placed)
            found, placed = self._ranked(scope, asked, query)
        hits = hits_of(placed)
        sure = confidence(scope, query.text, found)
        if not explain:
            return Answer(hits, sure)
        why = {h.unit_id: explained(scope, asked, p) for h, p in zip(hits, placed, strict=True)}
        return Answer(hits, sure, tuple(found.notes), why)

    def _ranked(self, scope: Scope, asked: Asked, query: Query) -> tuple[Evidence, list[Placed]]:
        """Evidence and the best units: from candidates in a large scope, from all leaves in a small one or where those are too few."""
        granularities = asked_granularities(scope, query.granularity)
        if scope.rows > self.params.exact_rows:
            shares = lexical_shares(scope, asked, self.params, common=COMMON)
            leaves = candidate_leaves(scope, asked, self.params, shares)
            found = evidence(scope, asked, self.params, leaves, shares)
            placed = best_of([gather(scope, found, g) for g in granularities], query.k, query.valid_at)
            if len(placed) == query.k:
                return found, placed
        found = evidence(scope, asked, self.params)
        return found, best_of([gather(scope, found, g) for g in granularities], query.k, query.valid_at)


def _check(query: Query) -> None:
    if not query.text.strip():
        raise UsageError("the question is empty: give some text")
    if query.k < 1:
        raise UsageError(f"k is {query.k}: ask for at least 1 hit")
    if query.granularity and query.granularity not in GRANULARITIES:
        raise UsageError(f"no granularity {query.granularity!r}: use one of {', '.join(GRANULARITIES)}")


def _reading(scope: Scope, query: Query) -> Reading:
    """What a question says about time, as of `asked_at`.

    Where nobody says when it was asked it was asked now; if nothing is remembered of the time that it then speaks of, as of the
    last thing remembered: `in August` is the last August that the memory knows.
    """
    remembered = dt.date.fromordinal(scope.last_day) if scope.last_day != NO_DAY else None
    if query.asked_at is not None:
        return read_time(query.text, query.asked_at.date())
    if query.now is not None:
        reading = read_time(query.text, query.now.date())
        if reading.window is None or remembered is None or in_window(scope, reading.window) is not None:
            return reading
    return read_time(query.text, remembered or dt.date(1970, 1, 1))

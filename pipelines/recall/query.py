"""One question against the shards of a snapshot: scope, evidence on leaves, hits at the asked granularity.

The steps have a module each: `scope` (which rows), `times` (what the question says about time), `candidates` (where to look in a
large scope), `channels` and `routing` (what speaks for a leaf, and how loudly), `ranking` (units of the asked granularity),
`confidence`, `explain`. Scores of channels add up, so that a hit's `via` sums to its score.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipelines.recall.candidates import candidate_leaves, overview
from pipelines.recall.channels import Asked, Evidence, evidence
from pipelines.recall.confidence import confidence
from pipelines.recall.explain import explained
from pipelines.recall.feedback import fed_back
from pipelines.recall.one_thread import one_thread
from pipelines.recall.params import Answer, Query, RecallParams
from pipelines.recall.ranking import Placed, asked_granularities, best_of, gather, hits_of
from pipelines.recall.scope import Scope
from pipelines.recall.second_stage import DEPTH, NO_JUDGES, Judges, judged
from pipelines.recall.shard import NO_DAY, RecallShard
from pipelines.recall.times import Reading, in_window, read_time
from schemas.errors import EngraphError, UsageError
from schemas.table import GRANULARITIES

KEPT_SCOPES = 256
SHOWN = 10


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
                self._scopes.pop(next(iter(self._scopes)), None)  # another question may have
            self._scopes[key] = Scope(self.shards, None if key is None else set(key))
        return self._scopes[key]

    def recall(self, query: Query, *, judges: Judges = NO_JUDGES, explain: bool = False) -> Answer:
        """Answer one question."""
        return self.recall_many([query], judges=judges, explain=explain)[0]

    def recall_many(self, queries: list[Query], *, judges: Judges = NO_JUDGES, explain: bool = False) -> list[Answer]:
        """Answer questions; they are encoded together. `judges` look at the best hits again. With `explain`, answers say in words
        what brought each hit."""
        for query in queries:
            _check(query)
        if not queries:
            return []
        vectors = self.encode([q.text for q in queries])
        return [self._answer(q, v, judges, explain) for q, v in zip(queries, vectors, strict=True)]

    def _answer(self, query: Query, vector: np.ndarray, judges: Judges, explain: bool) -> Answer:
        scope = self._scope(query.namespaces)
        if not scope.n_leaves:
            return Answer([], 0.0)
        asked = Asked(query.text, vector, _reading(scope, query))
        depth = max(query.k, DEPTH) if judges.score is not None else query.k
        with one_thread():
            found, placed = self._ranked(scope, asked, query, depth)
        notes: list[str] = []
        for _ in range(query.iterate):
            asked = self._next_round(scope, asked, placed, judges, notes)
            with one_thread():
                found, placed = self._ranked(scope, asked, query, depth)
        sure = confidence(scope, asked, found, placed)
        hits = hits_of(placed)
        failed: list[str] = []
        why = {h.unit_id: explained(scope, asked, p) for h, p in zip(hits, placed, strict=True)} if explain else {}
        if judges:
            hits, failed = judged(query.text, hits, query.k, judges)
        return Answer(hits, sure, tuple(found.notes + notes + failed), {h.unit_id: why[h.unit_id] for h in hits if why})

    def _next_round(self, scope: Scope, asked: Asked, placed: list[Placed], judges: Judges, notes: list[str]) -> Asked:
        """The question as it is asked again: with a language model's thought where there is one, else with the words found."""
        if judges.think is None:
            return fed_back(scope, asked, placed)
        texts = [h.text for h in hits_of(placed[:SHOWN])]
        try:
            thought = judges.think(asked.text, texts)
        except EngraphError as problem:
            notes.append(f"asked again without the language model: {problem}")
            return fed_back(scope, asked, placed)
        notes.append(f"looked also for: {thought}")
        text = f"{asked.text} {thought}"
        reading = replace(asked.reading, text=f"{asked.reading.text} {thought}")
        return Asked(text, self.encode([text])[0], reading)

    def _ranked(self, scope: Scope, asked: Asked, query: Query, k: int) -> tuple[Evidence, list[Placed]]:
        """Evidence and the best units: from candidates in a large scope, from all leaves in a small one or if they are few."""
        granularities = asked_granularities(scope, query.granularity)
        if scope.rows > self.params.exact_rows:
            seen = overview(scope, asked, self.params)
            leaves = candidate_leaves(scope, asked, self.params, seen)
            found = evidence(scope, asked, self.params, leaves, seen)
            placed = best_of([gather(scope, found, g) for g in granularities], k, query.valid_at)
            if len(placed) == k:
                return found, placed
        found = evidence(scope, asked, self.params)
        return found, best_of([gather(scope, found, g) for g in granularities], k, query.valid_at)


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

"""One question against the shards of a snapshot: channels, evidence on leaves, hits at the asked granularity.

Every channel (dense and lexical, at several levels of granularity) scores the units of its level: cosines as z-scores over
the scope of the question, BM25 as the share of the question's words that is met, so that channels add up. Scores move to the
leaves a unit covers (turns, sentences): the best unit of a level that covers a leaf speaks for it. A unit of the asked
granularity gathers, channel by channel, the best of its leaves. Scopes up to `exact_rows` units of a level are scanned
exactly; larger ones ask the ANN index for candidates and estimate the z-score from a sample. Cost: one pass over the scope's
vectors and a few over its leaves.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipelines import lexical
from pipelines.recall.shard import RecallShard
from schemas.errors import UsageError
from schemas.table import GRANULARITIES

LEVELS = {
    "leaf": ("turn", "sentence"),
    "window": ("round", "passage"),
    "topic": ("segment", "section"),
    "whole": ("session", "document"),
    "summary": ("summary",),
    "keywords": ("keywords",),
    "fact": ("fact",),
}
WORLDS = {"turn": ("turn", "round", "segment", "session"), "sentence": ("sentence", "passage", "section", "document")}
KEPT_SCOPES = 256
ANSWERS = {"turn": "turn", "sentence": "passage"}


@dataclass(frozen=True)
class RecallParams:
    """Weights of the channels. Chosen on LoCoMo dev and 100 MuSiQue questions, so figures on those are tuned."""

    dense: dict[str, float] = field(
        default_factory=lambda: {"leaf": 0.8, "window": 1.0, "topic": 0.75, "whole": 0.75, "summary": 0.2, "fact": 0.5}
    )
    lexical: dict[str, float] = field(default_factory=lambda: {"leaf": 8.0, "window": 10.0, "topic": 7.5, "whole": 7.5})
    exact_rows: int = 50_000
    candidates: int = 500
    sample: int = 2_000


@dataclass(frozen=True)
class Query:
    """One question. `namespaces` None means all, `granularity` None the default of what the scope holds."""

    text: str
    k: int = 10
    namespaces: tuple[str, ...] | None = None
    granularity: str | None = None
    valid_at: dt.datetime | None = None
    asked_at: dt.datetime | None = None


@dataclass(frozen=True)
class Hit:
    """One answer with its sources and what each channel contributed to its score."""

    rank: int
    unit_id: str
    namespace: str
    granularity: str
    score: float
    text: str
    source: list[dict]
    event_time: str | None
    time_source: str
    session_id: str | None
    document_id: str | None
    via: dict[str, float]


@dataclass(frozen=True)
class Answer:
    """Hits, best first. `confidence` is the cosine of the closest unit in the scope, cut to 0..1."""

    hits: list[Hit]
    confidence: float


@dataclass(frozen=True)
class _Part:
    """Rows [start, end) of one granularity in one shard, and the leaves [low, high) of the scope that each row covers."""

    shard: RecallShard
    granularity: str
    start: int
    end: int
    low: np.ndarray
    high: np.ndarray


class _Scope:
    """The rows a question looks at: parts by level, over one concatenated array of leaves."""

    def __init__(self, shards: list[RecallShard], namespaces: set[str] | None) -> None:
        self.n_leaves = 0
        self.parts: dict[str, list[_Part]] = {level: [] for level in LEVELS}
        for shard in shards:
            shifts = []
            for leaf in WORLDS:
                for a, b in shard.slices(leaf, namespaces):
                    shifts.append((a, b, self.n_leaves - a))
                    self.n_leaves += b - a
            for level, granularities in LEVELS.items():
                for granularity in granularities:
                    for a, b in shard.slices(granularity, namespaces):
                        self.parts[level].append(_place(shard, granularity, a, b, shifts))

    def granularities(self) -> set[str]:
        return {p.granularity for parts in self.parts.values() for p in parts}


def _place(shard: RecallShard, granularity: str, a: int, b: int, shifts: list[tuple[int, int, int]]) -> _Part:
    """A row range over the scope's leaves. Derived units of conversations and of documents may lie mixed in one range."""
    first, last = shard.low[a:b], shard.high[a:b]
    low, high = np.zeros(b - a, np.int32), np.zeros(b - a, np.int32)
    for start, end, shift in shifts:
        inside = (first >= start) & (first < end) & (last > first)
        low[inside], high[inside] = first[inside] + shift, last[inside] + shift
    return _Part(shard, granularity, a, b, low, high)


class Recall:
    """Answers questions over the shards of one snapshot. `encode` turns texts into unit-norm vectors [n, dim]."""

    def __init__(
        self,
        shards: list[RecallShard],
        encode: Callable[[list[str]], np.ndarray],
        params: RecallParams | None = None,
    ) -> None:
        self.shards, self.encode, self.params = shards, encode, params or RecallParams()
        self._scopes: dict[tuple[str, ...] | None, _Scope] = {}

    def _scope(self, namespaces: tuple[str, ...] | None) -> _Scope:
        key = None if namespaces is None else tuple(sorted(set(namespaces)))
        if key not in self._scopes:
            known = set().union(*(s.namespaces() for s in self.shards))
            unknown = sorted(set(key or ()) - known)
            if unknown:
                some = ", ".join(sorted(known)[:5])
                raise UsageError(f"no namespace {unknown[0]!r} in this snapshot; there are {len(known)}: {some} ...")
            if len(self._scopes) >= KEPT_SCOPES:
                self._scopes.pop(next(iter(self._scopes)))
            self._scopes[key] = _Scope(self.shards, None if key is None else set(key))
        return self._scopes[key]

    def recall(self, query: Query) -> Answer:
        """Answer one question."""
        return self.recall_many([query])[0]

    def recall_many(self, queries: list[Query]) -> list[Answer]:
        """Answer questions; they are encoded together."""
        for query in queries:
            _check(query)
        if not queries:
            return []
        vectors = self.encode([q.text for q in queries])
        return [self._answer(q, v) for q, v in zip(queries, vectors, strict=True)]

    def _answer(self, query: Query, vector: np.ndarray) -> Answer:
        scope = self._scope(query.namespaces)
        if not scope.n_leaves:
            return Answer([], 0.0)
        evidence, confidence = self._evidence(scope, query.text, vector)
        candidates = [_gather(scope, granularity, evidence) for granularity in _asked(scope, query.granularity)]
        return Answer(_best(candidates, query), confidence)

    def _evidence(self, scope: _Scope, text: str, vector: np.ndarray) -> tuple[dict[str, np.ndarray], float]:
        """Weighted scores of every channel on the scope's leaves, and the highest cosine seen."""
        evidence, best = {}, 0.0
        for level, parts in scope.parts.items():
            if not parts:
                continue
            if weight := self.params.dense.get(level):
                cosines, z = self._dense(parts, vector)
                best = max(best, max(float(c.max()) for c in cosines))
                evidence[f"dense:{level}"] = weight * _to_leaves(scope.n_leaves, parts, z)
            if weight := self.params.lexical.get(level):
                shares = lexical.shares(text, [(p.shard.lexical, p.start, p.end) for p in parts])
                evidence[f"lexical:{level}"] = weight * _to_leaves(scope.n_leaves, parts, shares)
        return evidence, min(max(best, 0.0), 1.0)

    def _dense(self, parts: list[_Part], vector: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        if sum(p.end - p.start for p in parts) <= self.params.exact_rows:
            cosines = [p.shard.vectors[p.start : p.end] @ vector for p in parts]
            return cosines, _standardise(cosines, np.concatenate(cosines))
        samples, cosines = [], []
        for part in parts:
            rows = part.shard.vectors[part.start : part.end]
            samples.append(rows[:: max(1, len(rows) // self.params.sample)] @ vector)
            cosines.append(self._candidates(part, vector, float(samples[-1].mean())))
        return cosines, _standardise(cosines, np.concatenate(samples))

    def _candidates(self, part: _Part, vector: np.ndarray, floor: float) -> np.ndarray:
        """Cosines of the nearest rows of a large part; all others count as the average."""
        index = part.shard.ann(part.granularity)
        if index is None:
            return part.shard.vectors[part.start : part.end] @ vector
        out = np.full(part.end - part.start, floor, np.float32)
        rows = np.arange(part.start, part.end)
        everything = part.end - part.start == len(index)
        keys, scores = index.search(vector[None], self.params.candidates, filter=None if everything else rows)
        found = keys[0] >= 0
        out[keys[0][found] - part.start] = scores[0][found]
        return out


def _check(query: Query) -> None:
    if not query.text.strip():
        raise UsageError("the question is empty: give some text")
    if query.k < 1:
        raise UsageError(f"k is {query.k}: ask for at least 1 hit")
    if query.granularity and query.granularity not in GRANULARITIES:
        raise UsageError(f"no granularity {query.granularity!r}: use one of {', '.join(GRANULARITIES)}")


def _standardise(scores: list[np.ndarray], sample: np.ndarray) -> list[np.ndarray]:
    mean, deviation = float(sample.mean()), float(sample.std())
    return [(s - mean) / deviation if deviation > 1e-9 else np.zeros_like(s) for s in scores]


def _to_leaves(n: int, parts: list[_Part], z: list[np.ndarray]) -> np.ndarray:
    """For each leaf the best score among the units that cover it; 0, the average, where none does."""
    out = np.full(n, -np.inf, np.float32)
    for part, scores in zip(parts, z, strict=True):
        low, high = part.low, part.high
        lengths = high - low
        if (lengths == 1).all():
            np.maximum.at(out, low, scores)
            continue
        ends = np.cumsum(lengths)
        leaf = np.arange(ends[-1]) - np.repeat(ends - lengths - low, lengths)
        np.maximum.at(out, leaf, np.repeat(scores, lengths))
    out[np.isneginf(out)] = 0.0
    return out


def _asked(scope: _Scope, granularity: str | None) -> list[str]:
    """The granularities to answer at: the asked one, or turn for conversations and passage for documents."""
    have = scope.granularities()
    if granularity is None:
        return [g for g in ANSWERS.values() if g in have]
    return [granularity] if granularity in have else []


@dataclass(frozen=True)
class _Candidates:
    """All units of one granularity in the scope with their total and per-channel scores."""

    parts: list[_Part]
    totals: np.ndarray
    channels: dict[str, np.ndarray]


def _gather(scope: _Scope, granularity: str, evidence: dict[str, np.ndarray]) -> _Candidates:
    """Each unit takes, channel by channel, the best of the leaves it covers."""
    parts = [p for level in scope.parts.values() for p in level if p.granularity == granularity]
    low, high = np.concatenate([p.low for p in parts]), np.concatenate([p.high for p in parts])
    if (high - low == 1).all():
        channels = {name: scores[low] for name, scores in evidence.items()}
    else:
        channels = {name: _maximum_between(scores, low, high) for name, scores in evidence.items()}
    totals = np.where(high > low, sum(channels.values()), -np.inf)
    return _Candidates(parts, totals, channels)


def _maximum_between(scores: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """max(scores[low_i:high_i]) for each i; `reduceat` on interleaved bounds, a sentinel closing the last."""
    padded = np.append(scores, -np.inf)
    pairs = np.column_stack([low, high]).ravel()
    return np.where(high > low, np.maximum.reduceat(padded, pairs)[::2], 0.0)


def _best(candidates: list[_Candidates], query: Query) -> list[Hit]:
    """The k best over all candidates; ties go to the earlier row."""
    rows = []
    for found in candidates:
        allowed = _valid(found.parts, query.valid_at)
        totals = np.where(allowed, found.totals, -np.inf) if allowed is not None else found.totals
        k = min(query.k, len(totals))
        least = -np.partition(-totals, k - 1)[k - 1]
        top = np.flatnonzero(totals >= least)  # more than k where the last places are tied
        top = top[np.argsort(-totals[top], kind="stable")][:k]
        rows += [(-float(totals[i]), order, int(i), found) for order, i in enumerate(top) if np.isfinite(totals[i])]
    rows.sort(key=lambda r: (r[0], r[1]))
    return [_hit(rank, found, i) for rank, (_, _, i, found) in enumerate(rows[: query.k], 1)]


def _valid(parts: list[_Part], moment: dt.datetime | None) -> np.ndarray | None:
    """Units true at `moment`: they had happened and no later fact had replaced them."""
    if moment is None:
        return None
    wanted = pa.scalar(moment, pa.timestamp("us", tz="UTC"))
    out = []
    for part in parts:
        rows = part.shard.units.slice(part.start, part.end - part.start)
        began = pa.compute.less_equal(rows["event_time"], wanted)
        lasting = pa.compute.fill_null(pa.compute.greater(rows["valid_to"], wanted), True)
        out.append(pa.compute.and_(began, lasting).to_numpy())
    return np.concatenate(out)


def _hit(rank: int, found: _Candidates, i: int) -> Hit:
    offset = i
    for part in found.parts:
        if offset < part.end - part.start:
            break
        offset -= part.end - part.start
    row = part.shard.units.slice(part.start + offset, 1).to_pylist()[0]
    via = {name: round(float(scores[i]), 4) for name, scores in found.channels.items() if abs(scores[i]) >= 5e-5}
    return Hit(
        rank=rank,
        unit_id=row["unit_id"],
        namespace=row["namespace"],
        granularity=row["granularity"],
        score=round(float(found.totals[i]), 4),
        text=row["text"],
        source=row["source_spans"],
        event_time=_in_zone(row["event_time"], row["zone"]),
        time_source=row["time_source"],
        session_id=row["session_id"],
        document_id=row["document_id"],
        via=dict(sorted(via.items(), key=lambda item: -abs(item[1]))),
    )


def _in_zone(moment: dt.datetime, zone: str | None) -> str:
    """ISO time with the offset its source gave; without an offset where the source gave none."""
    if zone is None:
        return moment.replace(tzinfo=None).isoformat()
    return moment.astimezone(dt.datetime.strptime(zone, "%z").tzinfo).isoformat()

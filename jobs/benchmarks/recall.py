"""Latency of recall on a store: encoding and search apart, in one namespace and in all, beside a plain scan in the same run.

The floor is what any dense search must do: inner products of the question with every leaf vector (turns, sentences) by
numpy on one thread, and the ten best of them. Recall does that at every level of granularity, adds the lexical channels
and reads the hits, so it is slower and finds more; the ratio says what that costs. Each question is encoded, searched
and scanned for before the next one, as they come in use: a search finds the processor's caches full of the encoder's
weights. The first question of a namespace also pays for opening its scope, so p99 in one namespace shows what a cold
one costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from jobs.run import Progress
from jobs.store.reader import open_store
from pipelines.recall import Query, Recall, RecallShard
from pipelines.recall.one_thread import one_thread
from schemas.errors import UsageError

QUESTIONS, K, WARM = 200, 10, 5
ENCODING, SCAN = "encode the question", "numpy dense scan of leaves, one thread"
ONE, ALL = "one namespace", "all namespaces"
LEAVES = ("turn", "sentence")
SAMPLED = ("fact", "sentence", "turn")


@dataclass(frozen=True)
class Question:
    """What is asked, and where in the measurement of one namespace."""

    text: str
    namespace: str


def measure(
    store: str,
    data: Path | None,
    limit: int,
    *,
    scopes: Sequence[str] = (ONE, ALL),
    progress: Progress = lambda stage, done, total: None,
) -> list[dict]:
    """One row a part (encoder, search, numpy scan) and scope: p50 and p99 in milliseconds, ratio of medians to the scan."""
    with open_store(store) as opened:
        recall = opened.recall_with(None)
        questions = _questions(recall.shards, data, limit)
        measured = (
            f"Recall of {K} for {len(questions):,} questions, one at a time, snapshot {opened.snapshot.number} with "
            f"{sum(s.units.num_rows for s in recall.shards):,} units"
        )
        rows = []
        for done, scope in enumerate(scopes, 1):
            leaves, seconds = _asked(recall, questions, everywhere=scope == ALL)
            scanned = seconds[SCAN]
            rows.append(_row(ENCODING, scope, None, seconds.pop(ENCODING), None))
            rows += [_row(part, scope, leaves, took, scanned) for part, took in seconds.items()]
            progress("recall", done, len(scopes))
    return [row | {"questions": len(questions), "measured": measured} for row in rows]


def _questions(shards: Sequence[RecallShard], data: Path | None, limit: int) -> list[Question]:
    """From a JSONL file, or texts of the store itself, evenly spread. One without a namespace gets one of the store's."""
    if data is None:
        return _sampled(shards, limit)
    names = sorted(set().union(*(s.namespaces() for s in shards)))
    found: list[Question] = []
    for number, line in enumerate(data.read_bytes().splitlines(), 1):
        if not line.strip() or len(found) == limit:
            continue
        try:
            row = orjson.loads(line)
            found.append(Question(row["text"], row.get("namespace") or names[number % len(names)]))
        except (orjson.JSONDecodeError, KeyError, AttributeError, TypeError):
            raise UsageError(
                f'{data} line {number} is no question: a line looks like {{"text": "When ...?"}}'
            ) from None
    if not found:
        raise UsageError(f"{data} has no question: give one JSON object a line, with a text")
    return found


def _sampled(shards: Sequence[RecallShard], limit: int) -> list[Question]:
    found = [
        [(shard, row) for shard in shards for a, b in shard.slices(granularity, None) for row in range(a, b)]
        for granularity in SAMPLED
    ]
    rows = next((rows for rows in found if len(rows) >= limit), max(found, key=len))
    if not rows:
        raise UsageError("the store holds no facts, sentences or turns to ask about: ingest something first")
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(int)]
    return [Question(shard.units["text"][row].as_py(), shard.units["namespace"][row].as_py()) for shard, row in chosen]


def _asked(recall: Recall, questions: Sequence[Question], *, everywhere: bool) -> tuple[int, dict[str, list[float]]]:
    """(leaves in the scope, their median where scopes differ; by part the seconds of each question)."""
    vectors: dict[str, np.ndarray] = {}
    search = Recall(recall.shards, lambda texts: np.stack([vectors[t] for t in texts]))
    warm = questions[:WARM]
    seconds: dict[str, list[float]] = {ENCODING: [], "Engraph search": [], SCAN: []}
    leaves = []
    for i, question in enumerate([*warm, *questions]):
        names = None if everywhere else (question.namespace,)
        query = Query(question.text, K, names)
        scope = _leaf_vectors(search.shards, None if names is None else set(names))
        found, encode_s = _timed(lambda q=question: recall.encode([q.text]))
        vectors[question.text] = found[0]
        _, search_s = _timed(lambda q=query: search.recall(q))
        with one_thread():  # as the search, or its threads still look for work when the next question is encoded
            _, scan_s = _timed(lambda s=scope, v=found[0]: _scan(s, v))
        if i >= len(warm):
            for took, part in zip((encode_s, search_s, scan_s), seconds.values(), strict=True):
                part.append(took)
            leaves.append(sum(len(block) for block in scope))
    return int(np.median(leaves)), seconds


def _leaf_vectors(shards: Sequence[RecallShard], names: set[str] | None) -> list[np.ndarray]:
    spans = ((shard, a, b) for shard in shards for leaf in LEAVES for a, b in shard.slices(leaf, names))
    return [np.asarray(shard.vectors[a:b]) for shard, a, b in spans]


def _scan(blocks: list[np.ndarray], vector: np.ndarray) -> np.ndarray:
    scores = np.concatenate([block @ vector for block in blocks]) if blocks else np.empty(0, np.float32)
    k = min(K, len(scores))
    top = np.argpartition(-scores, k - 1)[:k] if k else np.empty(0, np.int64)
    return top[np.argsort(-scores[top])]


def _row(what: str, scope: str, leaves: int | None, seconds: list[float], floor: list[float] | None) -> dict:
    p50, p99 = (1000 * float(np.percentile(seconds, p)) for p in (50, 99))
    times = None if floor is None else round(p50 / (1000 * float(np.median(floor))), 2)
    return {
        "part": what,
        "scope": scope,
        "leaves": leaves,
        "p50_ms": round(p50, 3),
        "p99_ms": round(p99, 3),
        "ratio_to_scan": times,
    }


def _timed(call: Callable):
    start = time.perf_counter()
    return call(), time.perf_counter() - start

"""Evaluate: a labelled set against a snapshot -> retrieval metrics with intervals, kept in the ledger."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.engines.engine import Engine, Failed
from jobs.engines.local import LocalEngine
from jobs.engines.profile import engines_of
from jobs.store import ledger
from jobs.store.reader import Store, open_store
from pipelines.evaluation import Question, Ranked, Scores, load_questions, score
from pipelines.recall import Answer, Query, Recall, RecallParams
from schemas.errors import EngraphError, UsageError
from schemas.settings import load_settings

DEPTH = 50
BATCH = 64


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one snapshot on one labelled set; session metrics are named session_..."""

    snapshot: int
    dataset: str
    n: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    by_category: dict[str, dict[str, float]]
    seconds: float

    def to_json(self) -> dict:
        return {
            "snapshot": self.snapshot,
            "dataset": self.dataset,
            "metrics": self.metrics,
            "by_category": self.by_category,
            "intervals": self.intervals,
            "n": self.n,
            "seconds": round(self.seconds, 3),
        }


def evaluate_recall(
    store: Store,
    dataset: str,
    paths: Sequence[Path],
    *,
    params: RecallParams | None = None,
    engine: Engine | None = None,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Evaluation:
    """Ask every question of a labelled set at its granularity, and at session granularity where it has session gold.

    With an `engine` of many processes, batches of questions are asked side by side, each process opening the snapshot once.
    """
    begun = time.perf_counter()
    questions = _in_store(store, load_questions(dataset, paths))
    asker = _Asker(store.lake.url, store.snapshot.number, params, store)
    engine = engine or LocalEngine()
    passes = [(_leaf_granularity(dataset), questions)]
    sessions = [q for q in questions if q.gold_sessions]
    if sessions:
        passes.append(("session", sessions))
    scores: list[Scores] = []
    done, total = 0, sum(len(asked) for _, asked in passes)
    for granularity, asked in passes:
        ranked: dict[str, Ranked] = {}
        batches = [asked[start : start + BATCH] for start in range(0, len(asked), BATCH)]
        for number, answers in engine.map(asker, [[_query(q, granularity) for q in batch] for batch in batches]):
            if isinstance(answers, Failed):
                raise EngraphError(f"questions cannot be asked: {answers.error}")
            ranked |= {q.query_id: a for q, a in zip(batches[number], answers, strict=True)}
            done += len(batches[number])
            progress("evaluate", done, total)
        scores.append(score(asked, ranked, granularity="session" if granularity == "session" else "turn"))
    return _together(store.snapshot.number, dataset, len(questions), scores, time.perf_counter() - begun)


class _Asker:
    """Asks a batch of questions; opens the snapshot where it is sent to, once for each process."""

    def __init__(self, root: str, snapshot: int, params: RecallParams | None, store: Store | None) -> None:
        self.root, self.snapshot, self.params, self.store = root, snapshot, params, store
        self._recall: Recall | None = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"store": None, "_recall": None}

    def __call__(self, queries: list[Query]) -> list[Ranked]:
        if self._recall is None:
            self.store = self.store or open_store(self.root, snapshot=self.snapshot)
            self._recall = self.store.recall_with(self.params)
        return [_ranked(answer) for answer in self._recall.recall_many(queries)]


def _leaf_granularity(dataset: str) -> str | None:
    return {"locomo": "turn", "longmemeval": "turn", "multihop": "document"}.get(dataset)


def _in_store(store: Store, questions: list[Question]) -> list[Question]:
    """Questions whose namespace the snapshot holds; none at all is an error."""
    known = store.namespaces()
    found = [q for q in questions if q.namespace is None or q.namespace in known]
    if not found:
        asked = sorted({q.namespace for q in questions if q.namespace})[:3]
        raise UsageError(
            f"the store has none of the namespaces asked about ({', '.join(asked)} ...): ingest that data first"
        )
    return found


def _query(question: Question, granularity: str | None) -> Query:
    asked_at = dt.datetime.fromisoformat(question.asked_at) if question.asked_at else None
    if asked_at is not None and asked_at.tzinfo is None:
        asked_at = asked_at.replace(tzinfo=dt.UTC)
    query = Query(
        question.text, DEPTH, (question.namespace,) if question.namespace else None, granularity, asked_at=asked_at
    )
    return query if granularity else replace(query, granularity=question.granularity)


def _ranked(answer: Answer) -> Ranked:
    return Ranked(
        refs=[tuple(s["ref"] for s in hit.source) for hit in answer.hits],
        sessions=[hit.session_id for hit in answer.hits],
        texts=[hit.text for hit in answer.hits],
    )


def _together(snapshot: int, dataset: str, n: int, scores: list[Scores], seconds: float) -> Evaluation:
    metrics: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    by_category: dict[str, dict[str, float]] = {}
    for found in scores:
        metrics |= found.metrics
        intervals |= found.intervals
        for category, values in found.by_category.items():
            by_category.setdefault(category, {}).update(values)
    return Evaluation(snapshot, dataset, n, metrics, intervals, by_category, seconds)


def record(store: Store, evaluation: Evaluation, *, now: dt.datetime) -> None:
    """Keep an evaluation in the ledger."""
    rows = [
        {
            "snapshot": evaluation.snapshot,
            "dataset": evaluation.dataset,
            "category": "all",
            "metric": metric,
            "value": value,
            "low": evaluation.intervals[metric][0],
            "high": evaluation.intervals[metric][1],
            "n": evaluation.n,
            "at": now,
        }
        for metric, value in evaluation.metrics.items()
    ]
    ledger.append(store.lake, "evaluations", rows)


def ablations(params: RecallParams) -> dict[str, RecallParams]:
    """The fusion, each channel alone, and the fusion without each channel."""
    dense = [f"dense:{level}" for level, weight in params.dense.items() if weight]
    words = [f"lexical:{level}" for level, weight in params.lexical.items() if weight]
    channels = [*dense, *words, "graph", "speaker", "time"]
    found = {"fusion": params}
    for channel in channels:
        found[f"only {channel}"] = replace(params, only=(channel,))
        found[f"without {channel}"] = replace(params, only=tuple(c for c in channels if c != channel))
    return found | {"without routing": replace(params, routing=False)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate alone: `python -m jobs.evaluate_recall locomo PATH... --store DIR`."""
    from jobs import alone

    parser = alone.parser_of("Ask a labelled set against the newest snapshot; keep nothing.")
    parser.add_argument("dataset", choices=("locomo", "longmemeval", "multihop", "jsonl"))
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files with the labelled questions")
    given = parser.parse_args(arguments)

    def job() -> dict:
        settings = load_settings(given.store, given.config)
        with engines_of(given.profile, settings) as engines, open_store(settings.store) as store:
            return evaluate_recall(store, given.dataset, given.paths, engine=engines.of("evaluate")).to_json()

    return alone.told(job)


if __name__ == "__main__":
    raise SystemExit(main())

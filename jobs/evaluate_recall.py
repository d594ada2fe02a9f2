"""Evaluate: a labelled set against a snapshot -> retrieval metrics with intervals.

Recall and the published baselines are measured alike: the same questions, store, encoder, depth and metrics. Leaves (turns, or
documents) are ranked first, then sessions where the set has gold sessions. Confidence is measured on the answerable questions
together with those that the set says memory cannot answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jobs.ask_questions import Asked, Asker, BaselineAsker, RecallAsker, ask, batches_of
from jobs.engines.engine import Engine
from jobs.engines.local import LocalEngine
from jobs.engines.profile import engines_of
from jobs.record_evaluation import Evaluation
from jobs.store.reader import Store, open_store
from pipelines.evaluation import Question, Scores, load_questions, load_unanswerable, score
from pipelines.evaluation.ablation import FUSION
from pipelines.evaluation.baselines import BASELINES
from pipelines.evaluation.confidence import Reliability, reliability
from pipelines.evaluation.spread import part_of, spread
from pipelines.evaluation.tuned import note_on
from pipelines.recall import RecallParams
from schemas.errors import UsageError
from schemas.settings import load_settings

LEAF_OF_SET = {"locomo": "turn", "longmemeval": "turn", "multihop": "document"}
Progress = Callable[[str, int, int], None]


class NothingToRank(UsageError):
    """A baseline that ranks nothing that a set has gold for."""


def evaluate_recall(
    store: Store,
    dataset: str,
    paths: Sequence[Path],
    *,
    params: RecallParams | None = None,
    baseline: str | None = None,
    ranking: str = FUSION,
    folds: str | None = None,
    vectors: dict[str, np.ndarray] | None = None,
    engine: Engine | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Evaluation:
    """Ask every question of a labelled set at its granularity, and at session granularity where it has session gold.

    `baseline` names one of BASELINES to be asked in place of recall. `vectors` keeps the questions' vectors for the next
    variant. With an `engine` of many processes batches are asked side by side, each process opening the snapshot once; latency
    then is theirs.

    Raises:
        UsageError: the set is not of that form, the store has none of its namespaces, or the baseline cannot rank it.
    """
    begun = time.perf_counter()
    questions = _in_store(store, load_questions(dataset, paths))
    parts = part_of(questions, folds) if folds else {}
    passes = _passes(dataset, questions, baseline)
    unanswerable = [] if baseline else _known(store, load_unanswerable(dataset, paths))
    asker: Asker = BaselineAsker(store, baseline) if baseline else RecallAsker(store, params, vectors)
    asking = _Asking(engine or LocalEngine(), asker, baseline is not None, progress)
    asking.total = sum(len(asked) for _, asked in passes) + len(unanswerable)
    scores, leaves = [], None
    for granularity, asked in passes:
        found = asking(asked, granularity)
        leaves = leaves if leaves is not None else found
        ranked = {id_: a.ranked for id_, a in found.items()}
        scores.append(score(asked, ranked, granularity="session" if granularity == "session" else "turn"))
    assert leaves is not None
    doubtful = asking(unanswerable, passes[0][0])
    return _together(
        Evaluation(store.snapshot.number, baseline or ranking, dataset, len(questions), {}, {}, {}, {}, {}, 0.0),
        scores,
        seconds=time.perf_counter() - begun,
        latency_ms=_latency(leaves.values()),
        confidence=_reliability(leaves, doubtful),
        folds={m: s for found in scores for m, s in spread(found.per_question, parts).items()} if folds else {},
        tuned=note_on(paths),
    )


@dataclass
class _Asking:
    """Asks lists of questions one after the other and tells how far it is."""

    engine: Engine
    asker: Asker
    by_scope: bool
    progress: Progress
    total: int = 0
    done: int = 0

    def __call__(self, questions: Sequence[Question], granularity: str | None) -> dict[str, Asked]:
        batches = batches_of(questions, granularity, by_scope=self.by_scope)
        found: dict[str, Asked] = {}
        for batch, outcomes in ask(self.engine, self.asker, batches, self._tell):
            found |= {q.query_id: outcome for q, outcome in zip(batch.questions, outcomes, strict=True)}
        self.done += len(questions)
        return found

    def _tell(self, done: int) -> None:
        self.progress("evaluate", self.done + done, self.total)


def _passes(dataset: str, questions: list[Question], baseline: str | None) -> list[tuple[str | None, list[Question]]]:
    """What is ranked for which questions: leaves for all, sessions where there is gold, as far as a baseline can."""
    passes: list[tuple[str | None, list[Question]]] = [(LEAF_OF_SET.get(dataset), questions)]
    sessions = [q for q in questions if q.gold_sessions]
    if sessions:
        passes.append(("session", sessions))
    if baseline is None:
        return passes
    if baseline not in BASELINES:
        raise UsageError(f"no baseline {baseline!r}: there are {', '.join(BASELINES)}")
    ranked = BASELINES[baseline].granularities
    possible = [(g, asked) for g, asked in passes if not ranked or g in ranked]
    if not possible:
        raise NothingToRank(
            f"the baseline {baseline} ranks {' and '.join(ranked)}s only: this set has no gold for them"
        )
    return possible


def _in_store(store: Store, questions: list[Question]) -> list[Question]:
    """Questions whose namespace the snapshot holds; none at all is an error."""
    found = _known(store, questions)
    if not found:
        asked = sorted({q.namespace for q in questions if q.namespace})[:3]
        raise UsageError(
            f"the store has none of the namespaces asked about ({', '.join(asked)} ...): ingest that data first"
        )
    return found


def _known(store: Store, questions: list[Question]) -> list[Question]:
    known = store.namespaces()
    return [q for q in questions if q.namespace is None or q.namespace in known]


def _latency(asked: Iterable[Asked]) -> dict[str, float]:
    """p50 and p99 in milliseconds: of a question as a user asks it, and of the part after encoding."""
    found: dict[str, float] = {}
    outcomes = list(asked)
    for name, values in (
        ("", [a.seconds for a in outcomes]),
        ("after_encoding_", [a.after_encoding for a in outcomes]),
    ):
        measured = np.array([v for v in values if not np.isnan(v)])
        if len(measured):
            found |= {f"{name}p{p}": round(1000 * float(np.percentile(measured, p)), 3) for p in (50, 99)}
    return found


def _reliability(answerable: Mapping[str, Asked], unanswerable: Mapping[str, Asked]) -> Reliability | None:
    if not unanswerable:
        return None
    values = [a.confidence for a in (*answerable.values(), *unanswerable.values())]
    return reliability(np.array(values), np.arange(len(values)) < len(answerable))


def _together(empty: Evaluation, scores: list[Scores], **more: Any) -> Evaluation:
    for found in scores:
        empty.metrics.update(found.metrics)
        empty.intervals.update(found.intervals)
        for category, values in found.by_category.items():
            empty.by_category.setdefault(category, {}).update(values)
            bounds = empty.intervals_by_category.setdefault(category, {})
            bounds.update(found.intervals_by_category[category])
            empty.n_by_category.setdefault(category, found.n_by_category[category])
    return replace(empty, scores=tuple(scores), **more)


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate alone: `python -m jobs.evaluate_recall locomo PATH... --store DIR`."""
    from jobs import alone

    parser = alone.parser_of("Ask a labelled set against the newest snapshot; keep nothing.")
    parser.add_argument("dataset", choices=("locomo", "longmemeval", "multihop", "jsonl"))
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files with the labelled questions")
    parser.add_argument("--baseline", choices=tuple(BASELINES), help="a published method in place of recall")
    given = parser.parse_args(arguments)

    def job() -> dict:
        settings = load_settings(given.store, given.config)
        with engines_of(given.profile, settings) as engines, open_store(settings.store) as store:
            engine = engines.of("evaluate")
            return evaluate_recall(store, given.dataset, given.paths, baseline=given.baseline, engine=engine).to_json()

    return alone.told(job)


if __name__ == "__main__":
    raise SystemExit(main())

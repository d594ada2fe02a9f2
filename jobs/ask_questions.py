"""Ask: labelled questions -> rankings, by recall or by a published baseline, on an engine.

`RecallAsker` asks one question after the other as a user would, so that each has its own latency; a question's vector is kept,
so that the variants of an ablation do not encode it again. `BaselineAsker` gathers a scope once and ranks it for all questions
about it.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from jobs.engines.engine import Engine, Failed
from jobs.gather_corpus import LEAF, gather_corpus, usual_granularity
from jobs.store.reader import Store, open_store
from pipelines.evaluation import Question, Ranked
from pipelines.evaluation.baselines import BASELINES
from pipelines.recall import Answer, Query, Recall, RecallParams
from schemas.errors import EngraphError, UsageError

DEPTH = 50
BATCH = 64


@dataclass(frozen=True)
class Asked:
    """What came of one question: its ranking, the confidence, the seconds in all and those after encoding.

    Confidence and seconds are nan where they mean nothing: baselines have no confidence, a kept vector costs nothing.
    """

    ranked: Ranked
    confidence: float = float("nan")
    seconds: float = float("nan")
    after_encoding: float = float("nan")


@dataclass(frozen=True)
class Batch:
    """Questions that are asked in one call, all at one granularity (None: that of the question, or the default)."""

    granularity: str | None
    questions: tuple[Question, ...]


Asker = Callable[[Batch], list[Asked]]


def ask(
    engine: Engine, asker: Asker, batches: Sequence[Batch], progress: Callable[[int], None]
) -> Iterator[tuple[Batch, list[Asked]]]:
    """Every batch with its outcomes, as they come.

    Raises:
        EngraphError: a batch cannot be asked.
    """
    done = 0
    for number, found in engine.map(asker, batches):
        if isinstance(found, Failed):
            raise EngraphError(f"questions cannot be asked: {found.error}")
        done += len(batches[number].questions)
        progress(done)
        yield batches[number], found


def batches_of(questions: Sequence[Question], granularity: str | None, *, by_scope: bool = False) -> list[Batch]:
    """Questions in batches; `by_scope` keeps those about one namespace together."""
    if not by_scope:
        return [Batch(granularity, tuple(questions[i : i + BATCH])) for i in range(0, len(questions), BATCH)]
    scopes: dict[tuple, list[Question]] = {}
    for question in questions:
        scopes.setdefault((question.namespace, granularity or question.granularity), []).append(question)
    return [Batch(own, tuple(found)) for (_, own), found in scopes.items()]


@dataclass
class _Timed:
    """An encoder that keeps vectors and says how long the last call took; nan where it had nothing to do."""

    encode: Callable[[list[str]], np.ndarray]
    kept: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: float = 0.0

    def __call__(self, texts: list[str]) -> np.ndarray:
        begun = time.perf_counter()
        new = [t for t in dict.fromkeys(texts) if t not in self.kept]
        if new:
            self.kept |= dict(zip(new, self.encode(new), strict=True))
        self.seconds = time.perf_counter() - begun if new else float("nan")
        return np.stack([self.kept[t] for t in texts])


class RecallAsker:
    """Asks recall; opens the snapshot where it is sent to, once for each process.

    `vectors` are kept between askers of a process.
    """

    def __init__(
        self, store: Store, params: RecallParams | None = None, vectors: dict[str, np.ndarray] | None = None
    ) -> None:
        self.root, self.snapshot, self.params = store.lake.url, store.snapshot.number, params
        self._store: Store | None = store
        self._vectors = vectors if vectors is not None else {}
        self._recall: Recall | None = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_store": None, "_recall": None}

    def __call__(self, batch: Batch) -> list[Asked]:
        if self._recall is None:
            self._store = self._store or open_store(self.root, snapshot=self.snapshot)
            self._recall = self._store.recall_with(self.params)
            self._recall.encode = self._timed = _Timed(self._recall.encode, self._vectors)
            self._recall.recall_many(
                [_query(q, batch.granularity) for q in batch.questions[:1]]
            )  # maps files, warms up
            self._vectors.pop(batch.questions[0].text, None)
        return [self._ask(question, batch.granularity) for question in batch.questions]

    def _ask(self, question: Question, granularity: str | None) -> Asked:
        assert self._recall is not None
        begun = time.perf_counter()
        answer = self._recall.recall(_query(question, granularity))
        seconds = time.perf_counter() - begun
        encoding = self._timed.seconds
        alone = seconds if np.isnan(encoding) else seconds - encoding
        return Asked(_ranked(answer), answer.confidence, seconds if not np.isnan(encoding) else encoding, alone)


def _query(question: Question, granularity: str | None) -> Query:
    asked_at = dt.datetime.fromisoformat(question.asked_at) if question.asked_at else None
    if asked_at is not None and asked_at.tzinfo is None:
        asked_at = asked_at.replace(tzinfo=dt.UTC)
    scope = (question.namespace,) if question.namespace else None
    return Query(question.text, DEPTH, scope, granularity or question.granularity, asked_at=asked_at)


def _ranked(answer: Answer) -> Ranked:
    return Ranked(
        refs=[tuple(s["ref"] for s in hit.source) for hit in answer.hits],
        sessions=[hit.session_id for hit in answer.hits],
        texts=[hit.text for hit in answer.hits],
    )


class BaselineAsker:
    """Ranks the items of a scope by a published method. Expects batches by scope."""

    def __init__(self, store: Store, name: str) -> None:
        self.root, self.snapshot, self.name = store.lake.url, store.snapshot.number, name
        self._store: Store | None = store

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_store": None}

    def __call__(self, batch: Batch) -> list[Asked]:
        self._store = self._store or open_store(self.root, snapshot=self.snapshot)
        namespace = batch.questions[0].namespace
        granularity = batch.granularity or usual_granularity(self._store, namespace)
        if granularity not in LEAF:
            raise UsageError(f"baselines rank {', '.join(LEAF)}; this set asks for {granularity}")
        scope = gather_corpus(self._store, namespace, granularity)
        if not len(scope.corpus):
            return [Asked(Ranked()) for _ in batch.questions]
        ranker = BASELINES[self.name].build(scope.corpus, self._store.embed)
        vectors = self._store.embed([q.text for q in batch.questions])
        found = []
        for question, vector in zip(batch.questions, vectors, strict=True):
            begun = time.perf_counter()
            ranked = scope.ranked(ranker(question.text, vector), DEPTH)
            found.append(Asked(ranked, after_encoding=time.perf_counter() - begun))
        return found

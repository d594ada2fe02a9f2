"""What an evaluation found, as JSON and as rows of the ledger's `evaluations`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from jobs.store import ledger
from jobs.store.reader import Store
from pipelines.evaluation import Scores
from pipelines.evaluation.confidence import Reliability
from pipelines.evaluation.spread import Spread


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one ranking (recall, one of its variants, or a baseline) over one labelled set; session metrics are named
    session_...

    `tuned` is a sentence where the set was used to choose constants of recall.
    """

    snapshot: int
    ranking: str
    dataset: str
    n: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    by_category: dict[str, dict[str, float]]
    intervals_by_category: dict[str, dict[str, tuple[float, float]]]
    n_by_category: dict[str, int]
    seconds: float
    latency_ms: dict[str, float] = field(default_factory=dict)
    confidence: Reliability | None = None
    folds: dict[str, Spread] = field(default_factory=dict)
    tuned: str | None = None
    scores: tuple[Scores, ...] = field(default=(), repr=False)

    def to_json(self) -> dict:
        return {
            "snapshot": self.snapshot,
            "ranking": self.ranking,
            "dataset": self.dataset,
            "metrics": self.metrics,
            "by_category": self.by_category,
            "intervals": self.intervals,
            "n": self.n,
            "n_by_category": self.n_by_category,
            "latency_ms": self.latency_ms,
            "confidence": asdict(self.confidence) if self.confidence else None,
            "folds": {metric: asdict(found) for metric, found in self.folds.items()},
            "tuned": self.tuned,
            "seconds": round(self.seconds, 3),
        }


def record(store: Store, evaluation: Evaluation, *, now: dt.datetime) -> None:
    """Keep an evaluation in the ledger."""
    ledger.append(store.lake, "evaluations", list(_rows(evaluation, now)))


def _rows(found: Evaluation, now: dt.datetime) -> Iterator[dict]:
    common = {"snapshot": found.snapshot, "ranking": found.ranking, "dataset": found.dataset, "at": now}
    parts = [("all", found.n, found.metrics, found.intervals)]
    parts += [
        (c, found.n_by_category[c], values, found.intervals_by_category[c]) for c, values in found.by_category.items()
    ]
    for category, n, values, intervals in parts:
        for metric, value in values.items():
            low, high = intervals[metric]
            yield common | {"category": category, "metric": metric, "value": value, "low": low, "high": high, "n": n}
    for name, value in found.latency_ms.items():
        metric = f"latency_{name}_ms"
        yield common | {"category": "all", "metric": metric, "value": value, "low": value, "high": value, "n": found.n}
    if found.confidence:
        yield from (common | row for row in _reliability_rows(found.confidence))
    for metric, s in found.folds.items():
        bounds = {"low": s.mean - s.sd, "high": s.mean + s.sd}
        yield common | {"category": "folds", "metric": metric, "value": s.mean, "n": len(s.parts)} | bounds


def _reliability_rows(found: Reliability) -> Iterator[dict]:
    """AUROC and calibration error, and the points of the plot: `reliability@0.55` is the bin around 0.55."""
    n = found.answerable + found.unanswerable
    for metric, value in (("confidence_auroc", found.auroc), ("confidence_ece", found.calibration_error)):
        yield {"category": "all", "metric": metric, "value": value, "low": value, "high": value, "n": n}
    for b in found.bins:
        middle = f"{(b.start + b.end) / 2:.2f}"
        row = {"category": "all", "n": b.n}
        yield row | {"metric": f"reliability@{middle}", "value": b.answerable, "low": b.low, "high": b.high}
        yield row | {"metric": f"confidence@{middle}", "value": b.confidence, "low": b.start, "high": b.end}

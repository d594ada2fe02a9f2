"""Scores ranked hits against labelled questions: means, intervals, categories, and one row per question.

Rankings become one matrix of gains (see `metrics`), then every metric is a column. Cost: one set or substring test per
hit and gold item; 762 questions with 50 hits take well under a second.

The one thing to know: a question without gold at the asked granularity is left out (`n` says how many were scored), but
a question with gold and no ranking is an error: an empty `Ranked()` is how "nothing was found" is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa

from pipelines.evaluation import metrics
from pipelines.evaluation.questions import Question
from schemas.errors import UsageError

Granularity = Literal["turn", "session", "passage"]
Interval = tuple[float, float]
KS = (1, 2, 3, 5, 10, 30, 50)


@dataclass(frozen=True)
class Ranked:
    """The hits of one question, best first: three lists with one entry per hit; an unused list may stay empty.

    `refs`: the source refs each hit rests on. `sessions`: its session id or None. `texts`: its document's text (or its
    own, where it is the whole document), looked at only for questions with `gold_texts`.
    """

    refs: Sequence[tuple[str, ...]] = ()
    sessions: Sequence[str | None] = ()
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class Scores:
    """Metrics of one ranking over `n` questions; `intervals` are 95 % bootstrap intervals of the means.

    `per_question`: query_id, category and one float64 column per metric. `by_category`, `intervals_by_category` and
    `n_by_category` have a category's name as key.
    """

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    n: int
    by_category: dict[str, dict[str, float]]
    intervals_by_category: dict[str, dict[str, Interval]]
    n_by_category: dict[str, int]
    per_question: pa.Table = field(repr=False)


def score(
    questions: Sequence[Question],
    ranked: Mapping[str, Ranked],
    ks: Sequence[int] = KS,
    *,
    granularity: Granularity = "turn",
    seed: int = 0,
    resamples: int = 1000,
) -> Scores:
    """Metrics of `ranked` (by query_id) at each k of `ks`: recall, recall_any, recall_all, ndcg, ndcg_any, and mrr.

    `ndcg@k` is the standard form, `ndcg_any@k` LongMemEval's, under its own label. "turn" and "passage" look for
    `gold_refs` and `gold_texts`; "session" looks for `gold_sessions` among the distinct sessions in ranked order (a
    session's second hit takes no rank: LongMemEval's way from turns to sessions) and prefixes the names by `session_`.
    Raises UsageError for questions with gold but without a ranking, and for an unknown granularity.
    """
    if granularity not in ("turn", "session", "passage"):
        raise UsageError(f"granularity {granularity!r} cannot be scored: use turn, session or passage")
    asked = [q for q in questions if _n_gold(q, granularity)]
    missing = [q.query_id for q in asked if q.query_id not in ranked]
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(asked)} questions have no ranking, for example {missing[:3]}: "
            "rank every question, and give an empty Ranked() where nothing was found"
        )
    gains = gain_matrix([_gains(q, ranked[q.query_id], granularity) for q in asked])
    n_gold = np.array([_n_gold(q, granularity) for q in asked], dtype=np.int64)
    columns = _columns(gains, n_gold, ks, prefix="session_" if granularity == "session" else "")
    return _summarise(asked, columns, seed, resamples)


def compare(
    a: Scores,
    b: Scores,
    *,
    category: str | None = None,
    only: str | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> pa.Table:
    """Paired comparison over the questions and metrics that both have, of one category or all, of one metric or all: metric, n,
    a, b, difference, low, high.

    `difference` is b - a; its 95 % interval comes from resampling questions, so what is hard for both cancels out. An
    interval that leaves out 0 is a difference beyond chance. Raises UsageError when no question is shared.
    """
    position = {query_id: i for i, query_id in enumerate(b.per_question["query_id"].to_pylist())}
    asked = zip(a.per_question["query_id"].to_pylist(), a.per_question["category"].to_pylist(), strict=True)
    shared = [(i, position[q]) for i, (q, c) in enumerate(asked) if q in position and category in (None, c)]
    names = [name for name in a.metrics if name in b.metrics and only in (None, name)]
    if not shared or not names:
        raise UsageError("the two results share no question or no metric: score both on the same labelled set")
    rows = np.array(shared)
    left, right = _matrix(a.per_question, names)[rows[:, 0]], _matrix(b.per_question, names)[rows[:, 1]]
    difference, low, high = metrics.paired_difference(left, right, seed=seed, resamples=resamples)
    return pa.table(
        {
            "metric": pa.array(names, pa.string()),
            "n": pa.array([len(shared)] * len(names), pa.int64()),
            "a": left.mean(axis=0),
            "b": right.mean(axis=0),
            "difference": difference,
            "low": low,
            "high": high,
        }
    )


def gain_matrix(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Gains of each question, padded with 0 to the longest -> int64 [questions, depth]."""
    gains = np.zeros((len(rows), max((len(row) for row in rows), default=0)), dtype=np.int64)
    for i, row in enumerate(rows):
        gains[i, : len(row)] = row
    return gains


def without_whitespace(text: str) -> str:
    """The form in which passages are compared: readers join lines and sentences differently."""
    return "".join(text.split())


def _n_gold(question: Question, granularity: Granularity) -> int:
    if granularity == "session":
        return len(set(question.gold_sessions))
    return len(set(question.gold_refs)) + len(set(question.gold_texts))


def _gains(question: Question, ranked: Ranked, granularity: Granularity) -> list[int]:
    """How many gold items each hit is the first to bring."""
    if granularity == "session":
        distinct = dict.fromkeys(session for session in ranked.sessions if session is not None)
        return _first_seen([{session} for session in distinct], set(question.gold_sessions))
    found = [set(refs) for refs in ranked.refs]
    by_ref = _first_seen(found, set(question.gold_refs))
    if not question.gold_texts:
        return by_ref
    by_text = _first_seen(_texts_found(question.gold_texts, ranked.texts), set(question.gold_texts))
    depth = max(len(by_ref), len(by_text))
    padded = [row + [0] * (depth - len(row)) for row in (by_ref, by_text)]
    return [ref + text for ref, text in zip(*padded, strict=True)]


def _texts_found(gold_texts: Sequence[str], texts: Sequence[str]) -> list[set[str]]:
    """For each hit the gold passages that its text contains or equals, white space aside."""
    gold = {text: without_whitespace(text) for text in gold_texts}
    bare = [without_whitespace(text) for text in texts]
    return [{original for original, wanted in gold.items() if wanted in text} for text in bare]


def _first_seen(hits: Sequence[set[str]], gold: set[str]) -> list[int]:
    left, gains = set(gold), []
    for hit in hits:
        new = hit & left
        left -= new
        gains.append(len(new))
    return gains


def _columns(gains: np.ndarray, n_gold: np.ndarray, ks: Sequence[int], prefix: str) -> dict[str, np.ndarray]:
    columns = {}
    for k in ks:
        columns[f"{prefix}recall@{k}"] = metrics.recall(gains, n_gold, k)
        columns[f"{prefix}recall_any@{k}"] = metrics.recall_any(gains, n_gold, k)
        columns[f"{prefix}recall_all@{k}"] = metrics.recall_all(gains, n_gold, k)
        columns[f"{prefix}ndcg@{k}"] = metrics.ndcg(gains, n_gold, k)
        columns[f"{prefix}ndcg_any@{k}"] = metrics.ndcg(gains, n_gold, k, "longmemeval")
    columns[f"{prefix}mrr"] = metrics.reciprocal_rank(gains)
    return columns


def _summarise(asked: Sequence[Question], columns: dict[str, np.ndarray], seed: int, resamples: int) -> Scores:
    values = np.column_stack(list(columns.values()))
    categories = np.array([q.category for q in asked], dtype=object)
    parts = {c: values[categories == c] for c in sorted(set(categories))}
    summaries = {c: _means_and_intervals(list(columns), part, seed, resamples) for c, part in parts.items()}
    means, intervals = _means_and_intervals(list(columns), values, seed, resamples)
    ids = {
        "query_id": pa.array([q.query_id for q in asked], pa.string()),
        "category": pa.array(list(categories), pa.string()),
    }
    return Scores(
        metrics=means,
        intervals=intervals,
        n=len(asked),
        by_category={c: summary[0] for c, summary in summaries.items()},
        intervals_by_category={c: summary[1] for c, summary in summaries.items()},
        n_by_category={c: len(part) for c, part in parts.items()},
        per_question=pa.table(ids | {name: pa.array(column) for name, column in columns.items()}),
    )


def _means_and_intervals(
    names: list[str], values: np.ndarray, seed: int, resamples: int
) -> tuple[dict[str, float], dict[str, Interval]]:
    mean = values.mean(axis=0) if len(values) else np.full(len(names), np.nan)
    low, high = metrics.bootstrap_interval(values, seed=seed, resamples=resamples)
    means = {name: float(m) for name, m in zip(names, mean, strict=True)}
    return means, {name: (float(lo), float(hi)) for name, lo, hi in zip(names, low, high, strict=True)}


def _matrix(table: pa.Table, names: Sequence[str]) -> np.ndarray:
    return np.column_stack([table[name].to_numpy() for name in names])

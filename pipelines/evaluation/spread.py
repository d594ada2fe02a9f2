"""How a metric spreads over parts of a labelled set: its namespaces (conversations, users), or folds of questions.

Questions of one conversation are alike, so an interval from resampling questions is too narrow for what an unseen conversation will
give; the spread over conversations is what to expect there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.evaluation.questions import Question
from schemas.errors import UsageError

ID_COLUMNS = ("query_id", "category")


@dataclass(frozen=True)
class Spread:
    """A metric's mean and standard deviation (n - 1) over the means of the parts."""

    mean: float
    sd: float
    parts: dict[str, float]


def part_of(questions: Sequence[Question], by: str) -> dict[str, str]:
    """query_id -> part: its namespace for `by` "namespace", else one of that many folds, by a hash of the id.

    Raises:
        UsageError: `by` is neither, or the questions have no namespaces.
    """
    if by == "namespace":
        if any(q.namespace is None for q in questions):
            raise UsageError("--folds namespace: questions of this set have no namespace; give a number of folds")
        return {q.query_id: str(q.namespace) for q in questions}
    if not by.isdigit() or int(by) < 2:
        raise UsageError(f"--folds {by!r}: give `namespace`, or a number of folds from 2")
    folds = int(by)
    return {q.query_id: f"fold {_hash(q.query_id) % folds + 1}" for q in questions}


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def spread(per_question: pa.Table, parts: Mapping[str, str]) -> dict[str, Spread]:
    """For every metric of `Scores.per_question` its spread over the parts."""
    names = np.array([parts[id_] for id_ in per_question["query_id"].to_pylist()], dtype=object)
    masks = {part: names == part for part in sorted(set(names))}
    found = {}
    for metric in per_question.column_names:
        if metric not in ID_COLUMNS:
            values = per_question[metric].to_numpy()
            means = {part: float(values[mask].mean()) for part, mask in masks.items()}
            of_parts = np.array(list(means.values()))
            sd = float(of_parts.std(ddof=1)) if len(of_parts) > 1 else float("nan")
            found[metric] = Spread(float(of_parts.mean()), sd, means)
    return found

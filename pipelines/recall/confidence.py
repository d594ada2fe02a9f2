"""How likely it is that a scope holds what was asked for: a logistic model of four things that the ranking knows.

A question about something that was never said usually has its topic in memory, but with somebody else. So what tells most is
whether the best that the named person said is better than the best that anybody else said; beside it how near the nearest unit is,
and how many of the question's words the best hit has. Names alone bring a person's turns near, which the gap in cosines takes off.
Fitted on LoCoMo dev, one conversation left out at a time (adversarial questions against all others): area under the curve 0.82,
calibration error 0.04; the closest turn alone has 0.55. Where nobody speaks only two of the four say anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pipelines.lexical.terms import stem_terms
from pipelines.recall.channels import Asked, Evidence
from pipelines.recall.ranking import Placed
from pipelines.recall.scope import Scope

BIAS, NEAREST, WORDS, PERSON, NAMES = -3.2, 5.1, 1.4, 1.1, -1.0


def confidence(scope: Scope, asked: Asked, found: Evidence, placed: Sequence[Placed]) -> float:
    """0 to 1; 0 where nothing was found."""
    if not placed:
        return 0.0
    person, names = _gaps(scope, asked, found)
    score = BIAS + NEAREST * found.nearest + WORDS * _words_met(scope, asked, found) + PERSON * person + NAMES * names
    return 1.0 / (1.0 + math.exp(-min(max(score, -30.0), 30.0)))


def _gaps(scope: Scope, asked: Asked, found: Evidence) -> tuple[float, float]:
    """What the best of the named person leads the best of all others by, in score and in deviations of cosines; else 0."""
    if "speaker" not in found.channels or "leaf" not in found.cosines:
        return 0.0, 0.0
    codes = scope.speakers.codes if found.leaves is None else scope.speakers.codes[found.leaves]
    said = np.isin(codes, scope.speakers.named_in(asked.text))
    if said.all() or not said.any():
        return 0.0, 0.0
    scores = found.totals - found.channels["speaker"]
    cosines = _leaf_cosines(scope, found)
    spread = cosines.std() if found.leaves is None else scope.levels["leaf"].spread(asked.vector)[1]
    spread = max(float(spread), 1e-6)
    return float(scores[said].max() - scores[~said].max()), float(cosines[said].max() - cosines[~said].max()) / spread


def _leaf_cosines(scope: Scope, found: Evidence) -> np.ndarray:
    units, leaves = found.units.get("leaf"), found.leaves
    cosines = found.cosines["leaf"]
    return cosines if units is None or leaves is None else cosines[np.searchsorted(units, leaves)]


def _words_met(scope: Scope, asked: Asked, found: Evidence) -> float:
    """Share of the question's words, names of speakers aside, that the best leaf has; rare words count more."""
    words = set(stem_terms(asked.reading.text)) - scope.speakers.stems
    if not words:
        return 0.0
    best = int(np.argmax(found.totals))
    leaf = best if found.leaves is None else int(found.leaves[best])
    level = scope.levels["leaf"]
    at = int(np.searchsorted(level.offsets, leaf, "right")) - 1
    part = level.parts[at]
    row = part.start + leaf - int(level.offsets[at])
    met = set(stem_terms(part.shard.units["text"][row].as_py()))
    n = len(level)
    weights = {
        w: float(np.log1p(n / (1 + sum(p.shard.lexical.count(w, p.start, p.end) for p in level.parts)))) for w in words
    }
    return sum(weights[w] for w in words & met) / sum(weights.values())

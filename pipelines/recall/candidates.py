"""Which leaves of a large scope are worth scoring: the best by words, by who speaks and when, by where the graph leads, and by the
indexes' nearest units.

Words, the graph, speakers and times are scored for all leaves: that is a few passes over arrays of scores. Vectors are not looked
at: every level that has an ANN index gives its nearest units, smaller ones are scanned, and what is not among these counts as
average. The leaves that are best by this estimate are then scored exactly by `channels`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import numpy as np

from pipelines.ranges import numbers_in
from pipelines.recall.channels import (
    Asked,
    Evidence,
    Overview,
    Weight,
    heard,
    leaf_scores,
    of_units,
    trusted,
    walked,
    walks,
    words_met,
)
from pipelines.recall.nearest import best_places, nearest_of
from pipelines.recall.params import RecallParams
from pipelines.recall.routing import KEPT
from pipelines.recall.scope import Level, Scope

SELDOM = 16  # where fewer than one unit in as many has a score, going from these to their leaves is faster than from all leaves


def overview(scope: Scope, asked: Asked, params: RecallParams) -> Overview:
    """What is known of all units: words and the graph of every one, of vectors the `routing.KEPT` nearest of each level."""
    speaking = heard(scope, params, "dense")
    look = partial(_nearest_by_level, scope, asked.vector, speaking)
    # beside a walk on another core: neither holds Python's lock while it multiplies
    meanwhile = _helpers().submit(look) if walks(scope, params) else None
    words, walk = words_met(scope, asked, params), walked(scope, asked, params)
    near = look() if meanwhile is None else meanwhile.result()
    weights = trusted(speaking, {name: cosines for name, (_, cosines) in near.items()}, params)
    return Overview(words, near, weights, walk)


@cache
def _helpers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="engraph-near")


os.register_at_fork(after_in_child=_helpers.cache_clear)  # threads stay behind: a forked child would wait for ever


def candidate_leaves(scope: Scope, asked: Asked, params: RecallParams, seen: Overview) -> np.ndarray:
    """Numbers of leaves, ascending: the best by the estimate, and the best whoever speaks."""
    totals = np.zeros(scope.n_leaves, np.float32)
    known = dict(seen.words)
    if seen.walked is not None:
        known["window"] = seen.walked[1] + known.get("window", np.float32(0))
    for name, scores in known.items():
        _add_known(totals, scope.levels[name], scores)
    for name, (units, cosines) in seen.near.items():
        _add_nearest(totals, scope.levels[name], units, cosines, asked.vector, of_units(seen.weights[name], units))
    alone = Evidence(None)
    leaf_scores(scope, asked, params, alone)
    if "time" in alone.channels:
        totals += alone.channels["time"]
    best = best_places(totals, params.candidates)
    if "speaker" in alone.channels:
        best = np.union1d(best, best_places(totals + alone.channels["speaker"], params.candidates))
    return np.sort(best)


def _add_known(totals: np.ndarray, level: Level, scores: np.ndarray) -> None:
    """Add to each leaf the best of a level's units that cover it."""
    if level.cover.identity:
        totals += scores
        return
    units = np.flatnonzero(scores)
    if SELDOM * len(units) < len(scores) and (scores[units] > 0).all():
        _add_best(totals, level, units, scores[units])
    else:
        totals += level.cover.best(scores)


def _add_nearest(
    totals: np.ndarray, level: Level, units: np.ndarray, cosines: np.ndarray, vector: np.ndarray, weight: Weight
) -> None:
    """Add the z-scores of a level's nearest units to the leaves that they cover."""
    mean, deviation = level.spread(vector)
    if deviation <= 1e-9:
        return
    _add_best(totals, level, units, weight * (cosines - mean) / deviation)


def _add_best(totals: np.ndarray, level: Level, units: np.ndarray, scores: np.ndarray) -> None:
    """Add to each leaf the best score of those of `units` that cover it, where that is above 0."""
    low, high = level.low[units], level.high[units]
    best = np.zeros(len(totals), np.float32)
    np.maximum.at(best, numbers_in(low, high), np.repeat(scores, high - low).astype(np.float32))
    totals += best


def _nearest_by_level(
    scope: Scope, vector: np.ndarray, names: Iterable[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {name: _nearest(scope.levels[name], vector, KEPT) for name in names}


def _nearest(level: Level, vector: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k units of a level nearest to the question and their cosines, by the index of a part where there is one."""
    found = [nearest_of(part, vector, k) for part in level.parts]
    units = np.concatenate([offset + own for offset, (own, _) in zip(level.offsets, found, strict=False)])
    cosines = np.concatenate([own for _, own in found])
    best = best_places(cosines, k)
    return units[best], cosines[best]

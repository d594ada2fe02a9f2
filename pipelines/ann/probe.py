"""Candidates from the lists, ranked exactly over the mapped vectors: one call into faiss for a query or a batch.

Projection, coarse search, fast scan and rerank are chained inside faiss (IndexPreTransform in IndexRefine), so that a single
query pays for one crossing from Python: faiss's own wrapper and parameter objects would add 15 us to the 100 of a query, so
the C signature is called and parameters are kept. A row may come back once for each replica; `distinct` drops the others.
The one thing to know: while pages are cold (`prefetch`) the same stages run one by one, each asking for its pages first.
"""

# faiss ships incomplete type stubs (no keyword arguments, no views, no downcasts)
# mypy: disable-error-code="attr-defined, call-arg, union-attr, assignment, arg-type"

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from pipelines.ann import coarse, exact, prefetch
from pipelines.ann.opened import Opened
from pipelines.ann.postings import queries_at_once

BATCH = 256  # queries searched at a time: 1,024 would take 20 % less a query and three times the memory, 30 MB
TABLE_BYTES = 16 << 20  # of their look-up tables


@dataclass(frozen=True)
class Effort:
    """How a search is done: lists probed, candidates ranked, columns kept before replicas are dropped, queries at once."""

    nprobe: int
    ranked: int
    width: int
    batch: int
    params: faiss.IndexRefineSearchParameters
    in_lists: faiss.SearchParametersIVF


class Prober:
    """Searches the lists of an opened index. Safe to share between threads."""

    def __init__(self, opened: Opened) -> None:
        self._opened, self.metric = opened, opened.metric
        self._lists = opened.lists
        self._flat = exact.view(opened.vectors, opened.metric)
        self._matrix = faiss.LinearTransform(opened.dim, opened.plan.code_dim, False)
        faiss.copy_array_to_vector(np.ascontiguousarray(opened.matrix.T).ravel(), self._matrix.A)
        self._matrix.is_trained = True
        self._turned = faiss.IndexPreTransform(self._matrix, self._lists)
        self._ranked = faiss.IndexRefine(self._turned, self._flat)
        self._alive, self._bits = None, None
        if len(opened.dead):
            self._alive, self._bits = bitmap(opened.live())
        self._cold_for = 0
        # opened now: a later compaction by others removes the names, not what is open
        self._pages = prefetch.Pages(opened.path("lists")), prefetch.Pages(opened.path("vectors"))

    def effort(self, nprobe: int, ranked: int, k: int, selector: Any = None) -> Effort:
        """Effort for `k` distinct rows among those that `selector` (default: all that live) lets through."""
        width = min(ranked, k * self._opened.plan.replicas)
        chosen = self._alive if selector is None else selector
        lists = coarse.parameters(self._lists, nprobe, chosen)
        turned = faiss.SearchParametersPreTransform(index_params=lists)
        # the half keeps width * factor from rounding below the whole number of candidates
        params = faiss.IndexRefineSearchParameters(k_factor=(ranked + 0.5) / width, base_index_params=turned)
        batch = queries_at_once(self._opened.plan, TABLE_BYTES, BATCH)
        return Effort(nprobe, ranked, width, batch, params, lists)

    def search(self, queries: np.ndarray, k: int, effort: Effort) -> tuple[np.ndarray, np.ndarray]:
        """(rows int64, scores float32) [b, k] for C-ordered float32 queries [b, dim], best first, padding row -1."""
        if len(queries) > effort.batch:
            starts = range(0, len(queries), effort.batch)
            parts = [self.search(queries[start : start + effort.batch], k, effort) for start in starts]
            return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        if self._cold_for > 0:
            self._cold_for -= 1
            return exact.best(*self._step_by_step(queries, effort), k, self.metric)
        before = prefetch.faults()
        rows = np.empty((len(queries), effort.width), np.int64)
        scores = np.empty((len(queries), effort.width), np.float32)
        pointers = faiss.swig_ptr(scores), faiss.swig_ptr(rows)
        self._ranked.search_c(len(queries), faiss.swig_ptr(queries), effort.width, *pointers, effort.params)
        if prefetch.faults() - before >= prefetch.MANY:
            self._cold_for = prefetch.STAY
        return distinct(rows, scores, k, self.metric)

    def _step_by_step(self, queries: np.ndarray, effort: Effort) -> tuple[np.ndarray, np.ndarray]:
        """The same stages with the pages of each asked for before they are touched."""
        opened = self._opened
        lists, vectors = self._pages
        starts, lengths = opened.list_file.starts, opened.list_file.lengths
        coded = self._matrix.apply_py(queries)
        near, probed = self._lists.quantizer.search(
            coded, effort.nprobe, params=coarse.effort(self._lists, effort.nprobe)
        )
        wanted = np.unique(probed[probed >= 0])
        lists.ask(starts[wanted], lengths[wanted])
        rows = np.empty((len(queries), effort.ranked), np.int64)
        scores = np.empty((len(queries), effort.ranked), np.float32)
        pointers = [faiss.swig_ptr(a) for a in (probed, near, scores, rows)]
        self._lists.search_preassigned_c(
            len(queries), faiss.swig_ptr(coded), effort.ranked, *pointers, False, effort.in_lists
        )
        row_bytes = opened.vectors.itemsize * opened.dim
        touched = np.unique(rows[rows >= 0])
        vectors.ask(touched * row_bytes, np.full(len(touched), row_bytes, np.int64))
        return rows, self._scores(queries, rows)

    def _scores(self, queries: np.ndarray, found: np.ndarray) -> np.ndarray:
        scores = np.empty(found.shape, np.float32)
        for line, (query, rows) in enumerate(zip(queries, found, strict=True)):
            near = self._opened.vectors[rows].astype(np.float32)
            scores[line] = near @ query if self.metric == "ip" else np.square(near - query).sum(axis=1)
        return scores


def bitmap(allowed: np.ndarray) -> tuple[faiss.IDSelectorBitmap, np.ndarray]:
    """A selector of the rows marked in bool [n] and the bits it points into, which must outlive it."""
    bits = np.packbits(allowed, bitorder="little")
    return faiss.IDSelectorBitmap(len(allowed), faiss.swig_ptr(bits)), bits


def distinct(rows: np.ndarray, scores: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The k best distinct rows of each line of [b, c]. Sorted lines without ties are cut, which is what most are; all others
    go through `exact.best`."""
    found = _cut_line(rows, scores, k) if len(rows) == 1 else _cut_lines(rows, scores, k, metric)
    return found or exact.best(rows, scores, k, metric)


def _cut_line(rows: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray] | None:
    """One sorted line without its replicas; lists, which beat arrays of 20. None where rows are few or scores tied."""
    line, score, last = rows[0].tolist(), scores[0].tolist(), -1
    places: list[int] = []
    for place, row in enumerate(line):
        if row != last:
            if row < 0 or (places and score[place] == score[places[-1]]):
                return None
            if len(places) == k:
                break
            places.append(place)
            last = row
    if len(places) < k:
        return None
    return rows.take(places, axis=1), scores.take(places, axis=1)


def _cut_lines(rows: np.ndarray, scores: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray] | None:
    if rows.shape[1] < k or int(rows[:, -1].min(initial=0)) < 0:
        return None
    fresh = np.ones(rows.shape, np.bool_)
    np.not_equal(rows[:, 1:], rows[:, :-1], out=fresh[:, 1:])
    # a worse score at every new row: sorted, and replicas lie side by side
    worse = scores[:, 1:] < scores[:, :-1] if metric == "ip" else scores[:, 1:] > scores[:, :-1]
    if not (worse | ~fresh[:, 1:]).all():
        return None
    fresh &= np.cumsum(fresh, axis=1) <= k
    if int(np.count_nonzero(fresh)) != k * len(rows):
        return None
    return rows[fresh].reshape(-1, k), scores[fresh].reshape(-1, k)


def is_finite(queries: np.ndarray) -> bool:
    """Whether no value is NaN or infinite; the squared length tells in a third of the time, unless it overflows."""
    flat = queries.reshape(-1)
    return math.isfinite(np.dot(flat, flat)) or bool(np.isfinite(flat).all())

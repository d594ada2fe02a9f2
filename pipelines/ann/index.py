"""An open index: search it, change it.

A query probes `nprobe` lists by 4-bit fast scan, its `rerank` best candidates are ranked exactly over the mapped vectors
(`probe`), and rows become keys. Where a search would be cheap or must be sure (few rows, a narrow filter, recall_target 1, too
few results) rows are scanned exactly. The one thing to know: an index that is open keeps what it sees, whoever changes the
folder; its own `insert`, `delete` and `compact` move it on.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipelines.ann import compact, exact, layout, recall_curve, update
from pipelines.ann.opened import Opened
from pipelines.ann.probe import Effort, Prober, bitmap, is_finite
from schemas.errors import StoreError, UsageError

EXACT_FILTER_ROWS = 20_000  # scanning these exactly is about as fast as probing many lists through a filter
DEFAULT_TARGET = 0.95


def open_index(folder: Path, verify: str, encoder: str | None) -> Index:
    """The index in `folder`: see `ann.open`."""
    for last in (False, True):
        manifest = layout.read_manifest(folder)
        try:
            layout.verify_files(folder, manifest, verify)
            _same_encoder(folder, manifest["encoder"], encoder)
            return Index(Opened(folder, manifest))
        except (StoreError, FileNotFoundError):
            # a writer may have replaced this generation between its manifest and its files
            if last or layout.read_manifest(folder)["generation"] == manifest["generation"]:
                raise
    raise AssertionError("unreachable")


def _same_encoder(folder: Path, built: str | None, encoder: str | None) -> None:
    if encoder is not None and built is not None and encoder != built:
        raise UsageError(f"{folder} was built with {built}, queries come from {encoder}: rebuild or pin the encoder")


class _View:
    """One generation as searches see it; efforts once found are kept."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.prober = Prober(opened) if opened.lists is not None else None
        self.alive = bitmap(opened.live()) if len(opened.dead) else (None, None)
        self.live = opened.n - len(opened.dead)
        self.efforts: dict[tuple[int, int | None, int | None, float | None], Effort | None] = {}


class Index:
    """An opened index. `manifest` is its manifest.json; `len(index)` its live vectors. Safe to share between threads."""

    def __init__(self, opened: Opened) -> None:
        self._view = _View(opened)

    @property
    def manifest(self) -> dict[str, Any]:
        return self._view.opened.manifest

    @property
    def metric(self) -> str:
        return self._view.opened.metric

    @property
    def dim(self) -> int:
        return self._view.opened.dim

    def __len__(self) -> int:
        return self._view.live

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        nprobe: int | None = None,
        rerank: int | None = None,
        recall_target: float | None = None,
        filter: np.ndarray | None = None,
        threads: int = 1,
    ) -> tuple[np.ndarray, np.ndarray]:
        """(keys int64, scores float32), [b, k] for queries [b, dim], [k] for one query [dim]; best first.

        Padding is key -1 with score -inf ("ip") or inf ("l2"). recall_target (default 0.95) picks nprobe and rerank from the
        measured curve; 1.0, or a target no point reaches, scans exactly. An explicit nprobe is kept even where its lists
        hold fewer than k rows; rerank counts candidates, replicas included. filter: int64 keys that may be returned
        (unknown ones are ignored), or a boolean for each stored row, deleted ones included. Raises UsageError for shapes or
        values that do not fit.
        """
        view = self._view
        single, queries = _checked(queries, view.opened.dim, k, nprobe, rerank, recall_target, threads)
        before = faiss.omp_get_max_threads()
        if before != threads:
            faiss.omp_set_num_threads(threads)  # of the calling thread only
        try:
            if filter is None:
                found, scores = _search(view, queries, k, nprobe, rerank, recall_target)
            else:
                rows = _rows(view, np.asarray(filter))
                found, scores = _search_among(view, queries, k, nprobe, rerank, recall_target, rows)
        finally:
            if before != threads:
                faiss.omp_set_num_threads(before)
        keys = view.opened.keys_of(found)
        return (keys[0], scores[0]) if single else (keys, scores)

    def insert(self, vectors: np.ndarray | str | Path, ids: np.ndarray | None = None) -> None:
        """Adds vectors [b, dim] at once, to this index and to the folder. ids: as in `build`, none of them live; by default the
        numbers after the highest key. Raises UsageError for vectors or ids that do not fit, StoreLocked beside another writer.
        """
        self._move(update.insert, vectors, ids)

    def delete(self, ids: np.ndarray) -> int:
        """Removes keys from all further results and returns how many there were; `compact` frees their bytes."""
        before = len(self)
        self._move(update.delete, np.asarray(ids))
        return before - len(self)

    def compact(self, memory_budget: int | None = None) -> None:
        """Splits long lists, merges short ones, reassigns their vectors, purges deleted bytes and measures recall anew."""
        self._move(compact.compact, memory_budget)

    def _move(self, change: Any, *arguments: Any) -> None:
        """Applies a change to the newest generation of the folder and looks at what came of it."""
        folder = self._view.opened.folder
        with layout.writing(folder):
            newest = layout.read_manifest(folder)
            at = self._view.opened
            opened = at if newest["generation"] == at.manifest["generation"] else Opened(folder, newest)
            manifest = change(opened, *arguments)
            if manifest is not None:
                layout.write_manifest(folder, manifest)
                layout.sweep(folder, manifest)
                opened = Opened(folder, manifest)
            if opened is not at:
                self._view = _View(opened)


def _search(
    view: _View, queries: np.ndarray, k: int, nprobe: int | None, rerank: int | None, target: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, scores) among all live rows."""
    if view.live == 0 or len(queries) == 0:
        return _nothing(view, len(queries), k)
    asked = (k, nprobe, rerank, target)
    if asked not in view.efforts:
        if len(view.efforts) >= 256:
            view.efforts.clear()
        view.efforts[asked] = _effort(view, *asked, view.live)
    effort = view.efforts[asked]
    if effort is None or view.prober is None:
        return _exact(view, queries, k, None)
    found, scores = view.prober.search(queries, k, effort)
    if nprobe is None and found[:, min(k, view.live) - 1].min() < 0:
        short = np.flatnonzero(found[:, min(k, view.live) - 1] < 0)
        found[short], scores[short] = _exact(view, queries[short], k, None)
    return found, scores


def _search_among(
    view: _View,
    queries: np.ndarray,
    k: int,
    nprobe: int | None,
    rerank: int | None,
    target: float | None,
    rows: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, scores) among live `rows`: exactly where they are few, through a selector where they are many."""
    if len(rows) == 0 or len(queries) == 0:
        return _nothing(view, len(queries), k)
    if view.prober is None or len(rows) <= EXACT_FILTER_ROWS:
        return _exact(view, queries, k, rows)
    allowed = np.zeros(view.opened.n, np.bool_)
    allowed[rows] = True
    selector, _bits = bitmap(allowed)
    effort = _effort(view, k, nprobe, rerank, target, len(rows), selector)
    if effort is None:
        return _exact(view, queries, k, rows)
    found, scores = view.prober.search(queries, k, effort)
    if nprobe is None:
        short = np.flatnonzero(found[:, min(k, len(rows)) - 1] < 0)
        if len(short):
            found[short], scores[short] = _exact(view, queries[short], k, rows)
    return found, scores


def _effort(
    view: _View,
    k: int,
    nprobe: int | None,
    rerank: int | None,
    target: float | None,
    allowed: int,
    selector: faiss.IDSelector | None = None,
) -> Effort | None:
    """What to probe and rank, or None where only an exact scan will do."""
    if view.prober is None:
        return None
    manifest = view.opened.manifest
    nlist, entries = manifest["nlist"], manifest["entries"]
    target = DEFAULT_TARGET if target is None else target
    point = recall_curve.choose(manifest["recall"]["points"], k, target)
    if nprobe is None and rerank is None and (point is None or target >= 1):
        return None
    point = point or {"k": 10, "nprobe": nlist, "rerank": 200}
    ranked = rerank or max(point["rerank"] * -(-k // point["k"]), 10 * k if nprobe else 0)
    if nprobe is None:
        # enough lists to hold k allowed rows, and behind a filter twice the allowed rows that a plain search would scan:
        # the nearest of a sparser set lie farther out (recall 0.91 at the 0.95 point without the factor)
        probed = point["nprobe"] if selector is None else 2 * max(4, point["nprobe"])
        ranked = ranked if selector is None else 2 * ranked
        nprobe = math.ceil(max(probed * view.live / allowed, 8 * k * nlist / allowed))
    ranked = entries if ranked >= view.opened.n else max(ranked, 2 * k)
    return view.prober.effort(min(nprobe, nlist), min(ranked, entries), k, selector)


def _exact(view: _View, queries: np.ndarray, k: int, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    opened = view.opened
    if rows is not None:
        return exact.scan_rows(opened.vectors, rows, opened.metric, queries, k)
    return exact.scan(opened.vectors, opened.metric, queries, k, view.alive[0])


def _nothing(view: _View, lines: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full((lines, k), -1, np.int64), np.full((lines, k), exact.worst(view.opened.metric), np.float32)


def _rows(view: _View, filter: np.ndarray) -> np.ndarray:
    """Allowed live rows, ascending, of a filter over keys or rows."""
    opened = view.opened
    if filter.dtype == np.bool_:
        if filter.shape != (opened.n,):
            raise UsageError(f"filter has shape {filter.shape}: give one boolean for each of the {opened.n} rows")
        return np.flatnonzero(filter & opened.live() if len(opened.dead) else filter)
    if filter.ndim != 1 or (filter.size and filter.dtype.kind not in "iu"):
        raise UsageError(
            f"filter is {filter.dtype} of {filter.ndim} dimensions: give int64 keys or a boolean for each row"
        )
    return opened.rows_of(filter.astype(np.int64))


def _checked(
    queries: np.ndarray,
    dim: int,
    k: int,
    nprobe: int | None,
    rerank: int | None,
    target: float | None,
    threads: int,
) -> tuple[bool, np.ndarray]:
    """Whether it is one query, and the queries as C-ordered float32 [b, dim]. Raises UsageError."""
    for name, value in (("k", k), ("nprobe", nprobe), ("rerank", rerank), ("threads", threads)):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}: use at least 1")
    if target is not None and not 0 < target <= 1:
        raise UsageError(f"recall_target is {target}: use a value above 0, at most 1")
    queries = np.ascontiguousarray(queries, np.float32)
    single = queries.ndim == 1
    if queries.ndim not in (1, 2) or queries.shape[-1] != dim:
        raise UsageError(
            f"index has dim {dim}, queries have shape {queries.shape}: encode them with the index's encoder"
        )
    if not is_finite(queries):
        raise UsageError("a query holds NaN or infinity: encode it again")
    return single, queries.reshape(1, dim) if single else queries

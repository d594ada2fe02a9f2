"""Open an index folder and search it: candidates from mapped lists, exact rerank from mapped vectors, top-k.

A query probes `nprobe` lists by 4-bit fast-scan, its `rerank` best candidates are ranked exactly inside faiss over the
mapped vectors (no copy), replicas are dropped, and rows become keys. Warm cost at 101,400 x 384: 0.1-0.4 ms for recall@10
of 0.93-0.995. Where a search would be cheap or must be sure (few rows, a narrow filter, recall_target 1, too few results)
rows are scanned exactly. The one thing to know: vectors and lists stay in their files; the page cache decides.
"""

# faiss ships incomplete type stubs (no keyword arguments, no views, no downcasts)
# mypy: disable-error-code="attr-defined, call-arg, union-attr, assignment, arg-type"

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipelines.ann import exact, layout, recall_curve
from pipelines.ann.params import Plan
from pipelines.ann.postings import pad_columns, queries_at_once
from schemas.errors import StoreError, UsageError

EXACT_FILTER_ROWS = 20_000  # scanning these exactly is about as fast as probing many lists through a filter
DEFAULT_TARGET = 0.95
BATCH = 1024  # queries ranked at a time: bounds memory at b * rerank
TABLE_BYTES = 64 << 20  # and their look-up tables


def open(out: str | Path, verify: str = "touched") -> Index:
    """The index in folder `out`. verify: "full" reads and checks every byte, "touched" sizes and both ends of every file,
    "none" the manifest only. Raises StoreError that says what is wrong."""
    if verify not in ("full", "touched", "none"):
        raise UsageError(f"verify is {verify!r}: use 'full', 'touched' or 'none'")
    folder = Path(out)
    manifest = layout.read_manifest(folder)
    layout.verify_files(folder, manifest, verify)
    return Index(folder, manifest)


class Index:
    """An opened index. `manifest` is its manifest.json; `len(index)` its vectors. Safe to share between threads."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.manifest = manifest
        self.metric, self.dim, self.n = manifest["metric"], manifest["dim"], manifest["n"]
        self._plan = Plan(**manifest["plan"])
        segment = manifest["segments"][0]
        base = folder / segment["name"]
        self._vectors = _mapped(base / "vectors.npy", (self.n, self.dim))
        keyed = "keys.npy" in segment["files"]
        self._keys = _mapped(base / "keys.npy", (self.n,)) if keyed else None
        self._order = _mapped(base / "order.npy", (self.n,)) if keyed else None
        self._ranked: faiss.IndexRefine | None = None
        if segment["kind"] == "ivf":
            self._entries = segment["entries"]
            self._lists = _read_lists(base / "lists.faiss", manifest)
            self._flat = exact.view(self._vectors, self.metric)
            if self._lists.d == self.dim:
                self._ranked = faiss.IndexRefine(self._lists, self._flat)

    def __len__(self) -> int:
        return self.n

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
        (unknown ones are ignored), or a boolean for each row. Raises UsageError for shapes or values that do not fit.
        """
        single, queries = self._checked(queries, k, nprobe, rerank, recall_target, threads)
        rows = None if filter is None else self._rows(np.asarray(filter))
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(threads)  # of the calling thread only
        try:
            found, scores = self._search(queries, k, nprobe, rerank, recall_target, rows)
        finally:
            faiss.omp_set_num_threads(before)
        keys = found if self._keys is None else np.where(found < 0, -1, self._keys[found] if self.n else -1)
        return (keys[0], scores[0]) if single else (keys, scores)

    def _search(
        self,
        queries: np.ndarray,
        k: int,
        nprobe: int | None,
        rerank: int | None,
        target: float | None,
        rows: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        allowed = self.n if rows is None else len(rows)
        if allowed == 0 or len(queries) == 0:
            shape = (len(queries), k)
            return np.full(shape, -1, np.int64), np.full(shape, exact.worst(self.metric), np.float32)
        effort = None if self.manifest["nlist"] == 0 else self._effort(k, nprobe, rerank, target, allowed)
        if effort is None or (rows is not None and allowed <= EXACT_FILTER_ROWS):
            return self._exact(queries, k, rows)
        width = min(effort[1], k * self._plan.replicas)
        if rows is None:
            params = _parameters(*effort, width)
        else:
            selector, _bits = _bitmap(rows, self.n)
            params = _refine(faiss.SearchParametersIVF(nprobe=effort[0], sel=selector), effort[1], width)
        step = queries_at_once(self._plan, self.metric, effort[0], TABLE_BYTES, BATCH)
        batches = [queries[start : start + step] for start in range(0, len(queries), step)]
        parts = [self._probe(batch, k, effort[1], width, params) for batch in batches]
        found = np.concatenate([part[0] for part in parts]) if len(parts) > 1 else parts[0][0]
        scores = np.concatenate([part[1] for part in parts]) if len(parts) > 1 else parts[0][1]
        if nprobe is None:
            short = np.flatnonzero(found[:, min(k, allowed) - 1] < 0)
            if len(short):
                found[short], scores[short] = self._exact(queries[short], k, rows)
        return found, scores

    def _effort(
        self, k: int, nprobe: int | None, rerank: int | None, target: float | None, allowed: int
    ) -> tuple[int, int] | None:
        """(nprobe, candidates to rank), or None where only an exact scan will do."""
        nlist = self.manifest["nlist"]
        target = DEFAULT_TARGET if target is None else target
        point = recall_curve.choose(self.manifest["recall"]["points"], k, target)
        if nprobe is None and rerank is None and (point is None or target >= 1):
            return None
        point = point or {"k": 10, "nprobe": nlist, "rerank": 200}
        ranked = rerank or max(point["rerank"] * -(-k // point["k"]), 10 * k if nprobe else 0)
        if nprobe is None:
            # enough lists to hold k allowed rows, and behind a filter twice the allowed rows that a plain search would scan:
            # the nearest of a sparser set lie farther out (recall 0.91 at the 0.95 point without the factor)
            probed = point["nprobe"] if allowed == self.n else 2 * max(4, point["nprobe"])
            needed = max(probed * self.n / allowed, 8 * k * nlist / allowed)
            ranked = ranked if allowed == self.n else 2 * ranked
            nprobe = int(np.ceil(needed))
        ranked = self._entries if ranked >= self.n else max(ranked, 2 * k)
        return min(nprobe, nlist), min(ranked, self._entries)

    def _probe(
        self, queries: np.ndarray, k: int, ranked: int, width: int, params: faiss.IndexRefineSearchParameters
    ) -> tuple[np.ndarray, np.ndarray]:
        """Candidates from the lists, ranked exactly; a row occurs at most `replicas` times, so `width` columns hold k rows."""
        if self._ranked is not None:
            scores, found = self._ranked.search(queries, width, params=params)
        else:
            padded = pad_columns(queries, self._lists.d)
            _, found = self._lists.search(padded, ranked, params=params.base_index_params)
            scores = self._scores(queries, found)
        return exact.best(found, scores, k, self.metric)

    def _scores(self, queries: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Exact scores [b, c] where faiss cannot refine because the codes are padded (odd dimensions)."""
        scores = np.empty(found.shape, np.float32)
        for line, (query, rows) in enumerate(zip(queries, found, strict=True)):
            near = self._vectors[rows].astype(np.float32)
            scores[line] = near @ query if self.metric == "ip" else np.square(near - query).sum(axis=1)
        return scores

    def _exact(self, queries: np.ndarray, k: int, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if rows is None:
            return exact.scan(self._vectors, self.metric, queries, k)
        return exact.scan_rows(self._vectors, rows, self.metric, queries, k)

    def _rows(self, filter: np.ndarray) -> np.ndarray:
        """Allowed rows, ascending, of a filter over keys or rows."""
        if filter.dtype == np.bool_:
            if filter.shape != (self.n,):
                raise UsageError(f"filter has shape {filter.shape}: give one boolean for each of the {self.n} rows")
            return np.flatnonzero(filter)
        if filter.ndim != 1 or (filter.size and filter.dtype.kind not in "iu"):
            raise UsageError(
                f"filter is {filter.dtype} of {filter.ndim} dimensions: give int64 keys or a boolean for each row"
            )
        keys = np.unique(filter.astype(np.int64))
        if self._keys is None or self._order is None:
            return keys[(keys >= 0) & (keys < self.n)]
        if self.n == 0:
            return keys[:0]
        place = np.minimum(np.searchsorted(self._keys, keys, sorter=self._order), self.n - 1)
        rows = self._order[place]
        return np.sort(rows[self._keys[rows] == keys])

    def _checked(
        self,
        queries: np.ndarray,
        k: int,
        nprobe: int | None,
        rerank: int | None,
        target: float | None,
        threads: int,
    ) -> tuple[bool, np.ndarray]:
        for name, value in (("k", k), ("nprobe", nprobe), ("rerank", rerank), ("threads", threads)):
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}: use at least 1")
        if target is not None and not 0 < target <= 1:
            raise UsageError(f"recall_target is {target}: use a value above 0, at most 1")
        queries = np.ascontiguousarray(queries, np.float32)
        single = queries.ndim == 1
        queries = queries[None] if single else queries
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            shape = queries.shape[1:] if single else queries.shape
            raise UsageError(
                f"index has dim {self.dim}, queries have shape {shape}: encode them with the index's encoder"
            )
        if not np.isfinite(queries).all():
            raise UsageError("a query holds NaN or infinity: encode it again")
        return single, queries


def _mapped(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A `.npy` file mapped read-only (an empty one is read). Raises StoreError if it is not what the manifest says."""
    try:
        array = np.load(path, mmap_mode="r" if shape[0] else None)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({error}); {layout.REBUILD}") from error
    if array.shape != shape:
        raise StoreError(f"{path} has shape {array.shape} instead of {shape}; {layout.REBUILD}")
    return np.asarray(array)  # a plain view: memmap's own indexing costs microseconds each


def _read_lists(path: Path, manifest: dict[str, Any]) -> faiss.Index:
    try:
        lists = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:  # faiss's only exception
        raise StoreError(f"{path} cannot be read by faiss {faiss.__version__}; {layout.REBUILD}") from error
    if lists.ntotal != manifest["n"] or lists.nlist != manifest["nlist"]:
        raise StoreError(
            f"{path} belongs to another index ({lists.ntotal} rows, {lists.nlist} lists); {layout.REBUILD}"
        )
    return lists


@lru_cache(maxsize=256)
def _parameters(nprobe: int, ranked: int, width: int) -> faiss.IndexRefineSearchParameters:
    """Search parameters without a filter; making them anew costs a fifth of a single query."""
    return _refine(faiss.SearchParametersIVF(nprobe=nprobe), ranked, width)


def _refine(base: faiss.SearchParametersIVF, ranked: int, width: int) -> faiss.IndexRefineSearchParameters:
    # the half keeps width * factor from rounding below the whole number of candidates
    return faiss.IndexRefineSearchParameters(k_factor=(ranked + 0.5) / width, base_index_params=base)


def _bitmap(rows: np.ndarray, n: int) -> tuple[faiss.IDSelectorBitmap, np.ndarray]:
    """A selector of `rows` and the bits it points into, which must outlive it."""
    allowed = np.zeros(n, np.bool_)
    allowed[rows] = True
    bits = np.packbits(allowed, bitorder="little")
    return faiss.IDSelectorBitmap(n, faiss.swig_ptr(bits)), bits

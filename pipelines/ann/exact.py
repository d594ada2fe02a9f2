"""Exact distances over stored vectors, without copying them: the rerank stage, the flat index and narrow filters.

A faiss flat index (float32) or fp16 scalar quantiser *views* the mapped array, so the page cache decides what is in memory.
Cost of a scan: one read of the vectors a query (25 GB/s warm). The one thing to know: the array must outlive its view.
"""

# faiss ships incomplete type stubs (no keyword arguments, no views, no downcasts)
# mypy: disable-error-code="attr-defined, call-arg, union-attr, assignment, arg-type"

from __future__ import annotations

from collections.abc import Iterable

import faiss
import numpy as np

GATHER_BYTES = 32 << 20  # a filter's rows are copied this much at a time


def faiss_metric(metric: str) -> int:
    """ "ip" or "l2" -> faiss's constant."""
    return faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2


def worst(metric: str) -> np.float32:
    """The score of padding."""
    return np.float32(-np.inf if metric == "ip" else np.inf)


def view(vectors: np.ndarray, metric: str) -> faiss.Index:
    """A faiss index over C-ordered float32 or float16 [n, dim], n >= 1, that reads `vectors` in place."""
    dim = vectors.shape[1]
    if vectors.dtype == np.float16:
        index = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss_metric(metric))
    else:
        index = faiss.IndexFlat(dim, faiss_metric(metric))
    flat = vectors.reshape(-1).view(np.uint8)
    index.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(flat), flat.nbytes, index.codes.owner)
    index.ntotal = len(vectors)
    return index


def scan(
    vectors: np.ndarray, metric: str, queries: np.ndarray, k: int, selector: faiss.IDSelector | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(rows int64, scores float32) [b, k] of all `vectors`, or those that `selector` lets through, best first, equal scores by
    row; padding row -1."""
    index = view(vectors, metric)
    # BLAS expands |x - q|^2 and cancels; a few spare candidates, rescored directly, keep batch equal to single
    width = min(len(vectors), k + 16)
    params = faiss.SearchParameters(sel=selector) if selector else None
    scores, rows = index.search(queries, width, params=params)
    if vectors.dtype == np.float32:
        rescore = faiss.fvec_inner_products_by_idx if metric == "ip" else faiss.fvec_L2sqr_by_idx
        args = (faiss.swig_ptr(scores), faiss.swig_ptr(queries), faiss.swig_ptr(vectors), faiss.swig_ptr(rows))
        rescore(*args, vectors.shape[1], len(queries), width)  # skips rows below 0
    return best(rows, scores, k, metric)


def scan_blocks(
    blocks: Iterable[tuple[int, np.ndarray]], metric: str, queries: np.ndarray, k: int, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """As `scan`, for measuring: matrix products over blocks (first row, float32 [<= rows, dim]), for hundreds of queries ten times
    as fast.

    own: int64 [b], a row each query leaves out. Scores are rounded as BLAS rounds, so near ties may swap."""
    found = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    for start, block in blocks:
        score, rows = faiss.knn(queries, block, min(k + (own is not None), len(block)), faiss_metric(metric))
        rows = rows + start
        if own is not None:
            rows[rows == own[:, None]] = -1
        found, scores = np.concatenate([found, rows], axis=1), np.concatenate([scores, score], axis=1)
        found, scores = best(found, scores, k, metric)
    return found, scores


def scan_rows(
    vectors: np.ndarray, rows: np.ndarray, metric: str, queries: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `scan`, over `vectors[rows]` only; `rows` ascending. Copies GATHER_BYTES at a time."""
    step = max(1, GATHER_BYTES // (vectors.itemsize * vectors.shape[1]))
    found = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        local, score = scan(np.ascontiguousarray(vectors[part]), metric, queries, k)
        found = np.concatenate([found, np.where(local < 0, -1, part[local])], axis=1)
        scores = np.concatenate([scores, score], axis=1)
        found, scores = best(found, scores, k, metric)
    return best(found, scores, k, metric)


def best(rows: np.ndarray, scores: np.ndarray, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The k best distinct rows of each line of [b, c], equal scores by row number, padded with -1. Rows < 0 are ignored."""
    lines = np.arange(len(rows))[:, None]
    order = np.argsort(rows, axis=1, kind="stable")
    rows, scores = rows[lines, order], scores[lines, order]
    drop = rows < 0
    drop[:, 1:] |= rows[:, 1:] == rows[:, :-1]
    scores[drop] = worst(metric)
    rows[drop] = -1
    order = np.argsort(-scores if metric == "ip" else scores, axis=1, kind="stable")[:, :k]
    rows, scores = rows[lines, order], scores[lines, order]
    if rows.shape[1] < k:
        pad = ((0, 0), (0, k - rows.shape[1]))
        rows = np.pad(rows, pad, constant_values=-1)
        scores = np.pad(scores, pad, constant_values=worst(metric))
    return rows, scores

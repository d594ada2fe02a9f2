"""Vectors in time order -> the nearest earlier ones of each new one: exact up to `EXACT_ROWS`, beyond that with ANN candidates.

All earlier rows are compared by matrix products in blocks: 2 n m dim flops for n new against m earlier, quadratic when all are
new. Where more than `EXACT_ROWS` lie before, they are cut into whole blocks of `CHUNK` x 2^j rows, as the binary digits of their
number say (Bentley and Saxe 1980): a row looks at what is before it in its own chunk exactly, and at one index for each digit.
Blocks lie at fixed places, so a night asks the same indexes as one build over all. A block that few new rows ask is not worth an
index (building takes as long as comparing `INDEXED_FROM` rows with it) and is compared exactly. Cost for n new: n log n.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipelines import ann
from pipelines.cores import usable_cores

BLOCK, PAST = 1024, 16_384
EXACT_ROWS, CHUNK, INDEXED_FROM = 50_000, 25_000, 10_000
RECALL, SPARE = 0.99, 2
Dense = tuple[np.ndarray, np.ndarray]


def nearest_earlier(
    vectors: np.ndarray,
    new: np.ndarray,
    k: int,
    floor: float = -1.0,
    groups: np.ndarray | None = None,
    *,
    exact: bool = False,
) -> Dense:
    """For rows `new` of unit-norm `vectors` [n, dim] in time order, the `k` most similar rows before each, if >= `floor`.

    Returns (earlier rows int64, cosines f32), each [new, k], best first, padded with -1 and -inf. Rows of the same number in
    `groups` are not compared. Ties go to the earlier row; cosines are rounded to 1e-6, because equal texts get slightly different
    ones where BLAS multiplies them in different blocks. `exact` compares all pairs however many there are. Memory: the result, and
    a few `BLOCK` x `PAST` arrays.
    """
    found = np.full((len(new), k), -1, np.int64), np.full((len(new), k), -np.inf, np.float32)
    large = not exact and len(new) > 0 and int(new.max()) > EXACT_ROWS
    for at, start, end, indexed in _work(new, large):
        if indexed:
            parts = _indexed(vectors, new[at], start, end, k, floor, groups)
        else:
            parts = _exact(vectors, new[at], start, end, k, floor, groups)
        for rows, earlier, cosines in parts:
            mine = at[rows]
            both = np.hstack([found[0][mine], earlier]), np.hstack([found[1][mine], cosines])
            found[0][mine], found[1][mine] = _best(*both, k)
    return found


def _work(new: np.ndarray, large: bool) -> Iterator[tuple[np.ndarray, int, int, bool]]:
    """(positions in `new`, first and end row to compare them with, whether through an index)."""
    everyone = np.arange(len(new))
    if not large:
        yield everyone, 0, int(new.max(initial=0)), False
        return
    chunk = new // CHUNK
    for number in np.unique(chunk).tolist():
        mine = everyone[chunk == number]
        yield mine, number * CHUNK, int(new[mine].max()), False
    size = 1
    while size <= int(chunk.max()):
        asked = (chunk // size) % 2 == 1
        for block in np.unique(chunk[asked] // size).tolist():
            mine = everyone[asked & (chunk // size == block)]
            start, end = (block - 1) * size * CHUNK, block * size * CHUNK
            yield mine, start, end, len(mine) >= INDEXED_FROM
        size *= 2


def _exact(vectors, rows, start: int, end: int, k: int, floor: float, groups) -> Iterator[tuple[np.ndarray, ...]]:
    """(positions, earlier, cosines) by blocks of rows, every row before each compared."""
    for a in range(0, len(rows), BLOCK):
        at = np.arange(a, min(a + BLOCK, len(rows)))
        best = np.full((len(at), k), -1, np.int64), np.full((len(at), k), -np.inf, np.float32)
        for first in range(start, min(end, int(rows[at].max())), PAST):
            past = np.arange(first, min(first + PAST, end, int(rows[at].max())))
            scores = np.round(vectors[rows[at]] @ vectors[past[0] : past[-1] + 1].T, 6)
            scores[past[None, :] >= rows[at, None]] = -np.inf
            if groups is not None:
                scores[groups[past][None, :] == groups[rows[at], None]] = -np.inf
            found = _top(scores, past, k, floor)
            best = _best(np.hstack([best[0], found[0]]), np.hstack([best[1], found[1]]), k)
        yield at, *best


def _top(scores: np.ndarray, past: np.ndarray, k: int, floor: float) -> Dense:
    """The k best of each line and all that equal the last, cut to k by the earlier row; padded."""
    width = min(k, scores.shape[1])
    least = np.partition(scores, scores.shape[1] - width, axis=1)[:, scores.shape[1] - width]
    line, column = np.nonzero(scores >= np.maximum(least, floor)[:, None])
    order = np.lexsort((column, -scores[line, column], line))
    line, column = line[order], column[order]
    place = np.arange(len(line)) - np.searchsorted(line, line)
    line, column, place = line[place < k], column[place < k], place[place < k]
    out = np.full((len(scores), k), -1, np.int64), np.full((len(scores), k), -np.inf, np.float32)
    out[0][line, place], out[1][line, place] = past[column], scores[line, column]
    return out


def _best(earlier: np.ndarray, cosines: np.ndarray, k: int) -> Dense:
    """The k highest cosines of each line, best first, ties to the earlier one; what is not there last."""
    order = np.lexsort((np.where(earlier < 0, np.iinfo(np.int64).max, earlier), -cosines), axis=1)[:, :k]
    return np.take_along_axis(earlier, order, axis=1), np.take_along_axis(cosines, order, axis=1)


def _indexed(vectors, rows, start: int, end: int, k: int, floor: float, groups) -> Iterator[tuple[np.ndarray, ...]]:
    """As `_exact` for rows that all lie after `end`, with candidates from an index over [start, end) and their exact cosines."""
    with tempfile.TemporaryDirectory(prefix="engraph-nearest-") as work:
        folder = Path(work) / "index"
        ann.build(vectors[start:end], folder)
        index = ann.open(folder, verify="none")
        for a in range(0, len(rows), 4 * BLOCK):
            at = np.arange(a, min(a + 4 * BLOCK, len(rows)))
            queries = np.ascontiguousarray(vectors[rows[at]], np.float32)
            found, _ = index.search(queries, SPARE * k, recall_target=RECALL, threads=usable_cores())
            there = found >= 0
            found = np.where(there, found + start, 0)
            cosines = np.empty(found.shape, np.float32)
            for i, line in enumerate(found):
                cosines[i] = vectors[line] @ queries[i]
            cosines = np.round(cosines, 6)
            there &= cosines >= floor
            if groups is not None:
                there &= groups[found] != groups[rows[at], None]
            yield at, *_best(np.where(there, found, -1), np.where(there, cosines, -np.inf).astype(np.float32), k)

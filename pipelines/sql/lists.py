"""Lists for `ann_search`: k-means centres of a sample, every vector in the list of its nearest centre (an inverted file, IVF).

Unlike the indexes of `pipelines.ann` the lists hold whole vectors, once each: DuckDB has no codes and no replicas, but skips what
it need not read. How many lists a question looks into is measured on the vectors themselves: a sample of them, each asking for
its ten nearest others. Training costs at most 655,360 * nlist * dim multiply-adds, assignment n * nlist * dim (with `MOST_LISTS`
linear from 1.05 M vectors on), measuring 200 * n * dim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipelines.ann.exact import scan_blocks
from pipelines.ann.kmeans import ROUNDS, choose_backend

FLAT_ROWS = 5_000  # below this one list is scanned whole in a few milliseconds
LIST_ROWS, MOST_LISTS = 150, 4_096  # more would make a night's file dearer than all else of the night
TRAIN_ROWS, MOST_TRAIN_ROWS = 32, 65_536  # a list, and in all, for k-means
BLOCK = 65_536
PROBES, NEAREST, TARGET = 200, 10, 0.99  # codes are cheap to compare, so the lists may cost little of the recall

Rows = Callable[[np.ndarray], np.ndarray]
"""Vectors f32 [m, dim] of m row numbers, ascending."""


@dataclass(frozen=True)
class Lists:
    """`centres` [nlist, dim], the `mean` of all vectors, the list of each vector, and how many lists to look into."""

    centres: np.ndarray
    mean: np.ndarray
    of: np.ndarray
    nprobe: int


def make_lists(n: int, dim: int, rows: Rows) -> Lists:
    """Lists of n vectors."""
    if n < FLAT_ROWS:
        mean = rows(np.arange(n)).mean(axis=0) if n else np.zeros(max(dim, 1), np.float32)
        return Lists(mean[None][: min(n, 1)], mean, np.zeros(n, np.int32), 1)
    nlist = number_of_lists(n)
    sample = rows(np.linspace(0, n - 1, min(n, TRAIN_ROWS * nlist, MOST_TRAIN_ROWS)).astype(np.int64))
    backend = choose_backend((ROUNDS * len(sample) + n) * nlist * dim)
    trained = backend.train(sample, nlist, 0)
    searcher = backend.searcher(trained)
    of = np.empty(n, np.int32)
    for start in range(0, n, BLOCK):
        block = np.arange(start, min(start + BLOCK, n))
        of[block] = searcher.search(np.ascontiguousarray(rows(block)), 1)[1][:, 0]
    centres = trained.reconstruct_n(0, nlist)
    return Lists(centres, sample.mean(axis=0), of, _nprobe(centres, of, rows))


def number_of_lists(n: int) -> int:
    """Lists of n vectors, 1 below `FLAT_ROWS`."""
    return 1 if n < FLAT_ROWS else min(n // LIST_ROWS, int(4 * n**0.5), MOST_LISTS)


def _nprobe(centres: np.ndarray, of: np.ndarray, rows: Rows) -> int:
    """The fewest lists that hold TARGET of the NEAREST others of sampled vectors."""
    asked = np.linspace(0, len(of) - 1, PROBES).astype(np.int64)
    queries = rows(asked)
    n = len(of)
    blocks = (
        (start, np.ascontiguousarray(rows(np.arange(start, min(start + BLOCK, n))))) for start in range(0, n, BLOCK)
    )
    ids, _ = scan_blocks(blocks, "ip", queries, NEAREST, asked)
    place = np.argsort(np.argsort(-(queries @ centres.T), axis=1, kind="stable"), axis=1)  # of each list, 0 the nearest
    needed = np.take_along_axis(place, of[ids], 1)
    return int(np.quantile(needed, TARGET, method="higher")) + 1


def code_words(dim: int) -> int:
    """64-bit words of the signs of `dim` components."""
    return -(-dim // 64)


def sign_codes(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """uint64 [n, code_words(dim)]: whether each component is above its mean, the first one in the highest bit of the first word."""
    words = code_words(vectors.shape[1])
    bits = np.zeros((len(vectors), 64 * words), bool)
    bits[:, : vectors.shape[1]] = vectors > mean
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64)

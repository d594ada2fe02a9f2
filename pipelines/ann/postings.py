"""Inverted lists with closure replicas and 4-bit codes, trained on a sample and written list by list.

k-means centres and a product quantiser (Jegou et al., PAMI 2011) are trained on a sample. Each vector goes to its nearest
list and to the next ones within (1 + eps) of that distance (SPANN's closure), so a query near a border finds it with fewer
probes; `kmeans` decides whether cores or a card compute both. Entries are spilled to one file per range of lists and packed
range by range (`list_file`), so peak memory follows the budget, not n.
"""

# faiss ships incomplete type stubs (no keyword arguments, no views, no downcasts)
# mypy: disable-error-code="attr-defined, call-arg, union-attr, assignment, arg-type"

from __future__ import annotations

from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipelines.ann import coarse
from pipelines.ann.exact import faiss_metric
from pipelines.ann.kmeans import Backend, Centres
from pipelines.ann.list_file import Packer, write_list
from pipelines.ann.params import Plan

PQ_TRAIN_ROWS = 16_384  # 16 codewords in 2 dimensions need no more
PQ_ROUNDS = 15  # faiss's 25 gave no better recall (0.966 and 0.967 at 40 of 400 lists, 40 ranked)


def train(sample: np.ndarray, plan: Plan, metric: str, seed: int, backend: Backend) -> tuple[faiss.IndexIVFPQ, Centres]:
    """The empty coded index and its centres as `backend` searches them, from float32 [s, code_dim], s >= max(nlist, 16).

    Both metrics cluster and assign by l2 and probe by `metric`: an inner-product assignment would pile everything on the
    longest centres. The result does not depend on the number of threads.
    """
    centres = coarse.in_line(backend.train(sample, plan.nlist, seed))
    near = backend.searcher(centres)
    heads = centres if metric == "l2" else faiss.IndexFlatIP(plan.code_dim)
    if metric == "ip":
        heads.add(centres.reconstruct_n(0, plan.nlist))
    coded = faiss.IndexIVFPQ(heads, plan.code_dim, plan.nlist, plan.m, 4, faiss_metric(metric))
    coded.by_residual = plan.residual
    coded.pq.cp.seed, coded.pq.cp.min_points_per_centroid, coded.pq.cp.niter = seed, 1, PQ_ROUNDS
    rows = np.ascontiguousarray(sample[:: max(1, len(sample) // PQ_TRAIN_ROWS)])
    _train_codes(coded, rows, plan, centres, near)
    return coded, near


def _train_codes(
    coded: faiss.IndexIVFPQ, rows: np.ndarray, plan: Plan, centres: faiss.IndexFlatL2, near: Centres
) -> None:
    """Trains the product quantiser on what will be coded: residuals to the assigned centre, or the vectors themselves."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # hundreds of tiny k-means: 1 s alone, 20-60 s when two threads wait for each other
    try:
        if plan.residual:
            _, nearest = near.search(rows, 1)
            rows = rows - centres.reconstruct_n(0, plan.nlist)[nearest[:, 0]]
        coded.pq.train(rows)
    finally:
        faiss.omp_set_num_threads(threads)
    coded.is_trained = True


def closure(centres: Centres, block: np.ndarray, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """(line of `block`, list) of every entry, sorted by line."""
    distances, lists = centres.search(block, plan.replicas)
    distances = np.maximum(distances, 0)  # the BLAS expansion may fall a little below zero
    keep = (distances <= (1 + plan.eps) ** 2 * distances[:, :1]) & (lists >= 0)
    keep[:, 0] = True
    lines, columns = np.nonzero(keep)
    return lines, lists[lines, columns]


def queries_at_once(plan: Plan, limit: int, most: int) -> int:
    """How many queries may be searched together so that their look-up tables, float32 and then 8 bits, stay below `limit` bytes,
    at most `most`."""
    return max(1, min(most, limit // (plan.m * 16 * 5)))


def entry_type(code_bytes: int) -> np.dtype:
    """One code of one row in one list."""
    return np.dtype([("list", np.int32), ("row", np.int64), ("code", np.uint8, (code_bytes,))])


def entries_of(coded: faiss.IndexIVFPQ, vectors: np.ndarray, rows: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """Entries of float32 [e, code_dim], the vectors of `rows` as they are coded in `lists`."""
    entries = np.empty(len(rows), entry_type(coded.pq.code_size))
    codes = np.empty((len(rows), coded.pq.code_size), np.uint8)
    lists = np.ascontiguousarray(lists, np.int64)
    coded.encode_vectors(len(rows), faiss.swig_ptr(vectors), faiss.swig_ptr(lists), faiss.swig_ptr(codes), False)
    entries["list"], entries["row"], entries["code"] = lists, rows, codes
    return entries


def centres_of(lists: Any) -> faiss.IndexFlatL2:
    """The centres of an index as they assign vectors, whatever its metric."""
    by_distance = faiss.IndexFlatL2(lists.d)
    by_distance.add(coarse.centres(lists))
    return by_distance


class Spill:
    """Entries of all blocks, partitioned by range of lists into `ranges` files below `folder`."""

    def __init__(self, folder: Path, plan: Plan, code_bytes: int, ranges: int) -> None:
        self.entry = entry_type(code_bytes)
        self.bounds = np.linspace(0, plan.nlist, ranges + 1).astype(np.int64)
        self.paths = [folder / f"spill-{number:05d}" for number in range(ranges)]
        self.count = 0
        self._stack = ExitStack()
        self._files = [self._stack.enter_context(path.open("wb")) for path in self.paths]

    def add(self, coded: faiss.IndexIVFPQ, vectors: np.ndarray, rows: np.ndarray, lists: np.ndarray) -> None:
        """Codes float32 [e, code_dim] of `rows` in `lists` and appends them."""
        entries = entries_of(coded, vectors, rows, lists)
        owner = np.searchsorted(self.bounds, lists, side="right") - 1
        for number in np.unique(owner):
            entries[owner == number].tofile(self._files[number])
        self.count += len(rows)

    def close(self) -> None:
        self._stack.close()


def plain(lists: Any, heads: faiss.IndexFlat | None = None) -> faiss.IndexIVFPQ:
    """An empty index that encodes as `lists` does, around its centres or those of `heads`; it keeps both alive."""
    heads = heads or coarse.flat(lists)
    coded = faiss.IndexIVFPQ(heads, lists.d, heads.ntotal, lists.pq.M, 4, lists.metric_type)
    coded.pq, coded.by_residual, coded.is_trained = lists.pq, lists.by_residual, True
    coded.referenced_objects = [lists, heads]
    return coded


def write_lists(path: Path, coded: faiss.IndexIVFPQ, spill: Spill) -> np.ndarray:
    """Packs the spilled entries into a list file, a range of lists at a time; returns the sizes of all lists."""
    packer, sizes = Packer(coded), np.zeros(coded.nlist, np.int64)
    with path.open("wb") as file:
        for number, part in enumerate(spill.paths):
            entries = np.fromfile(part, spill.entry)
            part.unlink()
            first, last = int(spill.bounds[number]), int(spill.bounds[number + 1])
            order = np.argsort(entries["list"], kind="stable")
            edges = np.searchsorted(entries["list"][order], np.arange(first, last + 1))
            sizes[first:last] = np.diff(edges)
            for low, high in pairwise(edges.tolist()):
                own = entries[order[low:high]]
                write_list(file, packer.pack(own["code"]), own["row"])
    return sizes

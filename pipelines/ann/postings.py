"""Inverted lists with closure replicas and 4-bit codes, trained on a sample and written list by list.

k-means centres and a product quantiser (Jegou et al., PAMI 2011) are trained on a sample. Each vector goes to its nearest
list and to the next ones within (1 + eps) of that distance (SPANN's closure), so a query near a border finds it with fewer
probes; `kmeans` decides whether cores or a card compute both. Entries are spilled to one file per range of lists and packed
range by range into the file faiss itself would write, so peak memory follows the budget, not n. The one thing to know:
`ntotal` in the file counts rows, not entries, because faiss's refine stage wants the lists and the vectors to agree.
"""

# faiss ships incomplete type stubs (no keyword arguments, no views, no downcasts)
# mypy: disable-error-code="attr-defined, call-arg, union-attr, assignment, arg-type"

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipelines.ann.exact import faiss_metric
from pipelines.ann.kmeans import Backend, Centres
from pipelines.ann.params import Plan

BLOCK = 32  # codes a fast-scan block: one SIMD register of look-ups
PQ_TRAIN_ROWS = 16_384  # 16 codewords in 2 dimensions need no more


def train(sample: np.ndarray, plan: Plan, metric: str, seed: int, backend: Backend) -> tuple[faiss.IndexIVFPQ, Centres]:
    """The empty coded index and its centres as `backend` searches them, from float32 [s, code_dim], s >= max(nlist, 16).

    Both metrics cluster and assign by l2 and probe by `metric`: an inner-product assignment would pile everything on the
    longest centres. The result does not depend on the number of threads.
    """
    centres = backend.train(sample, plan.nlist, seed)
    near = backend.searcher(centres)
    heads = centres if metric == "l2" else faiss.IndexFlatIP(plan.code_dim)
    if metric == "ip":
        heads.add(centres.reconstruct_n(0, plan.nlist))
    coded = faiss.IndexIVFPQ(heads, plan.code_dim, plan.nlist, plan.m, 4, faiss_metric(metric))
    coded.by_residual = plan.residual
    coded.pq.cp.seed, coded.pq.cp.min_points_per_centroid = seed, 1
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


def queries_at_once(plan: Plan, metric: str, nprobe: int, limit: int, most: int) -> int:
    """How many queries may be searched together so that their look-up tables stay below `limit` bytes, at most `most`.

    An l2 scan of residual codes makes one table for each probed list, float32 and then 8 bits: 335 MB for 128 queries x 1024
    lists x 32 codes. An inner product needs one table a query.
    """
    tables = nprobe if metric == "l2" and plan.residual else 1
    return max(1, min(most, limit // (tables * plan.m * 16 * 5)))


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
    centres = faiss.IndexFlatL2(lists.d)
    centres.add(faiss.downcast_index(lists.quantizer).reconstruct_n(0, lists.nlist))
    return centres


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


def header(coded: faiss.IndexIVFPQ, rows: int) -> bytes:
    """What faiss writes before the first list of a fast-scan index of `rows` vectors."""
    lists = coded.nlist
    empty = faiss.serialize_index(faiss.IndexIVFPQFastScan(coded, BLOCK)).tobytes()
    tail = 4 + 4 * 8 + lists * 16  # "ilbl", four sizes, and per list two empty vectors: their lengths
    head = bytearray(empty[: len(empty) - tail + 36])
    if head[-36:-32] != b"ilbl":
        raise RuntimeError(
            f"faiss {faiss.__version__} lays out block inverted lists differently: pin the tested version"
        )
    head[8:16] = rows.to_bytes(8, "little")
    return bytes(head)


def write_lists(path: Path, coded: faiss.IndexIVFPQ, spill: Spill, rows: int) -> None:
    """Packs the spilled entries into a fast-scan index file of `rows` vectors, a range of lists at a time."""
    with path.open("wb") as file:
        file.write(header(coded, rows))
        for number, part in enumerate(spill.paths):
            entries = np.fromfile(part, spill.entry)
            part.unlink()
            _pack(file, coded, entries, int(spill.bounds[number]), int(spill.bounds[number + 1]))


def append_lists(path: Path, lists: Any, entries: np.ndarray, rows: int) -> None:
    """Writes `lists` with `entries` (a Spill's dtype) behind what each holds, as an index file of `rows` vectors.

    Full blocks are copied as they lie; only the last block of a list that grows is unpacked and packed again.
    """
    inverted = faiss.downcast_InvertedLists(lists.invlists)
    entries = entries[np.argsort(entries["list"], kind="stable")]
    edges = np.searchsorted(entries["list"], np.arange(lists.nlist + 1))
    with path.open("wb") as file:
        file.write(header(plain(lists), rows))
        for number in range(lists.nlist):
            more = entries[edges[number] : edges[number + 1]]
            _write_grown(file, inverted, number, more)


def plain(lists: Any, heads: faiss.IndexFlat | None = None) -> faiss.IndexIVFPQ:
    """An empty index that encodes as `lists` does, around its centres or those of `heads`; it keeps both alive."""
    heads = heads or faiss.downcast_index(lists.quantizer)
    coded = faiss.IndexIVFPQ(heads, lists.d, heads.ntotal, lists.pq.M, 4, lists.metric_type)
    coded.pq, coded.by_residual, coded.is_trained = lists.pq, lists.by_residual, True
    coded.referenced_objects = [lists, heads]
    return coded


def rows_by_list(lists: Any) -> list[np.ndarray]:
    """The rows of every list, copied."""
    inverted = lists.invlists
    sizes = [inverted.list_size(number) for number in range(lists.nlist)]
    return [
        faiss.rev_swig_ptr(inverted.get_ids(number), size).copy() if size else np.empty(0, np.int64)
        for number, size in enumerate(sizes)
    ]


def _write_grown(file, inverted: Any, number: int, more: np.ndarray) -> None:
    size = inverted.list_size(number)
    ids = faiss.rev_swig_ptr(inverted.get_ids(number), size) if size else np.empty(0, np.int64)
    whole = size // BLOCK * BLOCK if len(more) else size
    stored = -(-size // BLOCK) * inverted.block_size
    codes = faiss.rev_swig_ptr(inverted.get_codes(number), stored) if size else np.empty(0, np.uint8)
    kept = codes[: -(-whole // BLOCK) * inverted.block_size]
    tail = _unpacked(inverted, codes[len(kept) :], size - whole)
    added = _packed(inverted, np.concatenate([tail, more["code"]])) if len(more) else b""
    file.write((size + len(more)).to_bytes(8, "little"))
    file.write(ids.tobytes())
    file.write(np.ascontiguousarray(more["row"]).tobytes())
    file.write((len(kept) + len(added)).to_bytes(8, "little"))
    file.write(kept.tobytes())
    file.write(added)


def _unpacked(inverted: Any, block: np.ndarray, count: int) -> np.ndarray:
    """uint8 [count, code_size] of one block's first codes."""
    flat = np.zeros((BLOCK, inverted.packer.code_size), np.uint8)
    if count:
        block = np.ascontiguousarray(block)
        inverted.packer.unpack_all(faiss.swig_ptr(block), faiss.swig_ptr(flat))
    return flat[:count]


def _packed(inverted: Any, codes: np.ndarray) -> bytes:
    blocks = -(-len(codes) // BLOCK)
    padded = np.zeros((blocks * BLOCK, codes.shape[1]), np.uint8)
    padded[: len(codes)] = codes
    out = np.zeros((blocks, inverted.block_size), np.uint8)
    for number in range(blocks):
        part = padded[number * BLOCK : (number + 1) * BLOCK]
        inverted.packer.pack_all(faiss.swig_ptr(part), faiss.swig_ptr(out[number]))
    return out.tobytes()


def _pack(file, coded: faiss.IndexIVFPQ, entries: np.ndarray, first: int, last: int) -> None:
    """Appends lists first..last-1: ids and 32-code blocks, each preceded by its length, as faiss writes them."""
    plain = faiss.clone_index(coded)
    order = np.argsort(entries["list"], kind="stable")
    edges = np.searchsorted(entries["list"][order], np.arange(first, last + 1))
    for number in range(first, last):
        part = entries[order[edges[number - first] : edges[number - first + 1]]]
        ids, codes = np.ascontiguousarray(part["row"]), np.ascontiguousarray(part["code"])
        if len(ids):
            plain.invlists.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(codes))
    plain.ntotal = len(entries)
    fast = faiss.IndexIVFPQFastScan(plain, BLOCK)  # owns its lists: it must stay alive
    packed = fast.invlists
    block_bytes = faiss.downcast_InvertedLists(packed).block_size
    for number in range(first, last):
        size = packed.list_size(number)
        blocks = -(-size // BLOCK) * block_bytes
        file.write(size.to_bytes(8, "little"))
        if size:
            file.write(faiss.rev_swig_ptr(packed.get_ids(number), size).tobytes())
        file.write(blocks.to_bytes(8, "little"))
        if size:
            file.write(faiss.rev_swig_ptr(packed.get_codes(number), blocks).tobytes())

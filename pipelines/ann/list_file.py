"""Inverted lists in a file that faiss searches where it lies: one after another, codes in blocks of 32, then row numbers.

faiss's own fast-scan lists are read into memory even under IO_FLAG_MMAP_IFC (1.15.1), so the file is laid out here and mapped
by `OnDiskInvertedLists`, which only needs (size, capacity, offset) of each list and is never asked to prefetch: warm it is as
fast as lists in memory (65 us a query at nprobe 40 in batches, either way). A capacity is a whole number of blocks, so every
part begins on a multiple of 256 bytes. `head` beside it is the empty index: centres, codewords, metric.

The one thing to know: entries of a padded block beyond `size` hold row -1 and are never looked at.
"""

# faiss ships incomplete type stubs (no keyword arguments, no views, no downcasts)
# mypy: disable-error-code="attr-defined, call-arg, union-attr, assignment, arg-type"

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipelines.ann import coarse

BLOCK = 32  # codes a fast-scan block: one SIMD register of look-ups
ID = 8


class ListFile:
    """The lists of one file, mapped. `sizes` int64 [nlist]; `starts` and `lengths` in bytes."""

    def __init__(self, path: Path, sizes: np.ndarray, code_size: int) -> None:
        self.path, self.sizes, self.code_size = path, np.asarray(sizes, np.int64), code_size
        self.capacities = -(-self.sizes // BLOCK) * BLOCK
        self.lengths = self.capacities * (code_size + ID)
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.bytes = int(self.lengths.sum())
        self._raw = np.memmap(path, np.uint8, "r", shape=(self.bytes,)) if self.bytes else np.empty(0, np.uint8)

    def rows(self, number: int) -> np.ndarray:
        """int64 rows of a list."""
        start = int(self.starts[number] + self.capacities[number] * self.code_size)
        return self._raw[start : start + int(self.sizes[number]) * ID].view(np.int64)

    def blocks(self, number: int) -> np.ndarray:
        """uint8 of a list's packed codes."""
        start = int(self.starts[number])
        return self._raw[start : start + int(self.capacities[number]) * self.code_size]

    def inverted(self) -> faiss.OnDiskInvertedLists:
        """The lists as faiss searches them."""
        lists = faiss.OnDiskInvertedLists()
        lists.nlist, lists.code_size = len(self.sizes), self.code_size
        places = np.stack([self.sizes, self.capacities, self.starts], axis=1).astype(np.uint64)
        vector = faiss.OnDiskOneListVector()
        vector.resize(len(places))
        faiss.memcpy(vector.data(), faiss.swig_ptr(places), places.nbytes)
        lists.lists = vector
        lists.filename, lists.totsize = str(self.path), self.bytes
        lists.read_only, lists.prefetch_nthread = True, 0
        lists.do_mmap()
        return lists


class Packer:
    """Turns codes [b, code_size] as faiss encodes them into packed blocks, and back."""

    def __init__(self, coded: faiss.IndexIVFPQ) -> None:
        self._owner = faiss.IndexIVFPQFastScan(coded, BLOCK)
        inverted = faiss.downcast_InvertedLists(self._owner.invlists)
        self._packer, self.block_size = inverted.packer, inverted.block_size
        self.code_size = int(coded.pq.code_size)

    def pack(self, codes: np.ndarray) -> np.ndarray:
        """uint8 [blocks, block_size]."""
        count = -(-len(codes) // BLOCK)
        padded = np.zeros((count * BLOCK, self.code_size), np.uint8)
        padded[: len(codes)] = codes
        out = np.zeros((count, self.block_size), np.uint8)
        for number in range(count):
            part = padded[number * BLOCK : (number + 1) * BLOCK]
            self._packer.pack_all(faiss.swig_ptr(part), faiss.swig_ptr(out[number]))
        return out

    def unpack(self, block: np.ndarray, count: int) -> np.ndarray:
        """uint8 [count, code_size] of the first codes of one block."""
        flat = np.zeros((BLOCK, self.code_size), np.uint8)
        if count:
            block = np.ascontiguousarray(block)
            self._packer.unpack_all(faiss.swig_ptr(block), faiss.swig_ptr(flat))
        return flat[:count]


def write_head(path: Path, coded: faiss.IndexIVFPQ) -> None:
    """The empty index that searches lists of `coded`'s entries; its centres by groups where they are many."""
    index = faiss.IndexIVFPQFastScan(coded, BLOCK)
    heads = coarse.grouped(faiss.downcast_index(coded.quantizer))
    index.quantizer, index.own_fields = heads, False
    faiss.write_index(index, str(path))


def write_list(file: Any, blocks: np.ndarray, rows: np.ndarray) -> None:
    """Appends one list: packed `blocks`, then int64 `rows` up to the capacity."""
    padded = np.full(-(-len(rows) // BLOCK) * BLOCK, -1, np.int64)
    padded[: len(rows)] = rows
    file.write(blocks.tobytes())
    file.write(padded.tobytes())


def append(path: Path, lists: ListFile, packer: Packer, entries: np.ndarray) -> np.ndarray:
    """Writes `lists` with `entries` (list, row, code) behind what each holds; returns the new sizes.

    Full blocks are copied as they lie; only the last block of a list that grows is unpacked and packed again.
    """
    entries = entries[np.argsort(entries["list"], kind="stable")]
    edges = np.searchsorted(entries["list"], np.arange(len(lists.sizes) + 1))
    with path.open("wb") as file:
        for number, size in enumerate(lists.sizes.tolist()):
            more, blocks = entries[edges[number] : edges[number + 1]], lists.blocks(number)
            if len(more):
                whole = size // BLOCK * BLOCK
                tail = packer.unpack(blocks[whole * packer.code_size :], size - whole)
                grown = packer.pack(np.concatenate([tail, more["code"]]))
                blocks = np.concatenate([blocks[: whole * packer.code_size], grown.ravel()])
            write_list(file, blocks, np.concatenate([lists.rows(number), more["row"]]))
    return lists.sizes + np.diff(edges)

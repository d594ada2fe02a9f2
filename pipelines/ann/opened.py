"""The files of one generation of an index, mapped: what a search reads and an update starts from.

Vectors, lists, keys stay in their files and the page cache decides what is in memory; only the centres, the codewords, the
projection and one bit for each row (where some are deleted) are copied. The one thing to know: a mapping outlives the removal
of its file, so an index that is open keeps its generation while others compact it.
"""

# faiss ships incomplete type stubs (no keyword arguments, no views, no downcasts)
# mypy: disable-error-code="attr-defined, call-arg, union-attr, assignment, arg-type"

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipelines.ann import layout
from pipelines.ann.params import Plan
from schemas.errors import StoreError


class Opened:
    """One generation. `vectors` [n, dim], `keys`, `order` [n] or None, `dead` rows ascending, `lists` and `matrix` or None."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.n, self.dim, self.metric = manifest["n"], manifest["dim"], manifest["metric"]
        self.plan = Plan(**manifest["plan"])
        self.vectors = self._raw("vectors", self.plan.dtype)
        self.keys, self.order = self._array("keys"), self._array("order")
        dead = self._array("dead")
        self.dead = np.empty(0, np.int64) if dead is None else dead
        self.lists = _read_lists(self.path("lists"), manifest) if "lists" in manifest["files"] else None
        self.matrix = self._array("rotation")

    def path(self, role: str) -> Path:
        return self.folder / self.manifest["files"][role]["name"]

    def live(self) -> np.ndarray:
        """bool [n]: rows that were not deleted."""
        alive = np.ones(self.n, np.bool_)
        alive[self.dead] = False
        return alive

    def keys_of(self, rows: np.ndarray) -> np.ndarray:
        """int64 keys of `rows`, -1 for row -1."""
        if self.keys is None:
            return rows
        return np.where(rows < 0, -1, self.keys[rows] if self.n else -1)

    def rows_of(self, keys: np.ndarray) -> np.ndarray:
        """Live rows of int64 `keys`, ascending; keys that are not there have none."""
        keys = np.unique(keys)
        if self.keys is None or self.order is None:
            rows = keys[(keys >= 0) & (keys < self.n)]
        else:
            # a key that was deleted and inserted again has several rows, one of them alive
            low = np.searchsorted(self.keys, keys, "left", sorter=self.order)
            high = np.searchsorted(self.keys, keys, "right", sorter=self.order)
            rows = np.sort(self.order[_spread(low, high)])
        return rows[~np.isin(rows, self.dead)] if len(self.dead) else rows

    def _raw(self, role: str, dtype: str) -> np.ndarray:
        path = self.path(role)
        wanted = self.n * self.dim * np.dtype(dtype).itemsize
        if wanted != self.manifest["files"][role]["bytes"]:
            raise StoreError(f"{path} does not hold {self.n} vectors of {self.dim} dimensions; {layout.REBUILD}")
        if not self.n:
            return np.empty((0, self.dim), dtype)
        return np.asarray(np.memmap(path, dtype, "r", shape=(self.n, self.dim)))  # memmap's own indexing is slow

    def _array(self, role: str) -> np.ndarray | None:
        if role not in self.manifest["files"]:
            return None
        path = self.path(role)
        try:
            return np.asarray(np.load(path, mmap_mode="r" if self.n else None))
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read ({error}); {layout.REBUILD}") from error


def _spread(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """All numbers of the ranges [low_i, high_i), one after another."""
    lengths = high - low
    starts = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) - np.repeat(starts - low, lengths)


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

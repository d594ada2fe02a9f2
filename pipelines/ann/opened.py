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
from pipelines.ann.list_file import ListFile
from pipelines.ann.params import Plan
from pipelines.ranges import numbers_in
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
        self.lists, self.list_file = None, None
        if "lists" in manifest["files"]:
            self.lists, self.list_file = open_lists({role: self.path(role) for role in manifest["files"]}, self.n)
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
            rows = np.sort(self.order[numbers_in(low, high)])
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


def open_lists(paths: dict[str, Path], n: int) -> tuple[Any, ListFile]:
    """The index over the mapped lists of `n` rows, and its file, from paths by role. Raises StoreError if they do not fit."""
    try:
        index, sizes = faiss.read_index(str(paths["head"])), np.load(paths["sizes"])
        lists = ListFile(paths["lists"], sizes, int(index.code_size))
    except (RuntimeError, OSError, ValueError) as error:  # RuntimeError is faiss's only exception
        told = str(error).splitlines()[0]
        raise StoreError(f"{paths['head']} and its lists cannot be read ({told}); {layout.REBUILD}") from error
    if len(sizes) != index.nlist or lists.bytes != paths["lists"].stat().st_size:
        raise StoreError(f"{paths['lists']} belongs to another index than {paths['head']}; {layout.REBUILD}")
    inverted = lists.inverted()
    index.replace_invlists(inverted, False)
    index.referenced_objects = [inverted]
    index.ntotal = n  # rows, not entries: the rerank wants lists and vectors to agree
    return index, lists

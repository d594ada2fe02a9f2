"""Inserts and deletes: a night's vectors join the lists they belong to, deleted rows fall out of every answer at once.

An insert appends vectors to their file, assigns and codes them with the centres and codewords that are there (SPFresh's
foreground path, Xu et al., SOSP 2023), and writes lists and keys anew: a copy of codes, a tenth to a sixth of the bytes of the
vectors, 0.1 s at 100,000 x 384. One file of lists is what keeps a query at one scan, however many nights there were. A delete
writes the numbers of all dead rows. Both are done when the manifest is swapped; before that nothing has happened, after it
all. The one thing to know: centres stay where they were trained, so lists grow uneven until `compact`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.ann import layout, list_file, postings
from pipelines.ann.build import Coder, checked_keys, stored, write_keys
from pipelines.ann.kmeans import FaissOnCpu
from pipelines.ann.opened import Opened
from pipelines.ann.source import VectorSource
from schemas.errors import UsageError

BLOCK_ROWS = 4096


def insert(opened: Opened, vectors: np.ndarray | str | Path, ids: np.ndarray | None) -> dict[str, Any] | None:
    """Writes the files of the next generation; returns its manifest, None if there is nothing to add."""
    source = VectorSource(vectors)
    if source.dim != opened.dim:
        raise UsageError(f"index has dim {opened.dim}, vectors have {source.dim}: encode them with the index's encoder")
    keys = _all_keys(opened, checked_keys(ids, source.n), source.n)
    if source.n == 0:
        return None
    generation = opened.manifest["generation"] + 1
    n = opened.n + source.n
    files = {**opened.manifest["files"]}
    entries = _append(opened, source)
    if opened.list_file is not None:
        paths = {role: opened.folder / layout.file_name(role, generation) for role in ("lists", "sizes")}
        packer = list_file.Packer(postings.plain(opened.lists))
        np.save(paths["sizes"], list_file.append(paths["lists"], opened.list_file, packer, entries))
        files |= {role: layout.describe(place) for role, place in paths.items()}
    for role, path in write_keys(opened.folder, keys, generation).items():
        files[role] = layout.describe(path)
    files["vectors"] = layout.describe(opened.path("vectors"), files["vectors"])
    return {
        **opened.manifest,
        "generation": generation,
        "files": files,
        "n": n,
        "live": n - len(opened.dead),
        "entries": opened.manifest["entries"] + len(entries) if opened.lists is not None else n,
    }


def delete(opened: Opened, ids: np.ndarray) -> dict[str, Any] | None:
    """As `insert`, for keys that go; keys that are not there are ignored."""
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise UsageError(f"ids are {ids.dtype} of {ids.ndim} dimensions: give int64 keys")
    rows = opened.rows_of(ids.astype(np.int64))
    if len(rows) == 0:
        return None
    dead = np.union1d(opened.dead, rows)
    generation = opened.manifest["generation"] + 1
    path = opened.folder / layout.file_name("dead", generation)
    np.save(path, dead)
    files = {**opened.manifest["files"], "dead": layout.describe(path)}
    return {**opened.manifest, "generation": generation, "files": files, "live": opened.n - len(dead)}


def coder_of(opened: Opened) -> Coder:
    """What coded the lists of an index, for more vectors."""
    coded = postings.plain(opened.lists)
    return Coder(np.asarray(opened.matrix), coded, FaissOnCpu().searcher(postings.centres_of(opened.lists)))


def _append(opened: Opened, source: VectorSource) -> np.ndarray:
    """Vectors behind those that count; returns their entries (none where the index is flat)."""
    coder = coder_of(opened) if opened.lists is not None else None
    entries = []
    with opened.path("vectors").open("r+b") as file:
        file.seek(opened.manifest["files"]["vectors"]["bytes"])
        file.truncate()  # what a killed insert left
        for start, block in source.blocks(BLOCK_ROWS):
            stored(block, start, opened.plan.dtype).tofile(file)
            if coder is not None:
                rows, lists, coded = coder.place(block, opened.plan)
                entries.append(postings.entries_of(coder.coded, coded, rows + start + opened.n, lists))
    return np.concatenate(entries) if entries else np.empty(0)


def _all_keys(opened: Opened, ids: np.ndarray | None, more: int) -> np.ndarray | None:
    """Keys of all rows once `more` are added; None while they are row numbers. Raises UsageError for a key that lives."""
    if opened.keys is None:
        if ids is None or np.array_equal(ids, np.arange(opened.n, opened.n + more)):
            return None
        before = np.arange(opened.n)
    else:
        before = np.asarray(opened.keys)
        first = int(before.max(initial=-1)) + 1
        ids = np.arange(first, first + more) if ids is None else ids
    taken = opened.keys_of(opened.rows_of(ids))
    if len(taken):
        raise UsageError(f"id {taken[0]} is in the index already: delete it first, or give another")
    return np.concatenate([before, ids])

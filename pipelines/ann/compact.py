"""Compaction: what updates have bent is straightened, what was deleted is purged.

After SPFresh's rules (Xu et al., SOSP 2023): a list that has outgrown SPLIT times the mean is split by k-means over its own
vectors, one that has shrunk below the MERGE-th part gives up its centre, and then vectors are reassigned. SPFresh reassigns
only vectors near a change, because it works beside queries; here all live vectors are assigned and coded again in one
sequential pass under a memory budget (a build without its training, about half its time), so the result is what a build with
these centres would be. Codewords and projection stay. Where the number of live vectors asks for another kind of index, or for
twice or half the lists, it is built anew. The one thing to know: rows are renumbered, keys are not.
"""

# faiss ships incomplete type stubs (no keyword arguments, no views, no downcasts)
# mypy: disable-error-code="attr-defined, call-arg, union-attr, assignment, arg-type"

from __future__ import annotations

import dataclasses
from typing import Any

import faiss
import numpy as np

from pipelines.ann import kmeans, postings, projection
from pipelines.ann.build import Coder, Recipe, recipe_for, write_coded, write_files
from pipelines.ann.opened import Opened
from pipelines.ann.params import AnnParams
from pipelines.ann.source import VectorSource

SPLIT = 3.0  # fresh k-means lists of text reach about three times their mean
MERGE = 8.0
MOST_PARTS = 16  # a list is split into at most so many


def compact(opened: Opened, memory_budget: int | None) -> dict[str, Any]:
    """Writes the files of the next generation; returns its manifest."""
    rows = np.flatnonzero(opened.live())
    source = VectorSource(opened.vectors, rows)
    params = AnnParams(**opened.manifest["params"])
    recipe = recipe_for(source, params, memory_budget, None)
    generation = opened.manifest["generation"] + 1
    # keys that were row numbers must be written down once rows move
    keys = None if opened.keys is None and len(rows) == opened.n else opened.keys_of(rows)
    if _needs_rebuild(opened, recipe):
        told = write_files(source, keys, opened.folder, recipe, generation)
    else:
        centres = straightened(opened, params.seed)
        plan = dataclasses.replace(opened.plan, nlist=len(centres), replicas=min(opened.plan.replicas, len(centres)))
        recipe = dataclasses.replace(recipe, plan=plan)
        told = write_coded(source, keys, opened.folder, recipe, generation, _coder(opened, centres, recipe))
    return {**told, "encoder": opened.manifest["encoder"]}


def _needs_rebuild(opened: Opened, recipe: Recipe) -> bool:
    if opened.lists is None or recipe.plan.kind == "flat":
        return True
    return not 0.5 < opened.lists.nlist / recipe.plan.nlist < 2


def straightened(opened: Opened, seed: int) -> np.ndarray:
    """float32 [lists, code_dim]: the centres after splits and merges, in the order of the lists they come from."""
    old = postings.centres_of(opened.lists).reconstruct_n(0, opened.lists.nlist)
    alive = opened.live()
    members = [ids[alive[ids]] for ids in map(opened.list_file.rows, range(opened.lists.nlist))]
    sizes = np.array([len(ids) for ids in members])
    mean = max(1.0, float(sizes.mean()))
    kept: list[np.ndarray] = []
    for centre, ids in zip(old, members, strict=True):
        if len(ids) > SPLIT * mean:
            kept.extend(_split(opened, ids, min(MOST_PARTS, round(len(ids) / mean)), seed))
        elif len(ids) >= mean / MERGE:
            kept.append(centre)
    return np.stack(kept) if kept else old


def _split(opened: Opened, rows: np.ndarray, parts: int, seed: int) -> np.ndarray:
    """The centres [parts, code_dim] of k-means over the vectors of one list."""
    vectors = projection.apply(opened.vectors[np.sort(rows)].astype(np.float32), np.asarray(opened.matrix))
    return kmeans.FaissOnCpu().train(vectors, parts, seed).reconstruct_n(0, parts)


def _coder(opened: Opened, centres: np.ndarray, recipe: Recipe) -> Coder:
    """Old codewords around new centres."""
    heads = faiss.IndexFlat(centres.shape[1], opened.lists.metric_type)
    heads.add(centres)
    coded = postings.plain(opened.lists, heads)
    by_distance = faiss.IndexFlatL2(centres.shape[1])
    by_distance.add(centres)
    return Coder(np.array(opened.matrix), coded, recipe.backend.searcher(by_distance))

"""Build an index folder in a stream: sample and train, then one pass that stores, codes and assigns, then pack and measure.

Cost: three sequential reads of the source (sample, code, truth), about n * nlist * dim multiply-adds for assignment, and
disk for the vectors plus code_dim/4 bytes and a row number for each of about 1.8 entries a vector. Peak memory is the training
sample plus one block plus one range of lists, each held to its share of the budget. The folder appears under its name only
when complete: it is written beside it and renamed. The one thing to know: equal inputs and seed give equal bytes, whatever
the number of threads or the budget, as long as the budget does not shrink the training sample. A card (`kmeans`) gives
lists equal to the CPU's but for vectors on a border.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipelines.ann import kmeans, layout, list_file, postings, projection, recall_curve
from pipelines.ann.opened import open_lists
from pipelines.ann.params import PQ_MIN_ROWS, TRAIN_ROWS_PER_LIST, AnnParams, Plan, plan_for, projected
from pipelines.ann.source import VectorSource
from schemas.errors import UsageError

DEFAULT_BUDGET = 1 << 30
BLOCK_ROWS = 16_384
SCRATCH = 24 << 20  # what faiss and its BLAS take whatever the shape


@dataclass(frozen=True)
class Shares:
    """How a memory budget is spent: rows of the training sample, rows of a block, bytes of spilled entries packed at once."""

    sample_rows: int
    block_rows: int
    range_bytes: int


@dataclass(frozen=True)
class Coder:
    """What turns vectors into entries: `matrix` [dim, code_dim], the trained empty index, its centres where they are searched."""

    matrix: np.ndarray
    coded: faiss.IndexIVFPQ
    near: kmeans.Centres

    def place(self, block: np.ndarray, plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(line of `block`, list, projected vector) of every entry of float32 [b, dim]."""
        coded = projection.apply(block, self.matrix)
        lines, lists = postings.closure(self.near, coded, plan)
        return lines, lists, np.ascontiguousarray(coded[lines])


@dataclass(frozen=True)
class Recipe:
    """All that is decided before the first row is read; `backend` computes k-means and the nearest lists."""

    params: AnnParams
    plan: Plan
    shares: Shares
    backend: kmeans.Backend


def build(
    vectors: np.ndarray | str | Path,
    out: str | Path,
    *,
    ids: np.ndarray | None = None,
    params: AnnParams | None = None,
    memory_budget: int | None = None,
    backend: kmeans.Backend | None = None,
    encoder: str | None = None,
) -> None:
    """Index `vectors` ([n, dim] float array, or path to a `.npy` file) into folder `out`, which must not exist or be empty.

    ids: int64 [n], unique, none -1; row numbers by default. memory_budget: bytes this call may allocate besides its inputs
    (default 1 GiB); what a card needs on the host comes on top. backend: where k-means runs, default what the machine has
    (`kmeans.choose_backend`). encoder: what made the vectors, for `open` to compare. Raises UsageError for inputs that cannot
    be indexed; then nothing is left behind.
    """
    source, out, params = VectorSource(vectors), Path(out), params or AnnParams()
    keys = checked_keys(ids, source.n)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists and is not an empty folder: give a new path, or remove it first")
    recipe = recipe_for(source, params, memory_budget, backend)
    partial = out.parent / f".{out.name}.partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)  # what a killed build of the same process number left
    try:
        partial.mkdir(parents=True)
        layout.write_manifest(partial, {**write_files(source, keys, partial, recipe, 0), "encoder": encoder})
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    layout.sync_folder(out.parent)


def recipe_for(
    source: VectorSource, params: AnnParams, memory_budget: int | None, backend: kmeans.Backend | None
) -> Recipe:
    """What is decided before the first row is read. Raises UsageError where the budget is too small."""
    plan = plan_for(params, source.n, source.dim)
    shares = _shares(memory_budget or DEFAULT_BUDGET, plan, source)
    work = (kmeans.ROUNDS * shares.sample_rows + source.n) * plan.nlist * plan.code_dim
    return Recipe(params, plan, shares, backend or kmeans.choose_backend(work))


def write_files(
    source: VectorSource, keys: np.ndarray | None, folder: Path, recipe: Recipe, generation: int
) -> dict[str, Any]:
    """Writes all files of an index of `source` into `folder`; returns the manifest that names them."""
    if recipe.plan.kind == "flat":
        store_and_code(source, folder / layout.file_name("vectors", generation), recipe)
        files = {"vectors": folder / layout.file_name("vectors", generation)}
        return manifest_for(source, recipe, generation, files | write_keys(folder, keys, generation), None)
    held = recall_curve.held_out_rows(source.n, recipe.params.seed)
    sample = _sample(source, held, recipe.params.seed, recipe.shares)
    coder, plan = _train(sample, recipe)
    del sample
    recipe = dataclasses.replace(recipe, plan=plan)
    return write_coded(source, keys, folder, recipe, generation, coder)


def write_coded(
    source: VectorSource, keys: np.ndarray | None, folder: Path, recipe: Recipe, generation: int, coder: Coder
) -> dict[str, Any]:
    """As `write_files`, with centres and codewords that are already there."""
    names = ("vectors", "lists", "sizes", "head", "rotation")
    files = {role: folder / layout.file_name(role, generation) for role in names}
    spill = _new_spill(folder, recipe.plan, recipe.shares, coder.coded, source.n)
    store_and_code(source, files["vectors"], recipe, coder, spill)
    np.save(files["sizes"], postings.write_lists(files["lists"], coder.coded, spill))
    np.save(files["rotation"], coder.matrix)
    list_file.write_head(files["head"], coder.coded)
    held = recall_curve.held_out_rows(source.n, recipe.params.seed)
    queries = source.take(held, recipe.shares.block_rows)
    true = recall_curve.truth(source, queries, held, recipe.params.metric, recipe.shares.block_rows)
    lists, _ = open_lists(files, source.n)
    coded = projection.apply(queries, coder.matrix)
    points = recall_curve.measure(lists, coded, held, true, recipe.params.metric, recipe.plan, source.dim)
    told = manifest_for(source, recipe, generation, files | write_keys(folder, keys, generation), points)
    return {**told, "entries": spill.count}


def manifest_for(
    source: VectorSource, recipe: Recipe, generation: int, files: dict[str, Path], points: list[dict[str, Any]] | None
) -> dict[str, Any]:
    """The manifest of freshly written `files`, by role."""
    held = 0 if points is None else len(recall_curve.held_out_rows(source.n, recipe.params.seed))
    return {
        "format": layout.FORMAT,
        "version": layout.VERSION,
        "generation": generation,
        "encoder": None,
        "dim": source.dim,
        "n": source.n,
        "live": source.n,
        "entries": source.n,
        "metric": recipe.params.metric,
        "nlist": recipe.plan.nlist,
        "params": dataclasses.asdict(recipe.params),
        "plan": dataclasses.asdict(recipe.plan),
        "files": {role: layout.describe(path) for role, path in files.items()},
        "recall": {"held_out": held, "points": points or []},
        "written_by": {"faiss": faiss.__version__} | _by_card(recipe),
    }


def write_keys(folder: Path, keys: np.ndarray | None, generation: int) -> dict[str, Path]:
    """The files that keep `keys`, by role; none where keys are row numbers."""
    if keys is None:
        return {}
    paths = {role: folder / layout.file_name(role, generation) for role in ("keys", "order")}
    np.save(paths["keys"], keys)
    np.save(paths["order"], np.argsort(keys, kind="stable"))
    return paths


def _by_card(recipe: Recipe) -> dict[str, str]:
    """What the manifest says of k-means; the CPU, whose bytes are the reference, goes unmentioned."""
    name = recipe.backend.name
    return {} if recipe.plan.kind == "flat" or name == kmeans.FaissOnCpu.name else {"kmeans": name}


def _train(sample: np.ndarray, recipe: Recipe) -> tuple[Coder, Plan]:
    """Projection, centres and codewords of float32 `sample` [s, dim], and the plan that follows."""
    params, plan, dim = recipe.params, recipe.plan, sample.shape[1]
    matrix = projection.fit(sample, params.seed) if params.code is None else None
    if matrix is None:
        matrix = projection.padding(dim, plan.code_dim)
    else:
        plan = projected(plan, params.metric, matrix.shape[1])
    sample = projection.apply(sample, matrix)
    coded, near = postings.train(sample, plan, params.metric, params.seed, recipe.backend)
    return Coder(matrix, coded, near), plan


def store_and_code(
    source: VectorSource, path: Path, recipe: Recipe, coder: Coder | None = None, spill: postings.Spill | None = None
) -> None:
    """One pass over the source: vectors to `path` and, where there are `coder` and `spill`, their entries into it."""
    with path.open("wb") as file:
        for start, block in source.blocks(recipe.shares.block_rows):
            stored(block, start, recipe.plan.dtype).tofile(file)
            if spill is not None and coder is not None:
                rows, lists, vectors = coder.place(block, recipe.plan)
                spill.add(coder.coded, vectors, rows + start, lists)
    if spill is not None:
        spill.close()


def stored(block: np.ndarray, start: int, dtype: str) -> np.ndarray:
    """The block as it is kept. Raises UsageError where float16 cannot hold it."""
    with np.errstate(over="ignore"):
        kept = block.astype(dtype)
    if dtype == "float16" and not np.isfinite(kept).all():
        bad = start + int(np.flatnonzero(~np.isfinite(kept).all(axis=1))[0])
        raise UsageError(f"vector {bad} exceeds float16 (65504): use AnnParams(rerank_dtype='f32')")
    return kept


def _new_spill(folder: Path, plan: Plan, shares: Shares, coded: faiss.IndexIVFPQ, n: int) -> postings.Spill:
    size = n * plan.replicas * (12 + coded.pq.code_size)
    ranges = max(1, min(plan.nlist, 512, -(-size // shares.range_bytes)))
    return postings.Spill(folder, plan, coded.pq.code_size, ranges)


def _sample(source: VectorSource, held: np.ndarray, seed: int, shares: Shares) -> np.ndarray:
    """Rows to train on, never those held out as queries: a centre drawn towards them would flatter the recall curve."""
    rows = np.setdiff1d(np.arange(source.n), held, assume_unique=True)
    rows = np.random.default_rng([seed, 0]).choice(rows, min(len(rows), shares.sample_rows), replace=False)
    return source.take(np.sort(rows), shares.block_rows)


def checked_keys(ids: np.ndarray | None, n: int) -> np.ndarray | None:
    if ids is None:
        return None
    keys = np.asarray(ids)
    if keys.shape != (n,) or (n and keys.dtype.kind not in "iu"):
        raise UsageError(f"ids are {keys.dtype} of shape {keys.shape}: give {n} integers, one for each vector")
    keys = keys.astype(np.int64)
    values, counts = np.unique(keys, return_counts=True)
    if (counts > 1).any():
        raise UsageError(f"id {values[counts > 1][0]} is given to more than one vector: ids must be unique")
    if (values == -1).any():
        raise UsageError("id -1 stands for padding in results: use another id")
    return keys


def _shares(budget: int, plan: Plan, source: VectorSource) -> Shares:
    """A third for the sample, a third for a block with its copies, a third for packing. Raises UsageError if too little."""
    budget = max(budget - SCRATCH, budget // 2)
    row = 4 * max(source.dim, plan.code_dim)
    rows_wanted = max(plan.nlist * TRAIN_ROWS_PER_LIST, PQ_MIN_ROWS)
    sample_rows = min(rows_wanted, budget // 3 // row)
    if plan.kind == "ivf" and sample_rows < min(source.n, 2 * plan.nlist):
        need = SCRATCH + 3 * row * 2 * plan.nlist
        raise UsageError(f"memory_budget {budget} is too small to train {plan.nlist} lists: give at least {need} bytes")
    # a block lives as read, as float32, as stored, padded, and once for each replica
    block_rows = min(BLOCK_ROWS, budget // 3 // (row * (4 + plan.replicas)))
    return Shares(sample_rows, max(64, block_rows), max(1 << 20, budget // 3 // 4))

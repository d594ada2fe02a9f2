"""Build an index folder in a stream: sample and train, then one pass that stores, codes and assigns, then pack and measure.

Cost: three sequential reads of the source (sample, code, truth), about n * nlist * dim multiply-adds for assignment, and
disk for the vectors plus dim/4 bytes and a row number for each of about 1.8 entries a vector. Peak memory is the training
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

from pipelines.ann import kmeans, layout, postings, recall_curve
from pipelines.ann.params import PQ_MIN_ROWS, TRAIN_ROWS_PER_LIST, AnnParams, Plan, plan_for
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
) -> None:
    """Index `vectors` ([n, dim] float array, or path to a `.npy` file) into folder `out`, which must not exist or be empty.

    ids: int64 [n], unique, none -1; row numbers by default. memory_budget: bytes this call may allocate besides its inputs
    (default 1 GiB); what a card needs on the host comes on top. backend: where k-means runs, default what the machine has
    (`kmeans.choose_backend`). Raises UsageError for inputs that cannot be indexed; then nothing is left behind.
    """
    source, out, params = VectorSource(vectors), Path(out), params or AnnParams()
    keys = _checked_keys(ids, source.n)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists and is not an empty folder: give a new path, or remove it first")
    plan = plan_for(params, source.n, source.dim, source.dtype)
    shares = _shares(memory_budget or DEFAULT_BUDGET, plan, source)
    work = (kmeans.ROUNDS * shares.sample_rows + source.n) * plan.nlist * plan.code_dim
    recipe = Recipe(params, plan, shares, backend or kmeans.choose_backend(work))
    partial = out.parent / f".{out.name}.partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)  # what a killed build of the same process number left
    try:
        (partial / "base").mkdir(parents=True)
        manifest = _write_segment(source, keys, partial / "base", recipe)
        layout.write_manifest(partial, manifest)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    layout.sync_folder(out.parent)


def _write_segment(source: VectorSource, keys: np.ndarray | None, folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Writes all files of the base segment into `folder`; returns the manifest that names them."""
    params, plan, shares = recipe.params, recipe.plan, recipe.shares
    names, points, held, entries = ["vectors.npy"], [], np.empty(0, np.int64), source.n
    if plan.kind == "flat":
        _store_and_code(source, folder, plan, shares, None)
    else:
        held = recall_curve.held_out_rows(source.n, params.seed)
        sample = postings.pad_columns(_sample(source, held, params.seed, shares), plan.code_dim)
        trained = postings.train(sample, plan, params.metric, params.seed, recipe.backend)
        del sample
        entries = _store_and_code(source, folder, plan, shares, trained)
        del trained
        names.append("lists.faiss")
        points = _measure(source, folder, held, params.metric, plan, shares)
    if keys is not None:
        np.save(folder / "keys.npy", keys)
        np.save(folder / "order.npy", np.argsort(keys, kind="stable"))
        names += ["keys.npy", "order.npy"]
    segment = {"name": folder.name, "kind": plan.kind, "n": source.n, "entries": entries}
    return {
        "format": layout.FORMAT,
        "version": layout.VERSION,
        "dim": source.dim,
        "n": source.n,
        "metric": params.metric,
        "nlist": plan.nlist,
        "params": dataclasses.asdict(params),
        "plan": dataclasses.asdict(plan),
        "segments": [{**segment, "files": layout.describe(folder, names)}],
        "tombstones": [],
        "recall": {"held_out": len(held), "points": points},
        "written_by": {"faiss": faiss.__version__} | _by_card(recipe),
    }


def _by_card(recipe: Recipe) -> dict[str, str]:
    """What the manifest says of k-means; the CPU, whose bytes are the reference, goes unmentioned."""
    name = recipe.backend.name
    return {} if recipe.plan.kind == "flat" or name == kmeans.FaissOnCpu.name else {"kmeans": name}


def _store_and_code(
    source: VectorSource,
    folder: Path,
    plan: Plan,
    shares: Shares,
    trained: tuple[faiss.IndexIVFPQ, kmeans.Centres] | None,
) -> int:
    """One pass over the source: vectors.npy and, where `trained`, lists.faiss. Returns the number of entries."""
    spill = _new_spill(folder, plan, shares, trained[0], source.n) if trained else None
    with (folder / "vectors.npy").open("wb") as file:
        header = {"descr": np.dtype(plan.dtype).str, "fortran_order": False, "shape": (source.n, source.dim)}
        np.lib.format.write_array_header_1_0(file, header)
        for start, block in source.blocks(shares.block_rows):
            _stored(block, start, plan).tofile(file)
            if spill is not None and trained is not None:
                padded = postings.pad_columns(block, plan.code_dim)
                lines, lists = postings.closure(trained[1], padded, plan)
                spill.add(trained[0], np.ascontiguousarray(padded[lines]), lines + start, lists)
    if spill is None or trained is None:
        return source.n
    spill.close()
    postings.write_lists(folder / "lists.faiss", trained[0], spill, source.n)
    return spill.count


def _stored(block: np.ndarray, start: int, plan: Plan) -> np.ndarray:
    """The block as it is kept. Raises UsageError where float16 cannot hold it."""
    with np.errstate(over="ignore"):
        stored = block.astype(plan.dtype)
    if plan.dtype == "float16" and not np.isfinite(stored).all():
        bad = start + int(np.flatnonzero(~np.isfinite(stored).all(axis=1))[0])
        raise UsageError(f"vector {bad} exceeds float16 (65504): use AnnParams(rerank_dtype='float32')")
    return stored


def _new_spill(folder: Path, plan: Plan, shares: Shares, coded: faiss.IndexIVFPQ, n: int) -> postings.Spill:
    size = n * plan.replicas * (12 + coded.pq.code_size)
    ranges = max(1, min(plan.nlist, 512, -(-size // shares.range_bytes)))
    return postings.Spill(folder, plan, coded.pq.code_size, ranges)


def _sample(source: VectorSource, held: np.ndarray, seed: int, shares: Shares) -> np.ndarray:
    """Rows to train on, never those held out as queries: a centre drawn towards them would flatter the recall curve."""
    rows = np.setdiff1d(np.arange(source.n), held, assume_unique=True)
    rows = np.random.default_rng([seed, 0]).choice(rows, min(len(rows), shares.sample_rows), replace=False)
    return source.take(np.sort(rows), shares.block_rows)


def _measure(
    source: VectorSource, folder: Path, held: np.ndarray, metric: str, plan: Plan, shares: Shares
) -> list[dict[str, Any]]:
    queries = source.take(held, shares.block_rows)
    true = recall_curve.truth(source, queries, held, metric, shares.block_rows)
    lists = faiss.read_index(str(folder / "lists.faiss"), faiss.IO_FLAG_MMAP_IFC)
    return recall_curve.measure(lists, queries, held, true, metric, plan)


def _checked_keys(ids: np.ndarray | None, n: int) -> np.ndarray | None:
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

"""One dense index beside faiss's: Engraph, HNSW (M 16) and the exact Flat, over the same vectors and 500 held-out queries.

Each is built in a process of its own (`python -m jobs.benchmarks.ann`), so that its peak memory is its own; the figure includes
the interpreter and its libraries, and mapped pages of the input. HNSW searches with the smallest power of two for efSearch whose
recall@10 reaches Engraph's, so that the two are compared at equal quality; Engraph chooses its own effort.
"""

# faiss ships incomplete type stubs (read_index gives the base class)
# mypy: disable-error-code="attr-defined"

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np

from jobs.benchmarks.surroundings import cores, folder_bytes, peak_mb, run_python
from jobs.run import Progress
from pipelines import ann
from schemas.errors import UsageError

ROWS, DIM, QUERIES, K, M = 50_000, 128, 500, 10, 16
EFS = tuple(2**i for i in range(4, 11))
SIDES = {"engraph": "Engraph ann", "hnsw": "faiss HNSW", "flat": "faiss Flat"}
Search = Callable[[np.ndarray, int], np.ndarray]
"""(queries [b, dim], threads) -> keys [b, K]."""


def clustered(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Unit vectors f32 [n, dim] around n/100 random centres: what embeddings look like more than a ball of noise does."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((max(2, n // 100), dim), dtype=np.float32)
    found = centres[random.integers(0, len(centres), n)] + random.standard_normal((n, dim), dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def measure(
    data: Path | None,
    limit: int | None,
    *,
    dim: int = DIM,
    progress: Progress = lambda stage, done, total: None,
) -> list[dict]:
    """One row an index: build seconds, peak RSS MiB and MB on disk; recall@10, p50 ms (1 thread), queries/s (all cores)."""
    vectors = clustered(limit or ROWS, dim) if data is None else _load(data, limit)
    metric = "ip" if np.allclose(np.linalg.norm(vectors[:1000], axis=1), 1, atol=0.01) else "l2"
    held = np.random.default_rng(0).permutation(len(vectors))[: min(QUERIES, len(vectors) // 10)]
    queries = np.ascontiguousarray(vectors[held])
    with tempfile.TemporaryDirectory(prefix="engraph-bench-") as name:
        folder = Path(name)
        np.save(folder / "base.npy", np.delete(vectors, held, axis=0))
        n, dim = len(vectors) - len(held), vectors.shape[1]
        del vectors
        rows = []
        for done, side in enumerate(SIDES, 1):
            rows.append(_built(side, metric, folder))
            progress("ann build", done, len(SIDES))
        _measure_searches(rows, _searches(metric, folder, queries), queries)
    measured = f"{n:,} vectors of {dim} dimensions, {metric}, {len(queries)} held-out queries, {K} nearest"
    return [row | {"measured": measured} for row in rows]


def _load(data: Path, limit: int | None) -> np.ndarray:
    vectors = np.load(data, mmap_mode="r")
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or len(vectors) < 100:
        raise UsageError(f"{data} holds {vectors.dtype} {vectors.shape}: give floats [n, dim] with n of at least 100")
    return np.ascontiguousarray(vectors[:limit], np.float32)


def _built(side: str, metric: str, folder: Path) -> dict:
    told = json.loads(run_python(["-m", "jobs.benchmarks.ann", side, metric, str(folder)], folder).out)
    made = folder / side
    size = folder_bytes(made) if made.is_dir() else made.stat().st_size
    return {
        "index": SIDES[side],
        "build_s": told["seconds"],
        "build_peak_rss_mb": told["peak_mb"],
        "disk_mb": size / 1e6,
    }


def build(side: str, metric: str, folder: Path) -> None:
    """Index `folder`/base.npy into `folder`/`side`."""
    if side == "engraph":
        ann.build(folder / "base.npy", folder / side, params=ann.AnnParams(metric=metric))
        return
    vectors = np.load(folder / "base.npy")
    kind = faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2
    dim = vectors.shape[1]
    index = faiss.IndexHNSWFlat(dim, M, kind) if side == "hnsw" else faiss.IndexFlat(dim, kind)
    index.add(vectors)
    faiss.write_index(index, str(folder / side))


def _searches(metric: str, folder: Path, queries: np.ndarray) -> dict[str, tuple[str, Search]]:
    """side -> (its parameters in words, its search)."""
    ours = ann.open(folder / "engraph")
    flat, hnsw = faiss.read_index(str(folder / "flat")), faiss.read_index(str(folder / "hnsw"))

    def of_faiss(index: faiss.Index) -> Search:
        def search(batch: np.ndarray, threads: int) -> np.ndarray:
            faiss.omp_set_num_threads(threads)
            return index.search(batch, K)[1]

        return search

    def engraph(batch: np.ndarray, threads: int) -> np.ndarray:
        return ours.search(batch, K, threads=threads)[0]

    truth = of_faiss(flat)(queries, cores())
    wanted = recall_at_k(engraph(queries, cores()), truth)
    for ef in EFS:
        hnsw.hnsw.efSearch = ef
        if recall_at_k(of_faiss(hnsw)(queries, cores()), truth) >= wanted:
            break
    plan = ours.manifest["plan"]
    words = f"{plan['nlist']} lists" if plan["kind"] == "ivf" else "exact scan"
    return {
        "engraph": (words, engraph),
        "hnsw": (f"M {M}, efSearch {ef}", of_faiss(hnsw)),
        "flat": ("exact", of_faiss(flat)),
    }


def recall_at_k(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean share of each line of `truth` [b, k] that is in the same line of `found`."""
    return float(np.mean([np.isin(t, f).mean() for f, t in zip(found, truth, strict=True)]))


def _measure_searches(rows: list[dict], searches: dict[str, tuple[str, Search]], queries: np.ndarray) -> None:
    truth = searches["flat"][1](queries, cores())
    singles: dict[str, list[float]] = {side: [] for side in searches}
    batches: dict[str, list[float]] = {side: [] for side in searches}
    for _ in range(3):
        for side, (_, search) in searches.items():
            singles[side] += [_seconds(search, queries[i : i + 1], 1) for i in range(len(queries))]
        for side, (_, search) in searches.items():
            batches[side].append(_seconds(search, queries, cores()))
    for row, (side, (words, search)) in zip(rows, searches.items(), strict=True):
        row["parameters"] = words
        row["recall@10"] = round(recall_at_k(search(queries, cores()), truth), 4)
        row["p50_ms"] = round(1000 * float(np.median(singles[side])), 4)
        row["queries/s"] = round(len(queries) / min(batches[side]))


def _seconds(search: Search, queries: np.ndarray, threads: int) -> float:
    start = time.perf_counter()
    search(queries, threads)
    return time.perf_counter() - start


def main(side: str, metric: str, folder: str) -> None:
    """Build one index and print its seconds and this process's peak size."""
    start = time.perf_counter()
    build(side, metric, Path(folder))
    seconds, peak = time.perf_counter() - start, peak_mb()
    print(json.dumps({"seconds": round(seconds, 2), "peak_mb": None if peak is None else round(peak)}))


if __name__ == "__main__":
    main(*sys.argv[1:])

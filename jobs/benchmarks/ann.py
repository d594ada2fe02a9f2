"""One dense index beside its peers (`ann_peers`), over the same vectors and 1,000 held-out queries, in one run.

Each index is built, then searched, in processes of its own, so that memory is its own. Every index sweeps its effort, and the
table shows at recall@10 of at least 0.90, 0.95 and 0.99 the highest throughput with all cores and the lowest p50 of single
queries on one thread, so all are compared at equal quality. Searches go round all indexes twice and the better pass counts:
a neighbour on the machine hits one round, not one index. Cold: the page cache dropped for the index's own files.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from jobs.benchmarks.ann_peers import PEERS, K, installed
from jobs.benchmarks.ann_race import recall_at_k
from jobs.benchmarks.surroundings import folder_bytes, run_python
from jobs.run import Progress
from schemas.errors import EngraphError, UsageError

__all__ = ["PEERS", "clustered", "installed", "measure", "plot", "recall_at_k"]

ROWS, DIM, QUERIES, ROUNDS = 50_000, 128, 1000, 2
TARGETS = (0.90, 0.95, 0.99)
CANDIDATES = 3
COLD_SIDES = ("engraph", "usearch", "faiss-on-disk", "diskann")  # those whose data stays on disk


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
    sides: tuple[str, ...] = tuple(PEERS),
    picture: Path | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> list[dict]:
    """One row an index, ours first: build, memory, disk, and what it reaches at each of TARGETS. `picture`: see `plot`."""
    vectors = clustered(limit or ROWS, dim) if data is None else _load(data, limit)
    with tempfile.TemporaryDirectory(prefix="engraph-bench-") as name:
        folder = Path(name)
        metric, measured = prepare(vectors, folder)
        del vectors
        present = [side for side in sides if installed(PEERS[side])]
        built = {}
        for done, side in enumerate(present, 1):
            built[side] = _step("build", side, metric, folder)
            progress("ann build", done, len(present))
        sweeps = sweep([side for side in present if "failed" not in built[side]], metric, folder, progress)
        rows = [_row(side, built.get(side), sweeps.get(side), folder) for side in sides]
    if picture is not None:
        plot({PEERS[side].label: told["points"] for side, told in sweeps.items() if "points" in told}, picture)
    return [row | {"measured": measured} for row in rows]


def prepare(vectors: np.ndarray, folder: Path) -> tuple[str, str]:
    """Writes base, held-out queries and their exact neighbours to `folder`; (metric, what is measured in words)."""
    metric = "ip" if np.allclose(np.linalg.norm(vectors[:1000], axis=1), 1, atol=0.01) else "l2"
    held = np.random.default_rng(0).permutation(len(vectors))[: min(QUERIES, len(vectors) // 10)]
    queries, base = np.ascontiguousarray(vectors[held]), np.delete(vectors, held, axis=0)
    kind = faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2
    np.save(folder / "base.npy", base)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "truth.npy", faiss.knn(queries, base, K, kind)[1])
    words = (
        f"{len(base):,} vectors of {base.shape[1]} dimensions, {metric}, {len(queries)} held-out queries, {K} nearest"
    )
    return metric, words


def sweep(sides: list[str], metric: str, folder: Path, progress: Progress) -> dict[str, dict[str, Any]]:
    """side -> {points, anon_mb, cold}: the better of ROUNDS passes at every effort."""
    told: dict[str, dict[str, Any]] = {}
    for number in range(ROUNDS):
        for done, side in enumerate(sides, 1):
            found = _step("warm", side, metric, folder)
            told[side] = _better(told[side], found) if side in told else found
            progress("ann search", number * len(sides) + done, ROUNDS * len(sides))
    cold = [side for side in sides if side in COLD_SIDES]
    for _ in range(ROUNDS):
        for side in cold:
            found = _step("cold", side, metric, folder, *_cold_efforts(told[side].get("points", [])))
            best = told[side].setdefault("cold", {})
            for point in found.get("points", []):
                effort, ms = json.dumps(point["effort"]), point["cold_p50_ms"]
                best[effort] = min(ms, best.get(effort, ms))
    return told


def _cold_efforts(points: list[dict]) -> list[str]:
    """The CANDIDATES that are fastest warm at each target: reading less may win cold."""
    efforts = {
        json.dumps(p["effort"]): None
        for target in TARGETS
        for p in sorted((p for p in points if p["recall"] >= target), key=lambda p: p["p50_ms"])[:CANDIDATES]
    }
    return list(efforts)


def _better(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    if "points" not in one or "points" not in other:
        return one if "points" in one else other
    points = [
        a | {"qps": max(a["qps"], b["qps"])} | {name: min(a[name], b[name]) for name in ("p50_ms", "p99_ms", "cpu_us")}
        for a, b in zip(one["points"], other["points"], strict=False)
    ]
    return {**one, "points": points}


def _step(step: str, side: str, metric: str, folder: Path, *efforts: str) -> dict[str, Any]:
    """What `ann_race` printed; {"failed": why} where a peer could not."""
    try:
        out = run_python(["-m", "jobs.benchmarks.ann_race", step, side, metric, str(folder), *efforts], folder).out
    except EngraphError as error:
        if side == "engraph":
            raise
        return {"failed": str(error)}
    return json.loads(out.strip().splitlines()[-1])


def _row(side: str, built: dict[str, Any] | None, swept: dict[str, Any] | None, folder: Path) -> dict:
    peer = PEERS[side]
    if built is None:
        told = f"not installed: make bench, or pip install {peer.install}"
        return _cells({"index": peer.label, "note": told}, {}, None, {})
    failed = built.get("failed") or (swept or {}).get("failed")
    row: dict[str, str | None] = {"index": peer.label, "note": f"failed: {failed}" if failed else None}
    return _cells(row, built, folder_bytes(folder / side) / 1e6, swept or {})


def _cells(row: dict, built: dict[str, Any], disk: float | None, swept: dict[str, Any]) -> dict:
    """All columns of a row, None where nothing was measured."""
    row |= {
        "build_s": built.get("seconds"),
        "build_peak_rss_mb": built.get("peak_mb"),
        "disk_mb": disk,
        "anon_mb": swept.get("anon_mb"),
    }
    points = swept.get("points", [])
    for target in TARGETS:
        fast, soon = _at(points, target, "qps"), _at(points, target, "p50_ms")
        row |= {
            f"qps@{target:.2f}": fast and fast["qps"],
            f"cpu_us@{target:.2f}": fast and fast["cpu_us"],
            f"p50_ms@{target:.2f}": soon and soon["p50_ms"],
            f"p99_ms@{target:.2f}": soon and soon["p99_ms"],
            f"cold_p50_ms@{target:.2f}": _coldest(points, target, swept.get("cold", {})),
        }
    row["best_recall"] = max((point["recall"] for point in points), default=None)
    return row | {"note": row.pop("note")}


def _coldest(points: list[dict], target: float, cold: dict[str, float]) -> float | None:
    """The lowest cold p50 of those that reach the target."""
    enough = (json.dumps(point["effort"]) for point in points if point["recall"] >= target)
    return min((cold[effort] for effort in enough if effort in cold), default=None)


def _at(points: list[dict], target: float, by: str) -> dict | None:
    """The best point by `by` among those whose recall reaches the target."""
    enough = [point for point in points if point["recall"] >= target]
    return (max if by == "qps" else min)(enough, key=lambda point: point[by], default=None)


def plot(curves: dict[str, list[dict]], path: Path) -> None:
    """Recall against queries a second, one line an index. Raises UsageError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("the plot needs matplotlib: run make bench, or pip install matplotlib") from error
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for label, points in curves.items():
        best = sorted(points, key=lambda point: point["recall"])
        axes.plot([p["recall"] for p in best], [p["qps"] for p in best], marker=".", label=label)
    axes.set(xlabel=f"recall@{K}", ylabel="queries a second, all cores", yscale="log", xlim=(0.8, 1.0))
    axes.grid(True, alpha=0.3)
    axes.legend()
    figure.savefig(path)


def _load(data: Path, limit: int | None) -> np.ndarray:
    vectors = np.load(data, mmap_mode="r")
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or len(vectors) < 100:
        raise UsageError(f"{data} holds {vectors.dtype} {vectors.shape}: give floats [n, dim] with n of at least 100")
    return np.ascontiguousarray(vectors[:limit], np.float32)

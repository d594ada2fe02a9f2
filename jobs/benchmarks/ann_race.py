"""One index of the race in a process of its own: `python -m jobs.benchmarks.ann_race STEP SIDE METRIC FOLDER [EFFORT...]`.

FOLDER holds base.npy, queries.npy and truth.npy [q, K]; the index lies in FOLDER/SIDE. Prints one JSON document. `build` gives
seconds and peak. `warm` sweeps the peer's efforts: recall@K, p50 and p99 of single queries on one thread, queries a second with
all cores (best of three passes), CPU time a query in a batch on one thread, which a busy machine changes least, and the growth
of memory that cannot be evicted (RssAnon) since before the index was opened. `cold` gives p50 with the page cache dropped for
the index's own files before each query. The one thing to know: a page that is mapped stays through POSIX_FADV_DONTNEED, so
mappings of these files are emptied (MADV_DONTNEED) first.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from jobs.benchmarks.ann_peers import PEERS, Search
from jobs.benchmarks.surroundings import peak_mb
from pipelines.cores import usable_cores

SINGLES, COLD, COLD_S = 500, 100, 2.0
ENOUGH = 0.998  # recall past which more effort tells nothing
MADV_DONTNEED = 4


def build(side: str, metric: str, folder: Path) -> dict[str, Any]:
    (folder / side).mkdir()
    start = time.perf_counter()
    PEERS[side].build(folder / "base.npy", folder / side, metric)
    return {"seconds": round(time.perf_counter() - start, 2), "peak_mb": peak_mb()}


def warm(side: str, metric: str, folder: Path) -> dict[str, Any]:
    peer, queries, truth = PEERS[side], np.load(folder / "queries.npy"), np.load(folder / "truth.npy")
    __import__(peer.module)
    before = anon_mb()
    search = peer.open(folder / side, metric)
    points = []
    for effort in peer.efforts:
        begun = time.perf_counter()
        recall = recall_at_k(search(queries, usable_cores(), effort), truth)
        first = time.perf_counter() - begun
        # a peer at a hundredth of the speed gets fewer passes, not a hundred times the patience
        alone = queries[: max(50, min(SINGLES, int(SINGLES * 0.5 / first)))]
        singles = [_seconds(search, alone[i : i + 1], 1, effort) for i in range(len(alone))]
        batch = min([first, *(_seconds(search, queries, usable_cores(), effort) for _ in range(3 if first < 1 else 0))])
        begun = time.process_time()
        search(alone, 1, effort)
        cpu_us = 1e6 * (time.process_time() - begun) / len(alone)
        p50, p99 = 1000 * np.quantile(singles, [0.5, 0.99])
        point = {"effort": effort, "recall": round(recall, 4), "p50_ms": round(p50, 4), "p99_ms": round(p99, 4)}
        points.append({**point, "qps": round(len(queries) / batch), "cpu_us": round(cpu_us, 1)})
        if recall >= ENOUGH:
            break
    return {"points": points, "anon_mb": None if before is None else round((anon_mb() or 0) - before, 1)}


def cold(side: str, metric: str, folder: Path, efforts: list[Any]) -> dict[str, Any]:
    queries = np.load(folder / "queries.npy")[:COLD]
    search = PEERS[side].open(folder / side, metric)
    files = [path for path in (folder / side).rglob("*") if path.is_file()]
    told = []
    for effort in efforts:
        drop_pages(files)
        first, times = _seconds(search, queries[:1], 1, effort), []
        # as when warm: fewer passes for a peer that is slow
        for i in range(min(len(queries), max(10, int(COLD_S / first)))):
            drop_pages(files)
            times.append(_seconds(search, queries[i : i + 1], 1, effort))
        told.append({"effort": effort, "cold_p50_ms": round(1000 * float(np.median(times)), 3)})
    return {"points": told}


def drop_pages(files: list[Path]) -> None:
    """Evicts the files from the page cache, those parts that this process has mapped too. Linux."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = {str(path) for path in files}
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, name = line.split(maxsplit=5)
        if name in names:
            low, high = (int(edge, 16) for edge in span.split("-"))
            libc.madvise(ctypes.c_void_p(low), ctypes.c_size_t(high - low), MADV_DONTNEED)
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def recall_at_k(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean share of each line of `truth` [b, k] that is in the same line of `found`."""
    return float(np.mean([np.isin(t, f).mean() for f, t in zip(found, truth, strict=True)]))


def anon_mb() -> float | None:
    """MiB of this process that cannot be evicted; None where there is no /proc."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:")), None)


def _seconds(search: Search, queries: np.ndarray, threads: int, effort: Any) -> float:
    start = time.perf_counter()
    search(queries, threads, effort)
    return time.perf_counter() - start


def main(step: str, side: str, metric: str, folder: str, *efforts: str) -> None:
    place = Path(folder).resolve()  # /proc/self/maps names real paths
    if step == "build":
        told = build(side, metric, place)
    elif step == "warm":
        told = warm(side, metric, place)
    else:
        told = cold(side, metric, place, [json.loads(effort) for effort in efforts])
    sys.stdout.write("\n" + json.dumps(told) + "\n")
    sys.stdout.flush()
    os._exit(0)  # some peers hang or crash when they are torn down


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Reads the figures of index shards for a report, and times searches: the manifests know recall, only a clock knows speed."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from pipelines.ann.exact import scan
from pipelines.ann.index import Index
from pipelines.recall import RecallShard
from pipelines.report.contents import AnnFigures, IndexFigures, Speed

SHOWN = 4
POINTS = 8
QUERIES = 100
EXACT_ROWS = 200_000
"""Scans of more rows than that are not timed: a report should take seconds."""
PARTS = {"units.arrow": "texts and sources", "vectors.npy": "vectors", "lexical": "words", "ann": "lists of vectors"}


def index_figures(shards: list[RecallShard]) -> IndexFigures:
    """Bytes of all shards by part; the largest ANN indexes timed, or exact scans where there is none."""
    parts: dict[str, int] = {}
    for shard in shards:
        for name, told in shard.manifest["files"].items():
            part = PARTS.get(name.split("/")[0], "intervals of units")
            parts[part] = parts.get(part, 0) + told["bytes"]
    indexes = [
        (shard, g, found) for shard in shards for g in sorted(shard.ranges) if (found := shard.ann(g)) is not None
    ]
    indexes.sort(key=lambda item: -len(item[2]))
    anns = [
        figures(f"{g} in {shard.folder.name}", index, shard.folder / "ann" / g, _queries(shard, g))
        for shard, g, index in indexes[:SHOWN]
    ]
    return IndexFigures(
        shards=len(shards),
        units=sum(shard.manifest["units"] for shard in shards),
        parts=dict(sorted(parts.items(), key=lambda item: -item[1])),
        anns=anns,
        more=max(0, len(indexes) - SHOWN),
        exact=[] if anns else _exact(shards),
    )


def _queries(shard: RecallShard, granularity: str) -> np.ndarray:
    """Vectors of the granularity, evenly spread."""
    ((a, b),) = shard.slices(granularity, None)
    return np.asarray(shard.vectors[np.linspace(a, b - 1, min(b - a, QUERIES)).astype(int)], np.float32)


def figures(where: str, index: Index, folder: Path, queries: np.ndarray) -> AnnFigures:
    """One ANN index, timed with `queries` along its own recall curve."""
    manifest = index.manifest
    bytes_of = {role: told["bytes"] for role, told in manifest["files"].items()}
    memory = sum(size for role, size in bytes_of.items() if role in ("head", "rotation", "sizes"))
    plan = manifest["plan"]
    kind = "exact scan" if plan["kind"] == "flat" else f"{plan['nlist']:,} lists, {plan['m']} codes of 4 bits"
    return AnnFigures(
        where=where,
        vectors=len(index),
        kind=kind,
        lists=np.load(folder / manifest["files"]["sizes"]["name"]).tolist() if "sizes" in manifest["files"] else [],
        memory=memory,
        mapped=sum(bytes_of.values()) - memory,
        speeds=_speeds(index, queries),
    )


def _speeds(index: Index, queries: np.ndarray) -> list[Speed]:
    """Recall as the manifest has it from the build, speed as it is here and now."""
    points = [p for p in (index.manifest.get("recall") or {}).get("points") or [] if p["k"] == 10]
    chosen = (
        [points[i] for i in sorted({round(n * (len(points) - 1) / (POINTS - 1)) for n in range(POINTS)})]
        if points
        else []
    )
    return [
        Speed(
            f"{p['nprobe']} lists, {p['rerank']} reranked",
            p["recall"],
            _timed(partial(index.search, k=10, nprobe=p["nprobe"], rerank=p["rerank"]), queries),
        )
        for p in chosen
    ]


def _timed(search: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    """Queries a second on one thread, one after the other, the first few not counted."""
    for query in queries[:5]:
        search(query[None])
    with threadpool_limits(1):
        begun = time.perf_counter()
        for query in queries:
            search(query[None])
        return len(queries) / max(time.perf_counter() - begun, 1e-9)


def _exact(shards: list[RecallShard]) -> list[Speed]:
    """The largest granularity of the largest shard, scanned."""
    ranges = [
        (b - a, shard, g, a, b) for shard in shards for g in shard.ranges for a, b in shard.slices(g, None) if b > a
    ]
    if not ranges:
        return []
    n, shard, granularity, a, b = max(ranges, key=lambda r: (r[0], r[2]))
    if n > EXACT_ROWS:
        return []
    rows = np.ascontiguousarray(shard.vectors[a:b], np.float32)
    queries = rows[np.linspace(0, n - 1, min(n, QUERIES)).astype(int)]
    qps = _timed(lambda part: scan(rows, "ip", np.ascontiguousarray(part), 10), queries)
    return [Speed(f"{granularity} in {shard.folder.name}, {n:,} units", 1.0, qps)]

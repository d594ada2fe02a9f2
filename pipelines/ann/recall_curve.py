"""How much effort buys how much recall on this data: measured at build, consulted at search.

Rows drawn from the data are queries, each leaving itself out: the truth is the k nearest *other* rows by exact scan of the
source. Since the rerank is exact, a true neighbour is found exactly when it is among the first `rerank` candidates, so one
scan per nprobe yields every rerank at once and no vector is read. A draw of 1,000 rows (40,000 indexed) gives recall@10 to +-0.005;
`low` is its one-sided 95 % lower bound, and a target is met by `low`. The one thing to know: the promise is for queries
distributed like the rows; questions that look unlike anything stored may need a higher target.
"""

from itertools import pairwise
from typing import Any

import numpy as np

from pipelines.ann import coarse
from pipelines.ann.exact import scan_blocks
from pipelines.ann.params import Plan
from pipelines.ann.postings import queries_at_once
from pipelines.ann.source import VectorSource

KS = (10, 100)
BATCH = 128  # held-out queries searched at a time: 800 candidates each, and their look-up tables
TABLE_BYTES = 8 << 20  # of their look-up tables
MARGIN = 0.9  # 1,000 foreign questions on five subsets of the text vectors missed 0.6 to 1.07 of what `low` said
SPARE = 28  # truth kept beyond k, to accept any of equally near rows
_PROBES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_RERANK = {10: (15, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 400, 800), 100: (150, 200, 300, 400, 600, 800)}


def held_out_rows(n: int, seed: int) -> np.ndarray:
    """Rows that serve as queries, ascending: 2.5 % of the rows, 50 to 1,000 of them, at most a quarter."""
    count = min(n // 4, max(50, min(1000, n // 40)))
    return np.sort(np.random.default_rng([seed, 1]).choice(n, count, replace=False))


def truth(
    source: VectorSource, queries: np.ndarray, own: np.ndarray, metric: str, block_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Exact (rows, scores) [b, KS[-1] + SPARE] nearest to `queries`, each without its `own` row, in one pass."""
    return scan_blocks(source.blocks(block_rows), metric, queries, KS[-1] + SPARE, own)


def measure(
    lists: Any,
    queries: np.ndarray,
    own: np.ndarray,
    true: tuple[np.ndarray, np.ndarray],
    metric: str,
    plan: Plan,
    dim: int,
) -> list[dict[str, Any]]:
    """Points {k, nprobe, rerank, recall, low, cost}, by k and cost, each better than all cheaper ones.

    queries: float32 [b, code_dim], as the lists see them; dim: of the stored vectors; cost in bytes of codes.
    """
    row_bytes = dim * np.dtype(plan.dtype).itemsize
    entries = sum(lists.invlists.list_size(number) for number in range(lists.nlist))
    widest = min(_RERANK[10][-1], entries)
    accepted = {k: _accepted(*true, k, metric) for k in KS}
    points = []
    batch = queries_at_once(plan, TABLE_BYTES, BATCH)
    for nprobe in [p for p in _PROBES if 4 * p <= 3 * lists.nlist] + [min(lists.nlist, 2048)]:
        seen = _seen_at(lists, queries, own, true[0], nprobe, widest, batch)
        for k in KS:
            for rerank in [width for width in _RERANK[k] if width < widest] + [widest]:
                hits = np.minimum(((seen < rerank) & accepted[k]).sum(axis=1), k)
                recalls = hits / np.maximum(1, np.minimum(accepted[k].sum(axis=1), k))
                error = float(recalls.std()) / len(recalls) ** 0.5
                cost = nprobe * entries / lists.nlist * lists.pq.code_size + rerank * (
                    2048 + row_bytes
                )  # a row at random: 0.2 us
                point = {"k": k, "nprobe": nprobe, "rerank": rerank, "recall": round(float(recalls.mean()), 5)}
                points.append({**point, "low": round(float(recalls.mean()) - 1.645 * error, 5), "cost": round(cost)})
        if points[-1]["recall"] == 1:  # of the largest k and rerank: more probes can only cost more
            break
    return [point for k in KS for point in _pareto([p for p in points if p["k"] == k])]


def choose(points: list[dict[str, Any]], k: int, target: float) -> dict[str, Any] | None:
    """The cheapest point whose lower bound misses at most MARGIN of what `target` may miss, for the measured k at or above
    `k`; None where there is none."""
    measured = next((size for size in KS if size >= k), KS[-1])
    allowed = MARGIN * (1 - target)
    return next((p for p in points if p["k"] == measured and 1 - p["low"] <= allowed), None)


def _accepted(rows: np.ndarray, scores: np.ndarray, k: int, metric: str) -> np.ndarray:
    """Which truth rows [b, width] count as right for k: the k nearest and all ties with the k-th."""
    k = min(k, rows.shape[1])
    edge = scores[:, k - 1 : k]
    edge = np.where(np.isinf(edge), edge, edge + np.abs(edge) * (-1e-6 if metric == "ip" else 1e-6))
    return (scores >= edge if metric == "ip" else scores <= edge) & (rows >= 0)


def _seen_at(
    lists: Any, queries: np.ndarray, own: np.ndarray, rows: np.ndarray, nprobe: int, width: int, batch: int
) -> np.ndarray:
    """Place of each truth row [b, t] among the first `width` candidates of its query, the query's own row not counted;
    `width` where it is not among them."""
    seen = np.empty(rows.shape, np.int32)
    # the place of every row, kept at `width` between queries; padding (-1) has the last one
    place = np.full(max(int(rows.max(initial=0)), lists.ntotal) + 2, width, np.int32)
    params = coarse.parameters(lists, nprobe)
    for start in range(0, len(queries), batch):
        _, found = lists.search(queries[start : start + batch], width, params=params)
        is_own = found == own[start : start + batch, None]
        at = np.arange(width, dtype=np.int32) - np.cumsum(is_own, axis=1, dtype=np.int32)
        for line, (candidates, places) in enumerate(zip(found, at, strict=True), start):
            place[candidates[::-1]] = places[::-1]  # backwards: of a row's entries the first is written last
            place[[own[line], -1]] = width
            seen[line] = place[rows[line]]
            place[candidates] = width
    return seen


def _pareto(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    points = sorted(points, key=lambda p: (p["cost"], -p["low"]))
    tops = np.maximum.accumulate([p["low"] for p in points])
    return points[:1] + [p for (before, top), p in zip(pairwise(tops), points[1:], strict=True) if top > before]

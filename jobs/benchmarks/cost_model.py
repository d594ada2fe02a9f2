"""From measured builds to builds that nobody ran: hours, nodes, dollars, and what breaks first.

Every stage is fitted as cpu = a + b x units (a, b >= 0, least squares of relative errors), memory and bytes likewise. `index` has a
third term, c x units, where a bucket has enough turns for ANN indexes: those are built from there on. `publish` has c x units x the
lists of the DuckDB file, whose number has a bound. What runs where is the architecture's: `SERIAL` stages work in one process
whatever the cluster's size, all others are cut into shards.
Embedding is not in the measured builds (their vectors are planted): its rate on GPUs is an assumption of `Rates`.

The one thing to know: the fit holds for namespaces of bounded size. Similarity links compare exactly up to 50,000 earlier rows of a
namespace, quadratic in them; beyond that they ask ANN indexes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import nnls

from pipelines.recall.shard import ANN_ROWS
from pipelines.sql.lists import MOST_LISTS, number_of_lists

SERIAL = ("publish",)
"""One process does it on either profile: its gates count every row and read every file that is new."""
FITTED = ("cpu_s", "shuffled_bytes", "bytes", "mark_bytes")
VECTOR_BYTES = 384 * 4 + 32 + 8  # one text in a node's cache of vectors: f32 row, key, row number
WITH_ANN, WITH_LISTS = "index", "publish"
BUCKETS_AT_MOST = 4096  # schemas.settings.Settings.buckets
GROUP_BYTES = 500  # a session in the driver's plan: Group, its place in a Work, its strings
FILESETS = 14  # of one day and bucket
FILESET_BYTES = 50  # of one fileset's line in snapshots/<n>.json


@dataclass(frozen=True)
class Node:
    """A machine of the cluster. `efficiency`: share of its cores' time that is work, an assumption."""

    cores: int = 16
    memory_gb: float = 64.0
    disk_gb: float = 500.0
    efficiency: float = 0.6
    usd_per_hour: float = 0.64


@dataclass(frozen=True)
class Rates:
    """Assumptions and prices. Of these only `texts_per_core_second` can be measured here, and is by `bench embed`."""

    texts_per_gpu_second: float = 10_000.0
    texts_per_core_second: float = 150.0
    usd_per_gpu_hour: float = 2.5
    usd_per_gb_month: float = 0.023
    hours: float = 24.0
    units_per_bucket: int = 1_000_000


@dataclass(frozen=True)
class StageCost:
    """(fixed, per unit, more per unit) of each figure in `FITTED`; `_more` says when there is more.

    memory: MiB that a process holds (fixed, per unit of the store, per unit of a bucket).
    """

    stage: str
    costs: dict[str, tuple[float, float, float]]
    memory: tuple[float, float, float]

    def at(self, figure: str, units: float, *, ann: bool = True) -> float:
        fixed, each, more = self.costs[figure]
        return fixed + (each + more * _more(self.stage, units, ann)) * units

    def each(self, figure: str) -> float:
        """What a unit of a large store costs."""
        return sum(self.costs[figure][1:])


@dataclass(frozen=True)
class Model:
    """What a build costs, from measured ones. `texts`, `groups`: distinct texts and sessions a unit."""

    stages: dict[str, StageCost]
    texts: float
    groups: float

    def cpu_seconds(self, units: float) -> float:
        return sum(stage.at("cpu_s", units) for stage in self.stages.values())

    def stored_bytes(self, units: float) -> float:
        return sum(stage.at("bytes", units) + stage.at("mark_bytes", units) for stage in self.stages.values())


@dataclass(frozen=True)
class Limit:
    """Something that a build of this size needs more of than there is, and what answers it."""

    what: str
    needs: str
    answer: str
    first_at: float


@dataclass(frozen=True)
class Projection:
    """A build of `units` in about `Rates.hours`: `cluster_usd` pays the nodes for all of them, `month_usd` what is stored."""

    units: float
    buckets: int
    shards: int
    core_hours: float
    nodes: int
    hours: float
    serial_hours: float
    gpu_hours: float
    embed_core_hours: float
    stored_tb: float
    shuffled_tb: float
    cluster_usd: float
    gpu_usd: float
    month_usd: float
    breaks: list[Limit] = field(default_factory=list)


def fit(rows: Sequence[dict], *, session_turns: int = 20) -> Model:
    """A model of the rows of `scale.measure` whose part is `build` (of one profile)."""
    builds = _builds(rows)
    stages = list(dict.fromkeys(row["stage"] for row in builds))
    largest = max(builds, key=lambda row: row["units"])
    return Model(
        {s: StageCost(s, {f: _fitted(builds, s, f) for f in FITTED}, _memory(builds, s)) for s in stages},
        texts=largest["texts"] / largest["units"],
        groups=largest["turns"] / session_turns / largest["units"],
    )


def _builds(rows: Sequence[dict]) -> list[dict]:
    return [row for row in rows if row["part"] == "build" and row["stage"] != "start"]


def has_ann(row: dict) -> bool:
    """Whether the buckets of a measured store have ANN indexes."""
    return row["turns"] / row["buckets"] >= ANN_ROWS


def _more(stage: str, units: float, ann: bool) -> float:
    """How much of its third cost each of `units` has: all in buckets with ANN indexes, or as many lists as the file has of those it
    may have; 0 for all other stages."""
    if stage == WITH_LISTS:
        return number_of_lists(int(units)) / MOST_LISTS
    return float(ann and stage == WITH_ANN)


def _fitted(rows: Sequence[dict], stage: str, figure: str) -> tuple[float, float, float]:
    """(fixed, per unit, more per unit) >= 0 with the least relative errors."""
    found_in = [r for r in rows if r["stage"] == stage and r[figure]]
    points = [(r["units"], _more(stage, r["units"], has_ann(r)), r[figure]) for r in found_in]
    if not points:
        return 0.0, 0.0, 0.0
    units, extra, found = np.array(points, float).T
    fixed, each, more = _least_errors([np.ones(len(found)), units, units * extra], found)
    return fixed, each, more


def _memory(rows: Sequence[dict], stage: str) -> tuple[float, float, float]:
    points = [(r["units"], r["units"] / r["buckets"], r["peak_anon_mb"]) for r in rows if r["stage"] == stage]
    units, in_bucket, found = np.array(points, float).T
    fixed, each, each_in_bucket = _least_errors([np.ones(len(found)), units, in_bucket], found)
    return fixed, each, each_in_bucket


def _least_errors(columns: list[np.ndarray], found: np.ndarray) -> list[float]:
    """Factors >= 0 of the columns whose sum is `found`, with the least squares of relative errors."""
    return nnls(np.column_stack(columns) / found[:, None], np.ones(len(found)))[0].tolist()


Errors = dict[tuple[str, int, int], float]


def errors(model: Model, rows: Sequence[dict]) -> Errors:
    """(stage or `total`, units, buckets) -> modelled over measured CPU seconds, less 1."""
    found: Errors = {}
    for units, buckets in sorted({(row["units"], row["buckets"]) for row in _builds(rows)}):
        mine = [row for row in _builds(rows) if (row["units"], row["buckets"]) == (units, buckets)]
        made = {r["stage"]: model.stages[r["stage"]].at("cpu_s", units, ann=has_ann(r)) for r in mine}
        for row in mine:
            found[row["stage"], units, buckets] = made[row["stage"]] / max(row["cpu_s"], 0.01) - 1
        found["total", units, buckets] = sum(made.values()) / sum(row["cpu_s"] for row in mine) - 1
    return found


def project(model: Model, units: float, node: Node | None = None, rates: Rates | None = None) -> Projection:
    """What building `units` takes on as many nodes as `rates.hours` asks for."""
    node, rates = node or Node(), rates or Rates()
    buckets = min(BUCKETS_AT_MOST, max(16, math.ceil(units / rates.units_per_bucket)))
    serial = sum(model.stages[s].at("cpu_s", units) for s in SERIAL if s in model.stages) / 3600
    spread = model.cpu_seconds(units) / 3600 - serial
    nodes = max(1, math.ceil(spread / (rates.hours * node.cores * node.efficiency)))
    hours = spread / (nodes * node.cores * node.efficiency) + serial
    gpu_hours = model.texts * units / rates.texts_per_gpu_second / 3600
    shuffled = sum(stage.at("shuffled_bytes", units) for stage in model.stages.values())
    return Projection(
        units=units,
        buckets=buckets,
        shards=math.ceil(units / 2.6 / 20_000),
        core_hours=spread + serial,
        nodes=nodes,
        hours=hours,
        serial_hours=serial,
        gpu_hours=gpu_hours,
        embed_core_hours=model.texts * units / rates.texts_per_core_second / 3600,
        stored_tb=model.stored_bytes(units) / 1e12,
        shuffled_tb=shuffled / 1e12,
        cluster_usd=nodes * hours * node.usd_per_hour,
        gpu_usd=gpu_hours * rates.usd_per_gpu_hour,
        month_usd=model.stored_bytes(units) / 1e9 * rates.usd_per_gb_month,
        breaks=[limit for limit in limits(model, node, rates) if limit.first_at < units],
    )


def limits(model: Model, node: Node, rates: Rates, *, nights: int = 365) -> list[Limit]:
    """What breaks, by the number of units at which it does, first things first."""
    a_unit = model.stages["index"].memory[2] * 2**20
    serial = sum(model.stages[stage].each("cpu_s") for stage in SERIAL)
    held = sum(model.stages[stage].memory[1] for stage in SERIAL) * 2**20
    found = [
        Limit(
            "publish writes the DuckDB file and checks everything in one process",
            f"{serial * 1e6:.0f} s for each 1 M units",
            "a file a bucket, written where its index is built; take the recall that each index measured itself",
            rates.hours / 4 * 3600 / max(serial, 1e-12),
        ),
        Limit(
            "publish holds the postings and hashes of all units",
            f"{held:,.0f} B a unit in one process",
            "a file a bucket, or postings merged by ranges of terms and hashes joined in DuckDB",
            node.memory_gb * 1e9 / max(held, 1.0),
        ),
        Limit(
            "every node caches all vectors",
            f"{VECTOR_BYTES:,} B a text on the disk of each node",
            "a cache for each bucket: join vectors to the units of a bucket (Spark), instead of looking them up by hash",
            node.disk_gb * 1e9 / (VECTOR_BYTES * model.texts),
        ),
        Limit(
            "the driver plans all sessions of a day at once",
            f"{GROUP_BYTES} B a session in the driver",
            "plan a range of buckets at a time (`partitions_at_once` of the engines)",
            node.memory_gb * 1e9 / 2 / (GROUP_BYTES * model.groups),
        ),
        Limit(
            "a bucket's index is built in memory",
            f"{a_unit:,.0f} B a unit of the bucket, {BUCKETS_AT_MOST:,} buckets at most",
            "raise the bound of `buckets`, or cut a bucket's index into several shards",
            BUCKETS_AT_MOST * node.memory_gb * 1e9 / 2 / max(a_unit, 1.0),
        ),
        Limit(
            f"a snapshot names every fileset of {nights} nights",
            f"{FILESETS * FILESET_BYTES:,} B a day and bucket in one JSON",
            "compact closed months into one fileset a bucket; one catalogue file a bucket, named by the snapshot",
            1e9 / (FILESETS * FILESET_BYTES * nights) * rates.units_per_bucket,
        ),
    ]
    return sorted(found, key=lambda limit: limit.first_at)

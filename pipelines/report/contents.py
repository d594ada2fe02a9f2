"""What a report shows: plain values that `jobs.report_contents` reads from a store and `page.render` draws.

Everything is counted or cut before it comes here, so that a page of a store of any size stays a page.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import numpy as np

from pipelines.report.communities import Picture
from schemas.manifest import Gate

RECALL = "recall"


@dataclass(frozen=True)
class Granularity:
    """Units of one granularity; `tokens` is their median length in the encoder's tokens."""

    name: str
    units: int
    tokens: int


@dataclass(frozen=True)
class Namespace:
    """One namespace: how much it holds, and the time it speaks of."""

    name: str
    units: int
    sessions: int
    documents: int
    first: dt.datetime | None
    last: dt.datetime | None


@dataclass(frozen=True)
class Cell:
    """One stage on one day."""

    state: str
    rows: int


@dataclass(frozen=True)
class Day:
    """A row of the grid day x stage; `why` says what failed, is stale or was not taken."""

    day: dt.date
    cells: dict[str, Cell]
    why: list[str]


@dataclass(frozen=True)
class Version:
    """One snapshot in the history of the store."""

    number: int
    created_at: dt.datetime
    rows: dict[str, int]
    failed: int
    note: str


@dataclass(frozen=True)
class Measured:
    """A row of `evaluations`. `ranking` is recall, a variant of it (`only ...`, `without ...`) or a baseline."""

    snapshot: int
    dataset: str
    category: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    at: dt.datetime
    ranking: str = RECALL


@dataclass(frozen=True)
class Speed:
    """One way to search, measured: recall@10 against exact search, and queries a second on one thread."""

    label: str
    recall: float
    qps: float


@dataclass(frozen=True)
class AnnFigures:
    """One ANN index: its shape, the sizes of its lists, what is read into memory and what stays mapped, its curve."""

    where: str
    vectors: int
    kind: str
    lists: list[int]
    memory: int
    mapped: int
    speeds: list[Speed]


@dataclass(frozen=True)
class IndexFigures:
    """All shards: bytes by part, and the largest ANN indexes. `exact` is the scan where there is none."""

    shards: int
    units: int
    parts: dict[str, int]
    anns: list[AnnFigures]
    more: int
    exact: list[Speed]


@dataclass(frozen=True)
class Sample:
    """One unit with its sources."""

    unit_id: str
    namespace: str
    granularity: str
    text: str
    sources: list[str]
    event_time: dt.datetime | None


@dataclass(frozen=True)
class Fact:
    """One triple, in words."""

    at: dt.datetime
    subject: str
    predicate: str
    object: str
    source: str


@dataclass(frozen=True)
class Timeline:
    """One entity through time: units that mention it by month (or day), and facts about it."""

    entity_id: str
    name: str
    kind: str
    namespace: str
    units: int
    counts: list[tuple[dt.date, int]]
    step: str
    facts: list[Fact]


@dataclass(frozen=True)
class Refused:
    """Records refused for one reason."""

    stage: str
    reason: str
    records: int
    example: str


@dataclass(frozen=True)
class StageCost:
    """What one stage took over all runs."""

    stage: str
    partitions: int
    seconds: float
    rows: int
    tokens_in: int
    tokens_out: int
    usd: float


@dataclass(frozen=True)
class RunCost:
    """What one run took."""

    run_id: str
    started_at: dt.datetime
    partitions: int
    failed: int
    seconds: float
    usd: float


@dataclass(frozen=True)
class Vectors:
    """A sample of units and their vectors f32 [n, dim], for the map."""

    texts: list[str]
    namespaces: list[str]
    matrix: np.ndarray
    of: int


@dataclass(frozen=True)
class Contents:
    """A whole report."""

    store: str
    made_at: dt.datetime
    snapshot: Version | None = None
    encoder: str = ""
    bytes: int = 0
    granularities: list[Granularity] = field(default_factory=list)
    namespaces: list[Namespace] = field(default_factory=list)
    n_namespaces: int = 0
    arrivals: list[tuple[dt.date, int]] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    days: list[Day] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    evaluations: list[Measured] = field(default_factory=list)
    index: IndexFigures | None = None
    index_problem: str = ""
    communities: Picture | None = None
    vectors: Vectors | None = None
    timelines: list[Timeline] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    n_refused: int = 0
    stage_costs: list[StageCost] = field(default_factory=list)
    run_costs: list[RunCost] = field(default_factory=list)
    usd_per_cpu_hour: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    n_units: int = 0

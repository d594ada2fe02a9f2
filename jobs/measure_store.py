"""Measure the store for Prometheus: what ran, how long, how old the newest snapshot is, how well it recalls.

A collector reads when it is scraped. Files of the ledger never change, so each is read once and its rows are added to totals;
a scrape of a store that stands still lists two folders, however long its history.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.dataset as ds
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.store import ledger, snapshots
from jobs.store.lake import Lake
from pipelines.evaluation.ablation import FUSION
from schemas.errors import EngraphError
from schemas.manifest import Snapshot
from schemas.tables import TABLES

AT_LEAST_S = 5.0  # two Prometheus servers, or an impatient one, cost one look


class StoreCollector(Collector):
    """Metrics of one store, for a registry of prometheus_client."""

    def __init__(self, store: str, *, clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._looked = -AT_LEAST_S
        self._forget()

    def _forget(self) -> None:
        self._lake: Lake | None = None
        self._seen: dict[str, set[str]] = {"runs": set(), "evaluations": set()}
        self._runs: Counter[tuple[str, str]] = Counter()
        self._seconds: dict[str, float] = {}
        self._recall: dict[tuple[str, str], tuple[dt.datetime, float]] = {}
        self._snapshot: Snapshot | None = None

    def describe(self) -> list[Metric]:
        """Nothing: naming the metrics must not need the store."""
        return []

    def collect(self) -> Iterator[Metric]:
        """What Prometheus is told. A store that cannot be read is `engraph_store_up 0`, not a failed scrape."""
        with self._lock:
            up = GaugeMetricFamily("engraph_store_up", "Whether the store could be read.")
            try:
                self._look()
                up.add_metric([], 1)
            except (EngraphError, OSError):
                up.add_metric([], 0)
            yield up
            yield from self._stages()
            yield from self._newest()

    def _look(self) -> None:
        if time.monotonic() - self._looked < AT_LEAST_S:
            return
        if self._lake is None:
            self._lake = Lake(self._store)
        for table, add in {"runs": self._add_runs, "evaluations": self._add_evaluations}.items():
            names = set(ledger.files(self._lake, table))
            if self._seen[table] - names:  # something was erased from the history: count again
                self._forget()
                return self._look()
            new = sorted(names - self._seen[table])
            if new:
                schema = TABLES[table].schema
                add(ds.dataset(new, schema=schema, format="parquet", filesystem=self._lake.fs).to_table())
                self._seen[table] |= names
        have = snapshots.numbers(self._lake)
        if have and (self._snapshot is None or self._snapshot.number != have[-1]):
            self._snapshot = snapshots.load(self._lake, have[-1])
        self._looked = time.monotonic()

    def _add_runs(self, rows: pa.Table) -> None:
        sums = rows.group_by(["stage", "status"]).aggregate([("seconds", "sum"), ("stage", "count")])
        for row in sums.to_pylist():
            self._runs[row["stage"], row["status"]] += row["stage_count"]
            self._seconds[row["stage"]] = self._seconds.get(row["stage"], 0.0) + (row["seconds_sum"] or 0.0)

    def _add_evaluations(self, rows: pa.Table) -> None:
        for row in rows.to_pylist():
            key = (row["dataset"], row["metric"])
            if row["category"] != "all" or row["ranking"] not in (None, FUSION):
                continue
            if key not in self._recall or self._recall[key][0] <= row["at"]:
                self._recall[key] = (row["at"], row["value"])

    def _stages(self) -> Iterator[Metric]:
        runs = CounterMetricFamily("engraph_stage_runs", "Stage runs on partitions.", labels=["stage", "status"])
        failures = CounterMetricFamily("engraph_stage_failures", "Stage runs that failed.", labels=["stage"])
        seconds = CounterMetricFamily("engraph_stage_seconds", "Wall time in stages.", labels=["stage"])
        for (stage, status), n in sorted(self._runs.items()):
            runs.add_metric([stage, status], n)
        for stage, total in sorted(self._seconds.items()):
            seconds.add_metric([stage], total)
            failures.add_metric([stage], self._runs[stage, "failed"])
        yield from (runs, failures, seconds)

    def _newest(self) -> Iterator[Metric]:
        recall = GaugeMetricFamily("engraph_recall", "Newest measured metric.", labels=["dataset", "metric"])
        for (dataset, metric), (_, value) in sorted(self._recall.items()):
            recall.add_metric([dataset, metric], value)
        yield recall
        if self._snapshot is None:
            return
        age = (self._clock() - self._snapshot.created_at).total_seconds()
        yield GaugeMetricFamily("engraph_snapshot_age_seconds", "Age of the newest snapshot.", value=age)
        yield GaugeMetricFamily("engraph_snapshot_number", "Its number.", value=self._snapshot.number)
        refused = self._snapshot.rows.get("quarantine", 0)
        yield GaugeMetricFamily("engraph_quarantine_rows", "Refused records in it.", value=refused)
        rows = GaugeMetricFamily("engraph_rows", "Rows of a table in it.", labels=["table"])
        for table, n in sorted(self._snapshot.rows.items()):
            rows.add_metric([table], n)
        yield rows

"""Near-duplicates: units whose texts are nearly word for word the same -> edges to the earliest of them, by namespace."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.engines.engine import Engine
from jobs.engines.partitions import GROUP, Group, Partition, Stage, run_partitions
from jobs.groups import live_units
from jobs.resolve_entities import namespaces_of
from jobs.run import Run
from pipelines.graph.near_duplicates import COMPARED, ORDER, NearDuplicateParams, near_duplicate_edges
from pipelines.lifecycle.versions import ENDING
from schemas.fingerprint import fingerprint
from schemas.tables import TABLES

COLUMNS = ["unit_id", "version", "namespace", "granularity", "text", "content_hash", "event_time", "day"]


def stage(params: NearDuplicateParams) -> Stage:
    return Stage("near_duplicates", 1, ("edges",), params)


def find_near_duplicates(run: Run, day: dt.date, buckets: Iterable[int], params: NearDuplicateParams) -> None:
    """Bring the near-duplicate edges of one day up to date."""
    run_partitions(run, [_partition(run, day, bucket, params) for bucket in buckets])


def _partition(run: Run, day: dt.date, bucket: int, params: NearDuplicateParams) -> Partition:
    select = run.catalogue.select
    units = select("memory_units", stage="segment", bucket=bucket, day=day)
    until = select("memory_units", stage="segment", bucket=bucket, until=day)
    ended = select("operations", stage="segment", bucket=bucket, until=day)
    inputs = (fingerprint([f.fingerprint for f in until]), fingerprint([f.fingerprint for f in ended]))

    def plan() -> list[Group]:
        return namespaces_of(run.lake.read("memory_units", units, columns=["namespace"]), fingerprint(inputs))

    def compute(namespaces: list[str]) -> dict[str, pa.Table]:
        mine = ds.field("namespace").isin(namespaces) & ds.field("granularity").isin(COMPARED)
        rows = live_units(run, bucket, until=day, where=mine, columns=COLUMNS, stage="segment")
        rows = rows.sort_by([(column, "ascending") for column in ORDER])
        is_new = pc.equal(rows["day"], pa.scalar(day)).to_numpy()
        edges = near_duplicate_edges(rows, is_new, params, day=day)
        return {"edges": edges.append_column(GROUP, edges["namespace"])}

    def joined(engine: Engine, namespaces: list[str]) -> dict[str, pa.Table]:
        from jobs.engines import spark_tables
        from jobs.engines.spark_sql import SparkEngine

        assert isinstance(engine, SparkEngine)
        history = engine.table(run.lake, "memory_units", until, COLUMNS)
        ends = engine.table(run.lake, "operations", ended, ["unit_id", "version", "operation"])
        history = history.where(history.namespace.isin(namespaces))
        standing = history.join(ends.where(ends.operation.isin(list(ENDING))), ["unit_id", "version"], "left_anti")
        found = spark_tables.near_duplicates(standing, params)
        edges = found.where(found.day == day).toArrow().cast(TABLES["edges"].schema).sort_by("source")
        return {"edges": edges.append_column(GROUP, edges["namespace"])}

    return Partition(stage(params), day, bucket, inputs, plan, compute, joined)


if __name__ == "__main__":
    from jobs import alone

    raise SystemExit(alone.main("near_duplicates"))

"""Resolve: mentions -> entities, by namespace."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.engines.partitions import GROUP, Group, Partition, Stage, run_partitions
from jobs.groups import latest
from jobs.run import Run
from pipelines.graph import resolve_entities
from schemas.fingerprint import fingerprint

STAGE = Stage("resolve", 1, ("entities",))


def resolve_mentions(run: Run, day: dt.date, buckets: Iterable[int]) -> None:
    """Bring the entities of one day up to date."""
    run_partitions(run, [_partition(run, day, bucket) for bucket in buckets])


def _partition(run: Run, day: dt.date, bucket: int) -> Partition:
    mentions = run.catalogue.select("mentions", bucket=bucket, day=day)
    before = run.catalogue.select("entities", bucket=bucket, before=day)
    inputs = (*(f.fingerprint for f in mentions), fingerprint([f.fingerprint for f in before]))

    def compute(namespaces: list[str]) -> dict[str, pa.Table]:
        mine = ds.field("namespace").isin(namespaces)
        known = latest(run.lake.read("entities", before, where=mine), "entity_id")
        today = run.lake.read("mentions", mentions, where=mine)
        again = pc.unique(today.filter(pc.greater(today["unit_version"], 1))["unit_id"].combine_chunks())
        earlier = run.catalogue.select("mentions", bucket=bucket, before=day) if len(again) else []
        counted = run.lake.read(
            "mentions", earlier, columns=["unit_id", "entity_id"], where=ds.field("unit_id").isin(again)
        )
        entities = resolve_entities(today, known, counted, day=day)
        return {"entities": entities.append_column(GROUP, entities["namespace"])}

    def plan() -> list[Group]:
        return namespaces_of(run.lake.read("mentions", mentions, columns=["namespace"]), fingerprint(inputs))

    return Partition(STAGE, day, bucket, inputs, plan, compute)


def namespaces_of(rows: pa.Table, hash_: str) -> list[Group]:
    """Groups by namespace, for stages that look at a whole namespace's history; `hash_` stands for all their inputs."""
    counts = pc.value_counts(rows["namespace"].combine_chunks()).to_pylist()
    return [Group(c["values"], hash_, c["counts"]) for c in counts]


if __name__ == "__main__":
    from jobs import alone

    raise SystemExit(alone.main("resolve"))

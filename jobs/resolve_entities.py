"""Resolve: mentions -> entities, by namespace."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.engines.engine import Engine, Piece, Pieces
from jobs.engines.partitions import GROUP, Group, Partition, Stage, run_partitions
from jobs.groups import latest
from jobs.run import Run
from jobs.store.lake import Lake
from pipelines.graph import resolve_entities
from schemas.fingerprint import fingerprint
from schemas.ids import bucket_of
from schemas.manifest import Fileset
from schemas.tables import TABLES

STAGE = Stage("resolve", 1, ("entities",))
SLICES = 64


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

    def joined(engine: Engine, namespaces: list[str]) -> dict[str, pa.Table]:
        where = ds.field("namespace").isin(namespaces) & (ds.field("unit_version") > 1)
        again = pc.unique(run.lake.read("mentions", mentions, columns=["unit_id"], where=where)["unit_id"])
        earlier = run.catalogue.select("mentions", bucket=bucket, before=day) if len(again) else []
        addresses = (
            [("today", f) for f in mentions] + [("known", f) for f in before] + [("counted", f) for f in earlier]
        )
        slices = engine.group(_EntityReader(run.lake, namespaces, again), addresses, _SliceResolver(day))
        entities = pa.concat_tables([TABLES["entities"].empty(), *slices]).sort_by("entity_id")
        return {"entities": entities.append_column(GROUP, entities["namespace"])}

    return Partition(STAGE, day, bucket, inputs, plan, compute, joined)


@dataclass(frozen=True)
class _EntityReader:
    """Rows of one fileset that some namespaces have, by slices of their entities: what resolves one entity comes together."""

    lake: Lake
    namespaces: list[str]
    again: pa.Array

    def __call__(self, address: tuple[str, Fileset]) -> Iterator[Piece]:
        kind, fileset = address
        where = ds.field("namespace").isin(self.namespaces)
        where = where & ds.field("unit_id").isin(self.again) if kind == "counted" else where
        rows = self.lake.read(fileset.table, [fileset], where=where)
        slices = pa.array([bucket_of(id_, SLICES) for id_ in rows["entity_id"].to_pylist()], pa.int64())
        for slice_ in pc.unique(slices).to_pylist():
            yield slice_, kind, rows.filter(pc.equal(slices, slice_))


@dataclass(frozen=True)
class _SliceResolver:
    """Resolves the entities of one slice: the rule looks at one entity at a time, so slices need nothing of each other."""

    day: dt.date

    def __call__(self, slice_: int, pieces: Pieces) -> pa.Table:
        kinds = pieces.kinds()
        today = pieces.read("today") if "today" in kinds else TABLES["mentions"].empty()
        known = pieces.read("known").sort_by("day") if "known" in kinds else TABLES["entities"].empty()
        counted = pieces.read("counted") if "counted" in kinds else TABLES["mentions"].empty()
        counted = counted.select(["unit_id", "entity_id"])
        return resolve_entities(today, latest(known, "entity_id"), counted, day=self.day)


def namespaces_of(rows: pa.Table, hash_: str) -> list[Group]:
    """Groups by namespace, for stages that look at a whole namespace's history; `hash_` stands for all their inputs."""
    counts = pc.value_counts(rows["namespace"].combine_chunks()).to_pylist()
    return [Group(c["values"], hash_, c["counts"]) for c in counts]


if __name__ == "__main__":
    from jobs import alone

    raise SystemExit(alone.main("resolve"))

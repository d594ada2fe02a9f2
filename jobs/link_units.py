"""Link: units, mentions, entities and vectors -> edges, by namespace, to the past only."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.engines.local import GROUP, Group, Stage, run_partition
from jobs.groups import group_column, history, latest, live_units, of_groups
from jobs.resolve_entities import namespaces_of
from jobs.run import Run
from pipelines.graph import LinkParams, mention_edges, similar_edges, structure_edges, synonym_edges
from pipelines.graph.links import LINKED
from schemas.fingerprint import fingerprint

STRUCTURE = [
    "unit_id", "version", "namespace", "granularity", "parent_id", "session_id", "document_id", "ordinal", "source_spans",
]  # fmt: skip


@dataclass(frozen=True)
class LinkingParams:
    """Similarity follows the vectors, so the encoder is part of its identity."""

    encoder: str
    links: LinkParams


def stage(params: LinkingParams) -> Stage:
    return Stage("link", 1, ("edges",), params)


def link_units(run: Run, day: dt.date, bucket: int, params: LinkingParams) -> None:
    """Bring the edges of one partition up to date."""
    select = run.catalogue.select
    units = select("memory_units", bucket=bucket, day=day)
    upstream = units + select("mentions", bucket=bucket, day=day) + select("entities", bucket=bucket, day=day)
    before = select("memory_units", bucket=bucket, before=day) + select("entities", bucket=bucket, before=day)
    inputs = [
        history(run, bucket, day),
        fingerprint([f.fingerprint for f in before]),
        *(f.fingerprint for f in upstream),
    ]

    def plan() -> list[Group]:
        return namespaces_of(run.lake.read("memory_units", units, columns=["namespace"]), fingerprint(inputs))

    def compute(namespaces: list[str]) -> dict[str, pa.Table]:
        edges = pa.concat_tables([_links_of(run, bucket, day, namespace, params.links) for namespace in namespaces])
        return {"edges": edges.append_column(GROUP, edges["namespace"])}

    run_partition(run, stage(params), day, bucket, inputs=inputs, plan=plan, compute=compute)


def _links_of(run: Run, bucket: int, day: dt.date, namespace: str, params: LinkParams) -> pa.Table:
    mine = ds.field("namespace") == namespace
    today = run.catalogue.select("memory_units", bucket=bucket, day=day)
    new = run.lake.read("memory_units", today, columns=STRUCTURE, where=mine)
    touched = pc.unique(group_column(new).combine_chunks())
    groups = live_units(run, bucket, until=day, where=mine & of_groups(touched.to_pylist()), columns=STRUCTURE)
    mentions = run.lake.read("mentions", run.catalogue.select("mentions", bucket=bucket, day=day), where=mine)
    edges = [structure_edges(new, groups, day=day), mention_edges(mentions, day=day)]
    edges += _similar(run, bucket, day, mine, params)
    edges.append(_synonyms(run, bucket, day, mine, params))
    return pa.concat_tables(edges)


def _similar(run: Run, bucket: int, day: dt.date, mine: ds.Expression, params: LinkParams) -> list[pa.Table]:
    """Order within a namespace is (arrival day, event time, id). The history is read once for all granularities."""
    columns = ["unit_id", "version", "namespace", "granularity", "content_hash", "event_time", "day"]
    where = mine & ds.field("granularity").isin(LINKED)
    units = live_units(run, bucket, until=day, where=where, columns=columns)
    units = units.sort_by([("day", "ascending"), ("event_time", "ascending"), ("unit_id", "ascending")])
    return [
        _similar_of(run, units.filter(pc.equal(units["granularity"], granularity)), params, day)
        for granularity in LINKED
    ]


def _similar_of(run: Run, units: pa.Table, params: LinkParams, day: dt.date) -> pa.Table:
    is_new = pc.equal(units["day"], pa.scalar(day)).to_numpy()
    if not is_new.any():
        units, is_new = units.slice(0, 0), np.zeros(0, bool)
    return similar_edges(units, run.vectors().get(units["content_hash"]), is_new, params, day=day)


def _synonyms(run: Run, bucket: int, day: dt.date, mine: ds.Expression, params: LinkParams) -> pa.Table:
    columns = ["entity_id", "namespace", "content_hash", "kind", "day"]
    where = mine & ~ds.field("kind").isin(["date", "quantity"])
    filesets = run.catalogue.select("entities", bucket=bucket, until=day)
    rows = run.lake.read("entities", filesets, columns=columns, where=where)
    first_seen = rows.group_by("entity_id").aggregate([("day", "min")])
    entities = latest(rows, "entity_id").drop_columns(["day"]).join(first_seen, "entity_id")
    entities = entities.sort_by([("day_min", "ascending"), ("entity_id", "ascending")])
    is_new = pc.equal(entities["day_min"], pa.scalar(day)).to_numpy()
    if not is_new.any():
        entities, is_new = entities.slice(0, 0), np.zeros(0, bool)
    return synonym_edges(entities, run.vectors().get(entities["content_hash"]), is_new, params, day=day)

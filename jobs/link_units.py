"""Link: units, mentions, entities and vectors -> edges, by namespace, to the past only."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.engines.partitions import GROUP, Group, Partition, Stage, run_partitions
from jobs.groups import group_column, history, latest, live_units, of_groups
from jobs.resolve_entities import namespaces_of
from jobs.run import Run
from pipelines.graph import LinkParams, mention_edges, similar_edges, structure_edges, synonym_edges
from pipelines.graph.links import LINKED, VERSION
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
    return Stage("link", VERSION, ("edges",), params)


def link_units(run: Run, day: dt.date, buckets: Iterable[int], params: LinkingParams) -> None:
    """Bring the edges of one day up to date."""
    run_partitions(run, [_partition(run, day, bucket, params) for bucket in buckets])


def _partition(run: Run, day: dt.date, bucket: int, params: LinkingParams) -> Partition:
    select = run.catalogue.select
    units = select("memory_units", bucket=bucket, day=day)
    upstream = units + select("mentions", bucket=bucket, day=day) + select("entities", bucket=bucket, day=day)
    before = select("memory_units", bucket=bucket, before=day) + select("entities", bucket=bucket, before=day)
    inputs = (
        history(run, bucket, day),
        fingerprint([f.fingerprint for f in before]),
        *(f.fingerprint for f in upstream),
    )

    def plan() -> list[Group]:
        return namespaces_of(run.lake.read("memory_units", units, columns=["namespace"]), fingerprint(inputs))

    def compute(namespaces: list[str]) -> dict[str, pa.Table]:
        edges = _links_of(run, bucket, day, namespaces, params.links)
        return {"edges": edges.append_column(GROUP, edges["namespace"])}

    return Partition(stage(params), day, bucket, inputs, plan, compute)


def _links_of(run: Run, bucket: int, day: dt.date, namespaces: list[str], params: LinkParams) -> pa.Table:
    """All edges that `day` brings to some namespaces. Their history is read once, then taken apart in memory."""
    mine = ds.field("namespace").isin(namespaces)
    today = run.catalogue.select("memory_units", bucket=bucket, day=day)
    new = run.lake.read("memory_units", today, columns=STRUCTURE, where=mine)
    touched = pc.unique(group_column(new).combine_chunks())
    groups = live_units(run, bucket, until=day, where=mine & of_groups(touched.to_pylist()), columns=STRUCTURE)
    mentions = run.lake.read("mentions", run.catalogue.select("mentions", bucket=bucket, day=day), where=mine)
    edges = [structure_edges(new, groups, day=day), mention_edges(mentions, day=day)]
    edges += _similar(run, bucket, day, mine, params)
    edges += _synonyms(run, bucket, day, mine, params)
    return pa.concat_tables(edges)


def _similar(run: Run, bucket: int, day: dt.date, mine: ds.Expression, params: LinkParams) -> Iterator[pa.Table]:
    """Order within a namespace is (arrival day, event time, id)."""
    columns = ["unit_id", "version", "namespace", "granularity", "content_hash", "event_time", "day"]
    columns += ["session_id", "document_id"]
    units = live_units(run, bucket, until=day, where=mine & ds.field("granularity").isin(LINKED), columns=columns)
    for part in _apart(units, ["namespace", "granularity"], ["day", "event_time", "unit_id"]):
        is_new = pc.equal(part["day"], pa.scalar(day)).to_numpy()
        if is_new.any():
            vectors, groups = run.vectors().get(part["content_hash"]), _numbers(group_column(part))
            yield similar_edges(part, vectors, is_new, params, day=day, groups=groups)


def _synonyms(run: Run, bucket: int, day: dt.date, mine: ds.Expression, params: LinkParams) -> Iterator[pa.Table]:
    columns = ["entity_id", "namespace", "content_hash", "kind", "day"]
    filesets = run.catalogue.select("entities", bucket=bucket, until=day)
    where = mine & ~ds.field("kind").isin(["date", "quantity"])
    rows = run.lake.read("entities", filesets, columns=columns, where=where)
    first_seen = rows.group_by("entity_id").aggregate([("day", "min")])
    entities = latest(rows, "entity_id").drop_columns(["day"]).join(first_seen, "entity_id")
    for part in _apart(entities, ["namespace"], ["day_min", "entity_id"]):
        is_new = pc.equal(part["day_min"], pa.scalar(day)).to_numpy()
        if is_new.any():
            yield synonym_edges(part, run.vectors().get(part["content_hash"]), is_new, params, day=day)


def _apart(table: pa.Table, by: list[str], order: list[str]) -> Iterator[pa.Table]:
    """The rows of each value of the columns `by`, in `order`."""
    table = table.sort_by([(column, "ascending") for column in by + order])
    changes = np.zeros(table.num_rows, bool)
    for column in by:
        codes = _numbers(table[column])
        changes[1:] |= codes[1:] != codes[:-1]
    starts = [0, *np.flatnonzero(changes).tolist(), table.num_rows]
    for start, end in pairwise(starts):
        yield table.slice(start, end - start)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A number for each distinct value."""
    return column.combine_chunks().dictionary_encode().indices.to_numpy()


if __name__ == "__main__":
    from jobs import alone

    raise SystemExit(alone.main("link"))

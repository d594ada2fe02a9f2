"""Extract: leaves (turns, sentences) -> summaries, keywords and facts as memory_units, and mentions and triples."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.engines.partitions import GROUP, Group, Partition, Stage, run_partitions
from jobs.given_extractions import given_filesets, given_for, hashes_of_given
from jobs.groups import group_column, history, live_units, of_groups, segmented_groups, turns_of
from jobs.run import Run
from jobs.segment_records import versioned
from pipelines.extraction import EXTRACTOR, Extraction, ExtractParams, extract
from pipelines.extraction.given import GIVEN, GivenExtraction, extract_given, without_replaced
from pipelines.graph.entities import entity_id
from pipelines.segmentation.units import CountTokens, draft_units
from schemas.fingerprint import fingerprint
from schemas.ids import derived_id
from schemas.tables import TABLES

TABLES_OUT = ("memory_units", "operations", "mentions", "triples")


@dataclass(frozen=True)
class ExtractionParams:
    """What decides an extraction: the extractor, its rules, and the encoder whose vectors find the central sentences."""

    extractor: str
    encoder: str
    rules: ExtractParams


def stage(params: ExtractionParams) -> Stage:
    return Stage("extract", 1, TABLES_OUT, params)


def extract_memories(
    run: Run, day: dt.date, buckets: Iterable[int], params: ExtractionParams, count_tokens: CountTokens
) -> None:
    """Bring what is extracted from one day up to date."""
    run_partitions(run, [_partition(run, day, bucket, params, count_tokens) for bucket in buckets])


def _partition(run: Run, day: dt.date, bucket: int, params: ExtractionParams, count_tokens: CountTokens) -> Partition:
    this = stage(params)
    segmented = run.catalogue.select("memory_units", stage="segment", bucket=bucket, day=day)

    def compute(groups: list[str]) -> dict[str, pa.Table]:
        leaves, vectors = _leaves(run, bucket, day, groups)
        found = extract(leaves, vectors, params.rules)
        given = extract_given(leaves, given_for(run, bucket, day, groups, leaves), params.rules)
        tables = versioned(run, this, bucket, day, groups, _drafts(found, given, leaves, count_tokens))
        return tables | _new_mentions(found, given, _arrived_today(run, bucket, day, groups), day)

    def plan() -> list[Group]:
        """What is extracted also depends on how the sentences were cut, and on what others gave."""
        cut = [(m.stage_version, m.params) for m in map(run.lake.manifest, segmented)]
        given = hashes_of_given(run, bucket, day)
        groups = segmented_groups(run, bucket, day)
        return [replace(g, hash=fingerprint(g.hash, cut, *filter(None, [given.get(g.id)]))) for g in groups]

    given = [f.fingerprint for f in given_filesets(run, bucket, day)]
    inputs = (history(run, bucket, day), *(f.fingerprint for f in segmented), *([GIVEN, *given] if given else []))
    return Partition(this, day, bucket, inputs, plan, compute)


LEAF_COLUMNS = [
    "unit_id", "namespace", "group_id", "granularity", "speaker", "role", "text", "source_ref", "start", "event_time",
    "zone", "time_source", "content_hash",
]  # fmt: skip


def _leaves(run: Run, bucket: int, day: dt.date, groups: list[str]) -> tuple[pa.Table, np.ndarray]:
    """Turns and sentences of `groups`, in order, and their vectors."""
    turns = pl.DataFrame(turns_of(run, bucket, day, groups)).select(
        pl.col("turn_id").alias("unit_id"), "namespace", pl.col("session_id").alias("group_id"),
        pl.lit("turn").alias("granularity"), "speaker", "role", "text", "source_ref",
        pl.lit(0, pl.Int32).alias("start"), pl.col("said_at").alias("event_time"), "zone", "time_source", "content_hash",
    )  # fmt: skip
    where = of_groups(groups) & (ds.field("granularity") == "sentence")
    units = pl.DataFrame(live_units(run, bucket, until=day, where=where, stage="segment"))
    spans = pl.col("source_spans").list.first()
    sentences = units.sort("document_id", "ordinal").select(
        "unit_id", "namespace", pl.col("document_id").alias("group_id"), "granularity",
        pl.lit(None, pl.String).alias("speaker"), pl.lit(None, pl.String).alias("role"), "text",
        spans.struct.field("ref").alias("source_ref"), spans.struct.field("start").alias("start"), "event_time",
        "zone", "time_source", "content_hash",
    )  # fmt: skip
    leaves = pl.concat([turns, sentences]).select(LEAF_COLUMNS).to_arrow()
    leaves = leaves.cast(_plain(leaves.schema))
    return leaves, run.vectors().get(leaves["content_hash"])


def _plain(schema: pa.Schema) -> pa.Schema:
    """Polars gives large strings; the rest of Engraph uses plain ones."""
    return pa.schema([f.with_type(pa.string()) if pa.types.is_large_string(f.type) else f for f in schema])


def _drafts(found: Extraction, given: GivenExtraction, leaves: pa.Table, count_tokens: CountTokens) -> pa.Table:
    """Extracted units with ids that do not move when their session grows: facts are numbered within their leaf."""
    is_turn = dict(
        zip(leaves["group_id"].to_pylist(), pc.equal(leaves["granularity"], "turn").to_pylist(), strict=True)
    )
    namespace = dict(zip(leaves["group_id"].to_pylist(), leaves["namespace"].to_pylist(), strict=True))
    columns = zip(*(leaves[c].to_pylist() for c in ("unit_id", "group_id", "event_time", "time_source")), strict=True)
    times: dict[str, tuple] = {}
    for unit_id, group, *time in columns:
        times[unit_id] = tuple(time)
        times.setdefault(group, tuple(time))
    facts: dict[str, int] = {}
    rows, ordinals = [], Counter[tuple[str, str]]()
    for row in without_replaced(found.units.to_pylist(), given):
        number = None
        if row["granularity"] == "fact":
            number = facts[row["parent_id"]] = facts.get(row["parent_id"], 0) + 1
        ordinals[row["group_id"], row["granularity"]] = row["number"]
        leaf_time, time_source = times[row["parent_id"]]
        row |= {
            "unit_id": derived_id(row["parent_id"], row["granularity"], number),
            "ordinal": row.pop("number") - 1,
            "time_source": time_source if row["event_time"] == leaf_time or row["granularity"] != "fact" else "text",
            "extractor": EXTRACTOR,
        }
        rows.append(row)
    for row in given.units:
        key = (row["group_id"], row["granularity"])
        rows.append(row | {"ordinal": ordinals[key]})
        ordinals[key] += 1
    for row in rows:
        group = row.pop("group_id")
        row |= {
            "namespace": namespace[group],
            "session_id": group if is_turn[group] else None,
            "document_id": None if is_turn[group] else group,
            "memory_type": "semantic",
        }
    return draft_units(rows, count_tokens)


def _arrived_today(run: Run, bucket: int, day: dt.date, groups: list[str]) -> pa.Table:
    """Leaves that came or changed on `day`: only they bring mentions and triples, the others brought theirs before."""
    where = of_groups(groups) & ds.field("granularity").isin(["turn", "sentence"])
    filesets = run.catalogue.select("memory_units", stage="segment", bucket=bucket, day=day)
    units = run.lake.read("memory_units", filesets, where=where)
    columns = {"unit_id": units["unit_id"], "unit_version": units["version"], "namespace": units["namespace"]}
    return pa.table(columns | {GROUP: group_column(units)})


def _new_mentions(found: Extraction, given: GivenExtraction, leaves: pa.Table, day: dt.date) -> dict[str, pa.Table]:
    fresh = pl.DataFrame(leaves)
    mentions = _all_mentions(found, given).join(fresh, on="unit_id").with_columns(day=pl.lit(day))
    triples = _all_triples(found, given, fresh).with_columns(day=pl.lit(day))
    return {
        "mentions": _with_group("mentions", mentions.with_columns(entity_id=_entity_ids(mentions, "normal"))),
        "triples": _with_group("triples", _triple_rows(triples)),
    }


def _all_mentions(found: Extraction, given: GivenExtraction) -> pl.DataFrame:
    """One row per unit and normal form; where the rules and others name the same, the rules' form and kind stand."""
    own = pl.DataFrame(found.mentions)
    others = pl.DataFrame(given.mentions, schema=own.schema)
    return pl.concat([own, others]).unique(["unit_id", "normal"], keep="first", maintain_order=True)


def _all_triples(found: Extraction, given: GivenExtraction, fresh: pl.DataFrame) -> pl.DataFrame:
    own = pl.DataFrame(found.triples).with_columns(
        triple_id=pl.col("unit_id") + "#triple-" + pl.col("number").cast(pl.String), extractor=pl.lit(EXTRACTOR)
    )
    own = own.drop("number").join(fresh, on="unit_id")
    replaced = [group for group, granularity in given.replaced if granularity == "triple"]
    own = own.filter(~pl.col(GROUP).is_in(replaced))
    columns = [c for c in own.columns if c not in fresh.columns or c == "unit_id"]
    others = pl.DataFrame(given.triples, schema=own.select(columns).schema).join(fresh, on="unit_id")
    return pl.concat([own, others.select(own.columns)])


def _entity_ids(frame: pl.DataFrame, column: str) -> pl.Series:
    ids = [entity_id(namespace, normal) for namespace, normal in frame.select("namespace", column).iter_rows()]
    return pl.Series(ids, dtype=pl.String)


def _triple_rows(triples: pl.DataFrame) -> pl.DataFrame:
    return triples.with_columns(
        subject_id=_entity_ids(triples, "subject"),
        object_id=_entity_ids(triples, "object"),
        valid_to=pl.lit(None, pl.Datetime("us", "UTC")),
    )


def _with_group(name: str, frame: pl.DataFrame) -> pa.Table:
    schema = TABLES[name].schema.append(pa.field(GROUP, pa.string()))
    return frame.select(schema.names).to_arrow().cast(schema)


if __name__ == "__main__":
    from jobs import alone

    raise SystemExit(alone.main("extract"))

"""Units, entities and vectors -> edges.

Structure: part_of and derived_from follow parents, next follows order. Similarity: every new unit against the earlier units of its
granularity and namespace (exact, matrix products in blocks: 2 n m dim flops for n new against m earlier), the nearest `neighbours`
above `min_similarity`. Synonyms: the same between entity names (HippoRAG 2, section 3.2, without its all-pairs cost: only new names
are compared). An edge belongs to its owner, the unit whose arrival made it, and ends with that version of it.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from schemas.tables import TABLES

CREATED_BY = "link@1"
DERIVED = ("summary", "keywords", "fact", "note", "qa")
CHAINED = ("turn", "passage")
LINKED = ("turn", "segment", "session", "passage", "section", "document", "fact", "summary")
BLOCK, PAST = 1024, 16_384
Found = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class LinkParams:
    """Cosine thresholds and degrees of similarity links."""

    neighbours: int = 5
    min_similarity: float = 0.5
    synonyms: int = 10
    min_synonymy: float = 0.8


def _edges(frame: pl.DataFrame, relation: str, day: dt.date) -> pa.Table:
    """Rows of `edges` from source, target, weight, namespace, owner, owner_version."""
    full = frame.with_columns(
        relation=pl.lit(relation),
        created_by=pl.lit(CREATED_BY),
        day=pl.lit(day),
        weight=pl.col("weight").cast(pl.Float32),
        owner_version=pl.col("owner_version").cast(pl.Int32),
    )
    schema = TABLES["edges"].schema
    return full.select(schema.names).to_arrow().cast(schema)


def structure_edges(new: pa.Table, groups: pa.Table, *, day: dt.date) -> pa.Table:
    """part_of, derived_from and next edges of `new` units; `groups` are all current units of the same sessions and documents."""
    units = pl.DataFrame(new)
    owned = units.select(
        pl.col("unit_id").alias("source"), pl.col("parent_id").alias("target"), "namespace", "granularity",
        pl.col("unit_id").alias("owner"), pl.col("version").alias("owner_version"), pl.lit(1.0).alias("weight"),
    ).filter(pl.col("target").is_not_null())  # fmt: skip
    derived = pl.col("granularity").is_in(DERIVED)
    return pa.concat_tables(
        [
            _edges(owned.filter(~derived), "part_of", day),
            _edges(owned.filter(derived), "derived_from", day),
            _edges(_members_of_segments(units, pl.DataFrame(groups)), "part_of", day),
            _edges(_chains(units, pl.DataFrame(groups)), "next", day),
        ]
    )


def _members_of_segments(units: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """Each turn to the new segment that quotes it."""
    refs = pl.col("source_spans").list.eval(pl.element().struct.field("ref"))
    segments = units.filter(pl.col("granularity") == "segment").select(
        "namespace", "session_id", pl.col("unit_id").alias("target"), pl.col("version").alias("owner_version"),
        refs.alias("ref"),
    ).explode("ref")  # fmt: skip
    turns = groups.filter(pl.col("granularity") == "turn").select(
        "session_id", pl.col("unit_id").alias("source"), refs.list.first().alias("ref")
    )
    joined = segments.join(turns, on=["session_id", "ref"])
    return joined.with_columns(owner=pl.col("target"), weight=pl.lit(1.0)).sort("target", "source")


def _chains(units: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """From each unit to the next of its granularity in the session or document, where the later one is new."""
    group = pl.coalesce("session_id", "document_id").alias("group_id")
    ordered = (
        groups.filter(pl.col("granularity").is_in(CHAINED))
        .with_columns(group)
        .sort("group_id", "granularity", "ordinal")
        .with_columns(pl.col("unit_id").shift(1).over("group_id", "granularity").alias("source"))
        .filter(pl.col("source").is_not_null())
    )
    fresh = units.select("unit_id", "version")
    return ordered.join(fresh, on=["unit_id", "version"]).sort("unit_id").select(
        "source", pl.col("unit_id").alias("target"), "namespace", pl.col("unit_id").alias("owner"),
        pl.col("version").alias("owner_version"), pl.lit(1.0).alias("weight"),
    )  # fmt: skip


def mention_edges(mentions: pa.Table, *, day: dt.date) -> pa.Table:
    """From each unit to the entities it mentions, weighted by how often."""
    frame = pl.DataFrame(mentions).select(
        pl.col("unit_id").alias("source"), pl.col("entity_id").alias("target"), "namespace",
        pl.col("unit_id").alias("owner"), pl.col("unit_version").alias("owner_version"), pl.col("count").alias("weight"),
    )  # fmt: skip
    return _edges(frame, "mentions", day)


def nearest_earlier(
    vectors: np.ndarray, new: np.ndarray, k: int, floor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For rows `new` of unit-norm `vectors` [n, dim] in time order, the `k` most similar rows before each, if >= `floor`.

    Returns (row, earlier row, cosine), by row, best first. Ties go to the earlier row; cosines are rounded to 1e-6, because
    equal texts get slightly different ones where BLAS multiplies them in different blocks. Memory: a few `BLOCK` x `PAST` arrays.
    """
    out = [_nearest_of(vectors, new[start : start + BLOCK], k, floor) for start in range(0, len(new), BLOCK)]
    if not out:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    rows, earlier, cosines = (np.concatenate(parts) for parts in zip(*out, strict=True))
    return rows, earlier, cosines


def _nearest_of(vectors: np.ndarray, rows: np.ndarray, k: int, floor: float) -> Found:
    """`nearest_earlier` for one block of rows, keeping the k best of each while the past goes by."""
    best: Found = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    end = int(rows.max())
    for start in range(0, end, PAST):
        past = np.arange(start, min(start + PAST, end))
        scores = np.round(vectors[rows] @ vectors[past[0] : past[-1] + 1].T, 6)
        scores[past[None, :] >= rows[:, None]] = -np.inf
        width = min(k, len(past))
        least = np.partition(scores, len(past) - width, axis=1)[:, len(past) - width]
        at, to = np.nonzero(scores >= np.maximum(least, floor)[:, None])
        found = (rows[at], past[to], scores[at, to])
        best = _best_of_each(*(np.concatenate(pair) for pair in zip(best, found, strict=True)), k=k)
    return best


def _best_of_each(rows: np.ndarray, earlier: np.ndarray, cosines: np.ndarray, *, k: int) -> Found:
    """The k highest cosines of each row, best first, ties to the earlier one."""
    order = np.lexsort((earlier, -cosines, rows))
    rows, earlier, cosines = rows[order], earlier[order], cosines[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    return rows[place < k], earlier[place < k], cosines[place < k]


def similar_edges(
    units: pa.Table, vectors: np.ndarray, is_new: np.ndarray, params: LinkParams, *, day: dt.date
) -> pa.Table:
    """Each new unit to its nearest earlier units of one namespace and granularity; rows are in time order."""
    later, earlier, weight = nearest_earlier(vectors, np.flatnonzero(is_new), params.neighbours, params.min_similarity)
    return _pairs(units["unit_id"], units["version"], units["namespace"], later, earlier, weight, "similar", day)


def synonym_edges(
    entities: pa.Table, vectors: np.ndarray, is_new: np.ndarray, params: LinkParams, *, day: dt.date
) -> pa.Table:
    """Each new entity to earlier entities of one namespace whose names mean nearly the same."""
    later, earlier, weight = nearest_earlier(vectors, np.flatnonzero(is_new), params.synonyms, params.min_synonymy)
    versions = pa.array(np.ones(entities.num_rows, np.int32))
    return _pairs(entities["entity_id"], versions, entities["namespace"], later, earlier, weight, "synonym", day)


def _pairs(ids, versions, namespaces, later, earlier, weight, relation: str, day: dt.date) -> pa.Table:
    at, to = pa.array(later), pa.array(earlier)
    frame = pl.DataFrame(
        {
            "source": pl.Series(ids.take(at)),
            "target": pl.Series(ids.take(to)),
            "weight": np.clip(weight, -1.0, 1.0),
            "namespace": pl.Series(namespaces.take(at)),
            "owner": pl.Series(ids.take(at)),
            "owner_version": pl.Series(versions.take(at)),
        }
    )
    return _edges(frame, relation, day)

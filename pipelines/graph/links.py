"""Units, entities and vectors -> edges.

Structure: part_of and derived_from follow parents, next follows order. Similarity (MemGAS): every new unit against the nearest
`candidates` units of its granularity in earlier sessions or documents of its namespace; a mixture decides which of them it is
associated with (`association`), of those at least `min_similarity` alike the `most` nearest get an edge. MemGAS pools all
granularities; here a turn lies in a round, a segment and a session, so that pooled neighbours would be one text many times over.
Synonyms: the same between entity names (HippoRAG 2, section 3.2), by threshold: only new names are compared. Both look for
neighbours as `nearest` does, never at all pairs of a large namespace. An edge belongs to its owner, the unit whose arrival made it,
and ends with that version of it.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa

from pipelines.graph.association import AssociationParams, associate
from pipelines.graph.nearest import nearest_earlier
from schemas.tables import TABLES

VERSION = 2
CREATED_BY = f"link@{VERSION}"
DERIVED = ("summary", "keywords", "fact", "note", "qa")
CHAINED = ("turn", "passage")
LINKED = ("turn", "segment", "session", "passage", "section", "document", "fact", "summary")


@dataclass(frozen=True)
class LinkParams:
    """Cosine thresholds and degrees of similarity links."""

    candidates: int = 30
    most: int = 12
    min_similarity: float = 0.5
    association: AssociationParams = field(default_factory=AssociationParams)
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


def similar_edges(
    units: pa.Table,
    vectors: np.ndarray,
    is_new: np.ndarray,
    params: LinkParams,
    *,
    day: dt.date,
    groups: np.ndarray | None = None,
) -> pa.Table:
    """Each new unit to the earlier units of one namespace and granularity that it is associated with; rows are in time order.
    Units with the same number in `groups` (their session or document) are not compared."""
    new = np.flatnonzero(is_new)
    earlier, cosines = nearest_earlier(vectors, new, params.candidates, groups=groups)
    chosen = associate(cosines, earlier >= 0, params.association) & (cosines >= params.min_similarity)
    chosen &= np.cumsum(chosen, axis=1) <= params.most
    at, place = np.nonzero(chosen)
    found = new[at], earlier[at, place], cosines[at, place]
    return _pairs(units["unit_id"], units["version"], units["namespace"], *found, "similar", day)


def synonym_edges(
    entities: pa.Table, vectors: np.ndarray, is_new: np.ndarray, params: LinkParams, *, day: dt.date
) -> pa.Table:
    """Each new entity to earlier entities of one namespace whose names mean nearly the same."""
    new = np.flatnonzero(is_new)
    earlier, cosines = nearest_earlier(vectors, new, params.synonyms, params.min_synonymy)
    at, place = np.nonzero(earlier >= 0)
    found = new[at], earlier[at, place], cosines[at, place]
    versions = pa.array(np.ones(entities.num_rows, np.int32))
    return _pairs(entities["entity_id"], versions, entities["namespace"], *found, "synonym", day)


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

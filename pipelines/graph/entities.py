"""Mentions -> entities. Two mentions are one entity when their normal forms are equal inside a namespace.

That rule needs no order and no model, so that any number of nights gives the same entities; spellings that only mean the same
(Mel, Melanie) become `synonym` edges instead of one entity. The name is the surface form most frequent on the first day, so an
entity is embedded once. Linear in the mentions.
"""

from __future__ import annotations

import datetime as dt

import polars as pl
import pyarrow as pa

from schemas.ids import content_hash
from schemas.tables import TABLES

RULES = "rules@"  # how the extractors begin whose triples are co-occurrences


def entity_id(namespace: str, normal: str) -> str:
    """`conv-26` + `caroline` -> `conv-26/entity:caroline`."""
    return f"{namespace}/entity:{normal}"


def triple_texts(triples: pa.Table) -> list[str]:
    """What is embedded of each triple (subject_id, predicate, object_id): the normal forms and the words between."""
    normal = [pl.col(end).str.replace("^.*?/entity:", "") for end in ("subject_id", "object_id")]
    return (
        pl.DataFrame(triples)
        .select(pl.concat_str(normal[0], "predicate", normal[1], separator=" "))
        .to_series()
        .to_list()
    )


def resolve_entities(mentions: pa.Table, known: pa.Table, counted: pa.Table | None = None, *, day: dt.date) -> pa.Table:
    """Entities that `mentions` (of one day) introduce or change, given the `known` ones (newest row of each).

    df counts leaf units, each once: `counted` (unit_id, entity_id) are pairs that an earlier version of a unit brought. It does not
    fall when a later version no longer mentions the entity.
    """
    if not mentions.num_rows:
        return TABLES["entities"].empty()
    seen = pl.DataFrame(mentions)
    forms = (
        seen.group_by("entity_id", "namespace", "surface")
        .agg(pl.col("count").sum())
        .sort("entity_id", "count", "surface", descending=[False, True, False])
        .group_by("entity_id", "namespace", maintain_order=True)
        .agg(pl.col("surface").first().alias("name"), pl.col("surface").alias("forms"))
    )
    kinds = (
        seen.group_by("entity_id", "kind").len().sort("entity_id", "len", "kind", descending=[False, True, False])
    ).unique("entity_id", keep="first", maintain_order=True)
    again = pl.DataFrame(counted) if counted is not None else seen.clear()
    fresh = seen.join(again.select("unit_id", "entity_id"), on=["unit_id", "entity_id"], how="anti")
    counts = fresh.group_by("entity_id").agg(pl.len().cast(pl.Int32).alias("today"))
    old = pl.DataFrame(known).select(
        "entity_id", pl.col("name").alias("old_name"), pl.col("kind").alias("old_kind"), "aliases", "df"
    )
    rows = (
        forms.join(kinds.select("entity_id", "kind"), on="entity_id")
        .join(counts, on="entity_id", how="left")
        .join(old, on="entity_id", how="left")
        .sort("entity_id")
    )
    return TABLES["entities"].from_rows([_entity(row, day) for row in rows.iter_rows(named=True)])


def _entity(row: dict, day: dt.date) -> dict:
    name = row["old_name"] or row["name"]
    return {
        "entity_id": row["entity_id"],
        "namespace": row["namespace"],
        "name": name,
        "kind": row["old_kind"] or row["kind"],
        "aliases": sorted((set(row["aliases"] or []) | set(row["forms"])) - {name}),
        "df": (row["df"] or 0) + (row["today"] or 0),
        "content_hash": content_hash(name),
        "day": day,
    }

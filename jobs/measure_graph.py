"""Measure the graph of the newest snapshot: how it hangs together, which entities are hubs, whether their counts are right.

A graph whose units all hang on a few hubs recalls everything for every question; one that falls apart recalls nothing across
sessions. `python -m jobs.measure_graph --store DIR [--profile cluster]`; on Spark counts and components are DataFrame algebra.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pyarrow.compute as pc

from jobs.engines.profile import Engines, engines_of
from jobs.store import snapshots
from jobs.store.lake import Lake
from pipelines.graph.components import connected_components
from schemas.errors import StoreError
from schemas.manifest import Catalogue
from schemas.settings import load_settings

STAGE = "measure_graph"
HUBS = 10


def measure_graph(lake: Lake, catalogue: Catalogue, engines: Engines) -> dict:
    """Nodes, edges by relation, components with the share of the largest, entities mentioned most, and wrong counts."""
    edges = lake.read("edges", catalogue.select("edges"), columns=["relation"])
    relations = {c["values"]: c["counts"] for c in pc.value_counts(edges["relation"].combine_chunks()).to_pylist()}
    components, frequency = _tables(lake, catalogue, engines)
    sizes = components.group_by("component").len().sort("len", descending=True)
    known = pl.DataFrame(lake.read("entities", catalogue.select("entities"), columns=["entity_id", "df", "day"]))
    newest = known.sort("day").unique("entity_id", keep="last")
    wrong = newest.join(frequency, on="entity_id", how="full", suffix="_counted")
    wrong = wrong.filter(pl.col("df").fill_null(0) != pl.col("df_counted").fill_null(0))
    hubs = frequency.sort("df", "entity_id", descending=[True, False]).head(HUBS)
    return {
        "engine": engines.of(STAGE).name,
        "nodes": components.height,
        "edges": {name: relations[name] for name in sorted(relations)},
        "components": sizes.height,
        "largest_share": sizes["len"][0] / components.height if components.height else 0.0,
        "hubs": dict(hubs.iter_rows()),
        "wrong_document_frequencies": wrong.height,
    }


def _tables(lake: Lake, catalogue: Catalogue, engines: Engines) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(node, component) of all edges and (entity_id, df) of all mentions."""
    edges, mentions = catalogue.select("edges"), catalogue.select("mentions")
    engine = engines.of(STAGE)
    if engine.joins:
        from jobs.engines import spark_tables
        from jobs.engines.spark_sql import SparkEngine

        assert isinstance(engine, SparkEngine)
        links = engine.table(lake, "edges", edges, ["source", "target"])
        counted = spark_tables.document_frequency(engine.table(lake, "mentions", mentions, ["unit_id", "entity_id"]))
        return pl.DataFrame(spark_tables.connected_components(links).toArrow()), pl.DataFrame(counted.toArrow())
    found = connected_components(lake.read("edges", edges, columns=["source", "target"]))
    pairs = pl.DataFrame(lake.read("mentions", mentions, columns=["unit_id", "entity_id"])).unique()
    return pl.DataFrame(found), pairs.group_by("entity_id").agg(pl.len().cast(pl.Int32).alias("df"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure alone: `python -m jobs.measure_graph --store DIR`."""
    from jobs import alone

    given = alone.parser_of("Measure the graph of the newest snapshot: components, hubs, counts.").parse_args(arguments)

    def job() -> dict:
        settings = load_settings(given.store, given.config)
        lake = Lake(settings.store)
        snapshots.open_store(lake)
        snapshot = snapshots.current(lake)
        if snapshot is None:
            raise StoreError(f"the store at {lake.url} has no snapshot yet: run `engraph ingest SOURCE`")
        with engines_of(given.profile, settings) as engines:
            return measure_graph(lake, snapshot.catalogue(), engines)

    return alone.told(job)


if __name__ == "__main__":
    raise SystemExit(main())

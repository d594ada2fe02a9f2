"""What needs a shuffle, on Spark: near-duplicates, connected components, document frequencies, distinct texts.

For scopes that no single machine holds. Rows go through the pure functions of `pipelines.graph` in Arrow batches (mapInArrow), so
the outcome is theirs, row for row; only grouping and joining are Spark's. Components: alternating large-star and small-star
(Kiveris et al., Connected Components in MapReduce and Beyond, SoCC 2014), O(log^2 n) rounds, each two joins.

The one thing to know: what is used twice is cut from its lineage (`_kept`), which runs it at once, so `near_duplicates` and
`connected_components` are not lazy. Workers need this package and the driver's Python (PYSPARK_PYTHON=sys.executable).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, DoubleType, LongType, StructField, StructType

from pipelines.graph import components
from pipelines.graph.near_duplicates import (
    COMPARED,
    CREATED_BY,
    ORDER,
    RELATION,
    SCOPE,
    NearDuplicateParams,
    band_keys,
    jaccard,
    shingle_sets,
    signatures,
)
from schemas.tables import TABLES

TEXT = (*SCOPE, "content_hash")
# 5 million edges are 0.3 GB in the driver, under its default heap of 1 GB, and take scipy 12 s and 1.7 GB;
# 100,000 take it 0.08 s and Spark 16 s (two cores).
COMPONENTS_ON_SPARK_FROM = 5_000_000


def near_duplicates(units_df: DataFrame, params: NearDuplicateParams) -> DataFrame:
    """Rows of `edges`, as `near_duplicate_edges` gives them for each day, in no order; `day` is that of the newer unit.

    `units_df`: unit_id, version, namespace, granularity, text, content_hash, event_time, day of all units that stand.
    """
    units = units_df.where(F.col("granularity").isin(*COMPARED)).withColumn("at", F.struct(*ORDER))
    texts = units.groupBy(*TEXT).agg(F.min("at").alias("at"), F.first("text").alias("text"))
    schema = _with(texts, "keys", ArrayType(LongType()))
    keyed = _kept(texts.mapInArrow(lambda batches: _keyed(batches, params), schema))
    near = _earliest(keyed, params)
    decided = keyed.join(near, list(TEXT), "left").select(
        *TEXT, F.coalesce("earlier", "at")["unit_id"].alias("target"), F.coalesce("weight", F.lit(1.0)).alias("weight")
    )
    edges = units.join(decided, list(TEXT)).where("target != unit_id").select(
        F.col("unit_id").alias("source"), "target", F.lit(RELATION).alias("relation"), F.col("weight").cast("float"),
        "namespace", F.lit(CREATED_BY).alias("created_by"), F.col("unit_id").alias("owner"),
        F.col("version").cast("int").alias("owner_version"), "day",
    )  # fmt: skip
    return edges.select(TABLES["edges"].schema.names)


def _earliest(keyed: DataFrame, params: NearDuplicateParams) -> DataFrame:
    """The earliest near-duplicate of each text that has one: namespace, granularity, content_hash, earlier (its place), weight."""
    buckets = keyed.select(*TEXT, "at", F.posexplode("keys").alias("band", "key"))
    bucket = [*SCOPE, "band", "key"]
    first = Window.partitionBy(*bucket).orderBy("at")
    heads = buckets.withColumn("place", F.row_number().over(first)).where(F.col("place") <= params.offered)
    heads = heads.select(*bucket, F.col("content_hash").alias("earlier_hash"), F.col("at").alias("earlier"))
    pairs = buckets.join(heads, bucket).where("earlier < at").select(*TEXT, "earlier_hash", "earlier").distinct()
    earlier = keyed.select(*SCOPE, F.col("content_hash").alias("earlier_hash"), F.col("text").alias("earlier_text"))
    both = pairs.join(keyed.select(*TEXT, "text"), list(TEXT)).join(earlier, [*SCOPE, "earlier_hash"])
    schema = _with(both, "weight", DoubleType())
    weighed = both.mapInArrow(lambda batches: _weighed(batches, params), schema).where(
        F.col("weight") >= params.threshold
    )
    return weighed.groupBy(*TEXT).agg(F.min("earlier").alias("earlier"), F.min_by("weight", "earlier").alias("weight"))


def _with(frame: DataFrame, name: str, type_: DataType) -> StructType:
    """The schema of `frame` with one more column; `StructType.add` would change the frame's own."""
    return StructType([*frame.schema, StructField(name, type_)])


def _keyed(batches: Iterator[pa.RecordBatch], params: NearDuplicateParams) -> Iterator[pa.RecordBatch]:
    """The texts that take part, with their `bands` keys."""
    for batch in batches:
        sets = shingle_sets(batch["text"].to_pylist(), params)
        keys = band_keys(signatures(sets, params), params).view(np.int64)
        ends = pa.array(np.arange(len(keys) + 1, dtype=np.int32) * params.bands)
        keyed = batch.append_column("keys", pa.ListArray.from_arrays(ends, pa.array(keys.ravel())))
        yield keyed.filter(pa.array(sets.sizes() >= params.min_shingles))


def _weighed(batches: Iterator[pa.RecordBatch], params: NearDuplicateParams) -> Iterator[pa.RecordBatch]:
    """Pairs of texts with their Jaccard coefficient."""
    for batch in batches:
        sets = shingle_sets(batch["text"].to_pylist() + batch["earlier_text"].to_pylist(), params)
        left = np.arange(batch.num_rows)
        yield batch.append_column("weight", pa.array(jaccard(sets, left, left + batch.num_rows)))


def connected_components(edges_df: DataFrame, spark_from: int = COMPONENTS_ON_SPARK_FROM) -> DataFrame:
    """(source, target, ...) -> (node, component) as `pipelines.graph.components` has them, in no order.

    Below `spark_from` edges they come to the driver and go through that function itself.
    """
    edges = _kept(edges_df.select("source", "target"))
    if edges.count() < spark_from:
        return edges.sparkSession.createDataFrame(components.connected_components(edges.toArrow()))
    nodes = edges.select(F.explode(F.array("source", "target")).alias("node")).distinct()
    stars = _stars(edges.where("source != target"))
    return nodes.join(stars, "node", "left").select("node", F.coalesce("low", "node").alias("component"))


def _stars(edges: DataFrame) -> DataFrame:
    """(node, low) for each node but the smallest of its component, which is `low`."""
    links = edges.select(
        F.greatest("source", "target").alias("node"), F.least("source", "target").alias("low")
    ).distinct()
    # Two sets of links with one size and one sum of hashes are the same, but for a chance of 2^-64.
    state = (F.count("*"), F.bit_xor(F.xxhash64("node", "low")))
    before, after = None, links.agg(*state).first()
    while before != after:
        links = _kept(_small_star(_large_star(links)))
        before, after = after, links.agg(*state).first()
    return links


def _large_star(links: DataFrame) -> DataFrame:
    """Every node's higher neighbours go to the lowest of it and its neighbours. `links`: (node, low), low < node, distinct."""
    lowest = links.groupBy(F.col("node").alias("low")).agg(F.min("low").alias("lowest"))
    return links.join(lowest, "low", "left").select("node", F.coalesce("lowest", "low").alias("low")).distinct()


def _small_star(links: DataFrame) -> DataFrame:
    """Every node and its lower neighbours go to the lowest of these."""
    lowest = links.groupBy("node").agg(F.min("low").alias("lowest"))
    others = links.join(lowest, "node").where("low != lowest").select(F.col("low").alias("node"), "lowest")
    return lowest.union(others).distinct().withColumnRenamed("lowest", "low")


def document_frequency(mentions_df: DataFrame) -> DataFrame:
    """(unit_id, entity_id, ...) -> (entity_id, df int): in how many distinct units an entity is mentioned."""
    return mentions_df.groupBy("entity_id").agg(F.count_distinct("unit_id").cast("int").alias("df"))


def distinct_texts(texts_df: DataFrame, held_df: DataFrame) -> DataFrame:
    """(content_hash, text, ...) -> (content_hash, text), one row for each hash that is not in `held_df` (content_hash, ...)."""
    missing = texts_df.join(held_df.select("content_hash"), "content_hash", "left_anti")
    return missing.select("content_hash", "text").dropDuplicates(["content_hash"])


def _kept(frame: DataFrame) -> DataFrame:
    """`frame` computed and cut from its lineage: kept in the checkpoint folder where there is one, else by the executors.

    Only the folder survives the loss of an executor: set one (SparkContext.setCheckpointDir) on a cluster.
    """
    if frame.sparkSession.sparkContext.getCheckpointDir():
        return frame.checkpoint()
    return frame.localCheckpoint()

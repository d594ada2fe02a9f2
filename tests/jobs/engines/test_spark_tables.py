"""Spark gives the rows of the pure functions: near-duplicates, components, document frequencies, distinct texts."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from jobs.engines import spark_tables
from pipelines.graph import components
from pipelines.graph.near_duplicates import NearDuplicateParams, near_duplicate_edges
from schemas.ids import content_hash
from schemas.tables import TABLES

DAY = dt.date(2026, 3, 1)
COLUMNS = ["unit_id", "version", "namespace", "granularity", "text", "content_hash", "event_time", "day"]
UNITS = pa.schema([TABLES["memory_units"].schema.field(name) for name in COLUMNS])
EDGES = pa.schema([("source", pa.string()), ("target", pa.string())])


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    """One session for this file, with settings of its own where another file's session still runs."""
    os.environ["PYSPARK_PYTHON"] = sys.executable  # or workers take the first python3 in PATH
    running = SparkSession.getActiveSession()
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    session = running.newSession() if running else builder.getOrCreate()
    session.conf.set("spark.sql.shuffle.partitions", "2")
    session.conf.set("spark.sql.session.timeZone", "UTC")
    session.conf.set("spark.sql.execution.arrow.pyspark.enabled", "true")
    session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "64")  # several batches in a few hundred rows
    session.sparkContext.setLogLevel("ERROR")
    yield session
    if running is None:
        session.stop()


def rows_of(frame: DataFrame) -> list[tuple]:
    return sorted(tuple(row.values()) for row in frame.toArrow().to_pylist())


def letters(n: int) -> list[dict]:
    """Units of two namespaces and three granularities on three days: letters of a few forms, copies, variants, short talk."""
    rng = np.random.default_rng(11)
    vocabulary = [f"w{i}" for i in range(400)]
    forms = [" ".join(rng.choice(vocabulary, 50)) for _ in range(8)] + ["Thanks, see you tomorrow!"]
    rows = []
    for i in range(n):
        words = forms[rng.integers(len(forms))].split()
        for _ in range(rng.integers(0, 3)):
            words[rng.choice([0, -1, len(words) // 2])] = rng.choice(vocabulary[:6])
        text = " ".join(words)
        row = {"unit_id": f"u{rng.integers(10**9):09}", "version": int(rng.integers(1, 3)), "text": text}
        row |= {"namespace": str(rng.choice(["n", "m"])), "granularity": str(rng.choice(["turn", "passage", "fact"]))}
        row |= {"content_hash": content_hash(text), "day": DAY + dt.timedelta(days=int(rng.integers(3)))}
        rows.append(row | {"event_time": dt.datetime(2026, 2, 1, int(rng.integers(4)), i % 2, tzinfo=dt.UTC)})
    return rows


def test_near_duplicates_are_those_of_the_pure_function_day_by_day(spark):
    units, params = pa.Table.from_pylist(letters(400), schema=UNITS), NearDuplicateParams(bands=2, rows=1, offered=2)
    columns = list(zip(TABLES["edges"].schema.names, TABLES["edges"].schema.types, strict=True))
    days = [DAY + dt.timedelta(days=i) for i in range(3)]
    arrived = np.array(units["day"].to_pylist())
    nights = [
        near_duplicate_edges(units.filter(pa.array(arrived <= day)), (arrived == day)[arrived <= day], params, day=day)
        for day in days
    ]
    expected = sorted(tuple(row.values()) for night in nights for row in night.to_pylist())
    widely = near_duplicate_edges(units, np.ones(400, bool), NearDuplicateParams(bands=2, rows=1), day=DAY)
    assert widely.num_rows > len(expected) > 100  # so few texts are offered that it shows
    found = spark_tables.near_duplicates(spark.createDataFrame(units), params).toArrow()
    assert sorted(tuple(row.values()) for row in found.to_pylist()) == expected
    assert list(zip(found.schema.names, found.schema.types, strict=True)) == columns
    assert 0.9 <= min(row[3] for row in expected) < 1.0


def tangle() -> pa.Table:
    """A chain, two stars that touch, small trees and rings; both directions, repetitions, a node alone."""
    rng = np.random.default_rng(5)
    edges = list(pairwise(f"c{i:02}" for i in rng.permutation(20)))
    edges += [("s1", f"leaf{i}") for i in range(30)] + [(f"leaf{i}", "s0") for i in range(29, 50)]
    edges += [(f"r{a}", f"r{b}") for a, b in rng.integers(0, 200, (120, 2))]
    edges += [*edges[:9], ("alone", "alone")]
    return pa.table({"source": [a for a, _ in edges], "target": [b for _, b in edges]}, schema=EDGES)


@pytest.mark.parametrize("spark_from", [0, 1_000])
def test_components_are_those_of_one_machine(spark, spark_from):
    expected = sorted(tuple(row.values()) for row in components.connected_components(tangle()).to_pylist())
    assert len({component for _, component in expected}) > 20
    assert rows_of(spark_tables.connected_components(spark.createDataFrame(tangle()), spark_from)) == expected


def test_no_edges_have_no_components(spark):
    assert rows_of(spark_tables.connected_components(spark.createDataFrame(EDGES.empty_table()), 0)) == []


def test_components_go_through_the_checkpoint_folder_where_one_is_set(spark, tmp_path):
    spark.sparkContext.setCheckpointDir(str(tmp_path))
    edges = spark.createDataFrame([("b", "a"), ("c", "b")], ["source", "target"])
    assert rows_of(spark_tables.connected_components(edges, 0)) == [("a", "a"), ("b", "a"), ("c", "a")]
    assert any(tmp_path.rglob("part-*"))


def test_document_frequency_counts_a_unit_once(spark):
    mentions = [("u1", "x", 1), ("u1", "x", 2), ("u2", "x", 1), ("u2", "y", 1)]
    frame = spark.createDataFrame(mentions, ["unit_id", "entity_id", "unit_version"])
    found = spark_tables.document_frequency(frame)
    assert rows_of(found) == [("x", 2), ("y", 1)]
    assert found.toArrow().schema.field("df").type == TABLES["entities"].schema.field("df").type


def test_distinct_texts_are_one_of_each_hash_that_is_not_held(spark):
    texts = spark.createDataFrame(
        [(t, content_hash(t), i) for i, t in enumerate("abbca")], ["text", "content_hash", "at"]
    )
    held = spark.createDataFrame(
        [(content_hash("b"), "encoder"), (content_hash("z"), "encoder")], ["content_hash", "by"]
    )
    assert rows_of(spark_tables.distinct_texts(texts, held)) == sorted((content_hash(t), t) for t in "ac")

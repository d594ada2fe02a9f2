"""A namespace larger than a machine is taken apart by Spark's shuffles and joins: the rows are those of one call."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import shutil

import pytest

pytest.importorskip("pyspark", reason="the profile cluster is not set up: make setup-cluster")

from jobs import find_near_duplicates, measure_graph, resolve_entities
from jobs.engines.partitions import Group, ShardMaker, Work
from jobs.engines.profile import Engines
from jobs.engines.spark_session import java_version
from jobs.engines.spark_sql import SparkEngine
from jobs.run import start_run
from jobs.stages import NEAR_DUPLICATES
from jobs.store import snapshots
from jobs.store.lake import Lake
from schemas.settings import SparkSettings

pytestmark = pytest.mark.skipif(java_version() is None, reason="no Java: make setup-cluster")
SECOND_DAY = dt.date(2026, 1, 6)


@pytest.fixture(scope="module")
def engine():
    with SparkEngine(SparkSettings(master="local[2]", shuffle_partitions=4)) as started:
        yield started


@pytest.fixture(scope="module")
def grown(built, tmp_path_factory, ingest, say):
    """A second day: an edited message brings known mentions again, copies of long messages bring near-duplicates."""
    folder = tmp_path_factory.mktemp("grown")
    shutil.copytree(built[1], folder / "store")
    long = "We met the whole crew at the harbour in Lisbon and Carla explained how the old cello came to Grenoble by boat {}."
    rows = say("ann", "s9", range(6), day="2026-01-06")
    for n, row in enumerate(rows):
        row["text"] = long.format("last spring" if n % 2 else "last winter") + " " + long.format("again")
    edited = say("ann", "s1", range(4), day="2026-01-01")
    edited[1]["text"] += " Carla told me so in Lisbon."
    (folder / "more.jsonl").write_text("\n".join(json.dumps(row) for row in rows + edited))
    ingest(folder / "more.jsonl", store=folder / "store", day=SECOND_DAY.isoformat())
    lake = Lake(folder / "store")
    return lake, snapshots.current(lake)


def start(grown):
    lake, snapshot = grown
    info = snapshots.open_store(lake)
    return start_run(lake, info, snapshot, now=snapshot.created_at, encoder=None, engines=Engines())


def partitions(run, job):
    buckets = {f.bucket for f in run.catalogue.select("turns", day=SECOND_DAY)}
    for bucket in sorted(buckets):
        if job is resolve_entities:
            yield job._partition(run, SECOND_DAY, bucket)
        else:
            yield job._partition(run, SECOND_DAY, bucket, NEAR_DUPLICATES)


@pytest.mark.parametrize(("job", "table"), [(resolve_entities, "entities"), (find_near_duplicates, "edges")])
def test_a_namespace_taken_apart_gives_the_rows_of_one_call(job, table, grown, engine):
    rows = 0
    for partition in partitions(start(grown), job):
        namespaces = [group.id for group in partition.plan()]
        whole, joined = partition.compute(namespaces)[table], partition.joined(engine, namespaces)[table]
        key = "entity_id" if table == "entities" else "source"
        assert joined.sort_by(key).to_pylist() == whole.sort_by(key).to_pylist()
        rows += whole.num_rows
    assert rows > 3


def test_large_shards_take_the_way_of_joins_and_small_ones_do_not(grown, engine):
    run = start(grown)
    (partition, *_) = partitions(run, resolve_entities)
    large = dataclasses.replace(partition, joined_from=5)
    maker = ShardMaker(run, [large, partition])
    work = Work(0, 0, 1, (Group("ann", "h", 4), Group("bo", "h", 1)))
    assert maker.is_large(work)
    assert not maker.is_large(dataclasses.replace(work, partition=1))
    assert not maker.is_large(dataclasses.replace(work, groups=work.groups[:1]))


def test_the_graph_measures_the_same_on_spark(grown, engine):
    class OnSpark(Engines):
        def of(self, stage):
            return engine

    lake, snapshot = grown
    here = measure_graph.measure_graph(lake, snapshot.catalogue(), Engines())
    there = measure_graph.measure_graph(lake, snapshot.catalogue(), OnSpark())
    assert here | {"engine": ""} == there | {"engine": ""}
    assert (here["engine"], there["engine"]) == ("local", "spark")
    assert here["edges"]["near_duplicate"] > 0 and here["components"] >= 1

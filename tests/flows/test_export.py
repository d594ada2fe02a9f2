"""Exports of a real store, read back by the libraries they are for; and the lake's own files, read by four engines."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import igraph
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from lxml import etree

import engraph
from pipelines.export import write_graphml


@pytest.fixture(scope="module")
def store(built) -> Path:
    return built[1]


@pytest.fixture(scope="module")
def exported(store, cli, tmp_path_factory):
    """`exported(kind)` -> its folder; each kind is exported once."""
    folder, done = tmp_path_factory.mktemp("exports"), {}

    def of(kind: str) -> Path:
        if kind not in done:
            ran = cli("export", kind, "--store", store, "--out", folder / kind, "--json")
            assert ran.code == 0, ran.err
            assert ran.json["path"] == str(folder / kind) and ran.json["kind"] == kind
            done[kind] = ran.json["rows"]
        assert json.loads((folder / kind / "export.json").read_text())["rows"] == done[kind]
        return folder / kind

    return of


@pytest.fixture(scope="module")
def tables(store):
    with engraph.open(store) as opened:
        names = ("memory_units", "turns", "documents", "entities", "mentions", "triples", "edges", "embeddings")
        yield {name: opened.table(name) for name in names}


def test_delta_tables_hold_what_the_views_show_and_gain_a_version_with_every_export(exported, tables, store, cli):
    deltalake = pytest.importorskip("deltalake")
    folder = exported("delta")
    for name, table in tables.items():
        found = deltalake.DeltaTable(str(folder / name))
        assert found.count() == table.num_rows, name
    units = deltalake.DeltaTable(str(folder / "memory_units"))
    read = units.to_pyarrow_table()
    assert sorted(read["unit_id"].to_pylist()) == sorted(tables["memory_units"]["unit_id"].to_pylist())
    assert read["source_spans"][0].as_py()[0].keys() == {"ref", "start", "end"}
    assert units.metadata().description.startswith("one version of one unit")
    assert units.history()[0]["engraph.snapshot"] == "1"
    before = units.version()
    assert cli("export", "delta", "--store", store, "--out", folder).code == 0
    assert deltalake.DeltaTable(str(folder / "memory_units")).version() == before + 1
    assert deltalake.DeltaTable(str(folder / "memory_units")).count() == tables["memory_units"].num_rows


def test_a_graph_has_every_unit_entity_edge_and_fact(exported, tables):
    folder = exported("graphml")
    nodes, edges = pq.read_table(folder / "nodes.parquet"), pq.read_table(folder / "edges.parquet")
    assert nodes.num_rows == tables["memory_units"].num_rows + tables["entities"].num_rows
    assert edges.num_rows == tables["edges"].num_rows + tables["triples"].num_rows
    graph = igraph.Graph.Read_GraphML(str(folder / "graph.graphml"))
    assert (graph.vcount(), graph.ecount()) == (nodes.num_rows, edges.num_rows) and graph.is_directed()
    boat = graph.vs.find(id="notes/boat.md")
    assert boat["type"] == "document" and boat["label"].startswith("# The boat") and boat["refs"]
    parts = {graph.vs[e.source]["id"] for e in graph.es.select(_target=boat.index, relation="part_of")}
    assert any(part.startswith("notes/boat.md#") for part in parts)
    similar = tables["edges"].filter(pc.equal(tables["edges"]["relation"], "similar"))
    weights = sorted(e["weight"] for e in graph.es.select(relation="similar"))
    assert len(weights) > 5 and np.allclose(weights, sorted(similar["weight"].to_pylist()))


def test_graphml_takes_any_text(tmp_path):
    rows = [
        {"id": "a<&\x00\x0b", "label": 'x\x1b[0m ]]> "q" \U0001f600 \ufffe', "n": None},
        {"id": "b", "label": None, "n": 3},
    ]
    nodes = pl.DataFrame(rows, schema={"id": pl.String, "label": pl.String, "n": pl.Int64}).to_arrow()
    edges = pl.DataFrame({"source": ["a<&\x00\x0b"], "target": ["b"], "at": [dt.date(2026, 1, 2)]}).to_arrow()
    with (tmp_path / "g.graphml").open("wb") as file:
        counts = write_graphml(file, nodes.schema, nodes.to_batches(), edges.schema, edges.to_batches())
    assert counts == (2, 1)
    root = etree.parse(str(tmp_path / "g.graphml")).getroot()
    ids = [n.get("id") for n in root.iter("{*}node")]
    assert ids == ["a<&\ufffd\ufffd", "b"] and root.find(".//{*}edge").get("source") == ids[0]
    assert root.find(".//{*}data").text == 'x\ufffd[0m ]]> "q" \U0001f600 \ufffd'


def test_vectors_are_those_of_the_store_and_say_of_which_encoder(exported, tables, store):
    folder = exported("vectors")
    file = pq.ParquetFile(folder / "vectors.parquet")
    read = file.read()
    metadata = file.schema_arrow.metadata
    assert read.num_rows == tables["memory_units"].num_rows
    assert (
        metadata[b"engraph.dim"] == b"384"
        and metadata[b"engraph.encoder"].decode() in (folder / "README.md").read_text()
    )
    assert str(read.schema.field("vector").type).startswith("fixed_size_list<")
    vectors = np.array(read["vector"].combine_chunks().flatten()).reshape(-1, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    with engraph.open(store) as opened:
        [question] = opened.embed(["Which colour has the hull of the boat?"])
    best = read.slice(int(np.argmax(vectors @ question)), 1).to_pylist()[0]
    assert "hull" in best["text"] and best["source_refs"]
    told = json.loads(best["metadata"])
    assert told["namespace"] == best["namespace"] and told["source_refs"] == best["source_refs"]
    assert dt.datetime.fromisoformat(told["event_time"]) == best["event_time"].replace(microsecond=0)


def test_hugging_face_loads_every_table_of_its_folder(exported, tables, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    folder = exported("hf")
    assert set(datasets.get_dataset_config_names(str(folder))) == {n for n in tables if n != "embeddings"}
    units = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path))
    assert sorted(units["unit_id"]) == sorted(tables["memory_units"]["unit_id"].to_pylist())
    turns = datasets.load_dataset(str(folder), "turns", split="train", cache_dir=str(tmp_path))
    assert turns.num_rows == tables["turns"].num_rows and turns[0]["text"]


def test_an_export_replaces_one_of_its_kind_and_nothing_else(exported, store, cli, tmp_path):
    exported("graphml")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    refused = cli("export", "graphml", "--store", store, "--out", tmp_path / "mine")
    assert refused.code == 2 and "give another folder with --out" in refused.err
    assert [f.name for f in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    for _ in range(2):
        assert cli("export", "graphml", "--store", store, "--out", tmp_path / "graph").code == 0
    assert {f.name for f in tmp_path.iterdir()} == {"mine", "graph"}
    refused = cli("export", "vectors", "--store", store, "--out", tmp_path / "graph")
    assert refused.code == 2 and (tmp_path / "graph" / "graph.graphml").exists()
    unknown = cli("export", "csv", "--store", store, "--out", tmp_path / "csv")
    assert unknown.code == 2 and "delta, graphml, vectors, hf" in unknown.err and not (tmp_path / "csv").exists()


# -- the lake's own files ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lake(store):
    with engraph.open(store) as opened:
        yield opened


def keys(rows: list[dict]) -> list[tuple]:
    """Rows in a form that all engines agree on: text, a time, and what is inside a list of structs."""
    return sorted(
        (
            r["unit_id"],
            r["version"],
            r["text"],
            r["event_time"].replace(tzinfo=None),
            [s["ref"] for s in r["source_spans"]],
        )
        for r in rows
    )


@pytest.fixture(scope="module")
def expected(lake) -> list[tuple]:
    found = keys(lake.table("memory_units").to_pylist())
    assert len(found) > 50
    return found


def test_pyarrow_alone_reads_the_units(lake, expected):
    assert keys(ds.dataset(lake.files("memory_units")).to_table().to_pylist()) == expected


def test_polars_reads_the_units(lake, expected):
    lazy = pl.scan_parquet(lake.files("memory_units"), hive_partitioning=False)
    assert keys(lazy.collect().to_dicts()) == expected
    said = lazy.filter(pl.col("granularity") == "turn").select(pl.len()).collect().item()
    assert said == lake.table("turns").num_rows


def test_pandas_reads_the_units(lake, expected):
    frame = pd.concat([pd.read_parquet(file, partitioning=None) for file in lake.files("memory_units")])
    assert keys(frame.to_dict("records")) == expected


def test_spark_reads_the_units_and_joins_them(lake, expected, spark):
    units = spark.read.parquet(*lake.files("memory_units"))
    assert keys(units.toArrow().to_pylist()) == expected
    mentions = spark.read.parquet(*lake.files("mentions"))
    joined = units.join(mentions, "unit_id").count()
    assert joined == lake.table("mentions").num_rows > 0


@pytest.fixture(scope="module")
def spark():
    pytest.importorskip("pyspark", reason="the cluster profile is not installed: make setup-cluster")
    from jobs.engines.spark_session import java_version
    from jobs.engines.spark_sql import SparkEngine
    from schemas.settings import SparkSettings

    if java_version() is None:
        pytest.skip("Spark needs Java: make setup-cluster")
    with SparkEngine(SparkSettings(master="local[2]", shuffle_partitions=4)) as engine:
        yield engine.spark


def test_tables_of_the_ledger_are_files_too_and_unknown_ones_are_refused(lake):
    runs = pl.read_parquet(lake.files("runs"))
    assert {"read", "segment", "publish"} <= set(runs["stage"])
    with pytest.raises(engraph.EngraphError, match="no table 'unit'"):
        lake.files("unit")

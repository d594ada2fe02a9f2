"""What a bare DuckDB client gets out of a snapshot's file: latencies, recall, bytes, and what writing the file costs an ingest.

A store of made-up units is written (vectors from a .npy file, or planted ones), its file is built by the code that every ingest
runs, and opened read-only by DuckDB alone with two threads. Beside `ann_search` stands the plain scan of all vectors in the same
file. The share of an ingest is measured on a real one: `engraph ingest` of made-up conversations, its ledger asked what the file
took.
"""

from __future__ import annotations

import datetime as dt
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb
import faiss
import numpy as np
import pyarrow as pa

from jobs.benchmarks.ingest import COMMAND
from jobs.benchmarks.made_up import conversation_lines, sentences
from jobs.benchmarks.planted_vectors import planted
from jobs.benchmarks.surroundings import run_python
from jobs.run import Progress
from jobs.store.lake import Lake
from jobs.write_duckdb import build
from pipelines.recall import RecallShard, build_shard
from pipelines.recall.shard import sort_units
from schemas.errors import UsageError
from schemas.ids import content_hash, unit_key
from schemas.manifest import Catalogue, Fileset, Snapshot
from schemas.tables import TABLES

UNITS, ASKED, WARM, K = 100_000, 100, 5, 10
THREADS = 2
TURNS = 2_000  # of the real ingest
NAMESPACE_UNITS = 1_000
GRANULARITIES = ("turn", "round", "segment", "session", "fact", "passage", "section")
DAY, NOW = dt.date(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ENCODER = "made-up@f32"


def measure(
    data: Path | None, limit: int | None, *, progress: Progress = lambda stage, done, total: None
) -> list[dict]:
    """One row a question: p50 and p99 in milliseconds, recall of 10; then the file's bytes, and its share of an ingest's time."""
    with tempfile.TemporaryDirectory(prefix="engraph-bench-") as folder:
        vectors, queries = _vectors(data, limit or UNITS)
        file = Path(folder) / "engraph.duckdb"
        begun = time.perf_counter()
        ids = _build(Path(folder), vectors, file, progress)
        built = time.perf_counter() - begun
        rows = _asked(file, vectors, queries, ids)
        size = file.stat().st_size
        ingest = _share_of_ingest(Path(folder))
        progress("sql", 3, 3)
    rows.append(_row("bytes of the file", mb=round(size / 1e6, 1), detail=f"{size / len(vectors):,.0f} a unit"))
    rows.append(_row("made the tables and the file", seconds=round(built, 1)))
    rows.append(ingest)
    units = f"{len(vectors):,} units of {vectors.shape[1]} dimensions"
    measured = f"{units} in a bare DuckDB {duckdb.__version__}, {THREADS} threads, warm"
    return [row | {"measured": measured} for row in rows]


def _vectors(data: Path | None, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(unit-norm vectors of units, of questions that are none of them)."""
    if data is None:
        hashes = [content_hash(str(i)) for i in range(n + ASKED)]
        every = planted(hashes)
    else:
        every = np.load(data, mmap_mode="r")
        if every.ndim != 2 or len(every) <= ASKED:
            raise UsageError(f"{data} holds no vectors to measure on: give a .npy file of shape [n, dim], n > {ASKED}")
        every = np.asarray(every[: n + ASKED], np.float32)
        every /= np.linalg.norm(every, axis=1, keepdims=True)
    apart = np.linspace(0, len(every) - 1, ASKED).astype(int)
    return np.delete(every, apart, axis=0), every[apart]


def _build(folder: Path, vectors: np.ndarray, out: Path, progress: Progress) -> list[str]:
    """Build the file of made-up units; their ids in the order of their vectors."""
    lake, catalogue = Lake(folder / "store"), Catalogue()
    units = sort_units(_units(len(vectors)))
    tables = {"memory_units": units, "embeddings": _embeddings(units, vectors), "edges": _edges(units)}
    for name, table in tables.items():
        fileset = Fileset(name, "bench", DAY, 0, "f" * 32)
        shard = lake.write_shard(fileset, 0, 1, table, {})
        lake.write_manifest(fileset, [shard], version=1, params={}, inputs=[])
        catalogue.put(fileset)
    progress("sql", 1, 3)
    build_shard(units, vectors, folder / "shard", encoder=ENCODER)
    snapshot = Snapshot(
        number=1,
        parent=None,
        created_at=NOW,
        run_id="bench",
        encoder=ENCODER,
        identity="",
        filesets={},
        index={"0": "f/shard-0"},
        rows={},
    )
    build(lake, catalogue, [RecallShard(folder / "shard")], snapshot, out)
    progress("sql", 2, 3)
    return units["unit_id"].to_pylist()


def _units(n: int) -> pa.Table:
    texts = sentences(n)
    rows = []
    for i, text in enumerate(texts):
        namespace = f"person-{i // NAMESPACE_UNITS:05d}"
        session = f"{namespace}/session-{i // 20:06d}"
        unit = f"{session}/m{i:07d}"
        rows.append(
            {
                "unit_id": unit,
                "unit_key": unit_key(unit),
                "version": 1,
                "namespace": namespace,
                "granularity": GRANULARITIES[i % len(GRANULARITIES)],
                "memory_type": "episodic",
                "text": text,
                "content_hash": content_hash(f"{i} {text}"),
                "parent_id": session,
                "session_id": session,
                "ordinal": i % 20,
                "source_spans": [{"ref": unit, "start": 0, "end": len(text)}],
                "quotes": True,
                "event_time": NOW + dt.timedelta(minutes=i),
                "time_source": "turn",
                "recorded_at": NOW,
                "extractor": "bench@1",
                "trust": 1.0,
                "n_tokens": len(text.split()),
                "day": DAY,
            }
        )
    return TABLES["memory_units"].from_rows(rows)


def _embeddings(units: pa.Table, vectors: np.ndarray) -> pa.Table:
    n = units.num_rows
    return pa.table(
        {
            "content_hash": units["content_hash"],
            "encoder": pa.array([ENCODER] * n),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
            "n_tokens": units["n_tokens"],
            "n_windows": pa.array(np.ones(n, np.int16)),
        }
    )


def _edges(units: pa.Table) -> pa.Table:
    """Three edges a unit: to the next one and to two of its namespace."""
    ids = units["unit_id"].to_pylist()
    n, random = len(ids), np.random.default_rng(0)
    source = np.tile(np.arange(n), 3)
    target = np.concatenate([np.arange(1, n + 1) % n, *((np.arange(n) + random.integers(2, 500, n)) % n for _ in "ab")])
    relation = np.repeat(["next", "similar", "derived_from"], n)
    return pa.table(
        {
            "source": [ids[i] for i in source],
            "target": [ids[i] for i in target],
            "relation": relation.tolist(),
            "weight": pa.array(random.random(3 * n).astype(np.float32)),
            "namespace": pa.array(units["namespace"].to_pylist() * 3),
            "created_by": pa.array(["bench@1"] * (3 * n)),
            "owner": [ids[i] for i in source],
            "owner_version": pa.array(np.ones(3 * n, np.int32)),
            "day": pa.array([DAY] * (3 * n), pa.date32()),
        }
    )


def _asked(file: Path, vectors: np.ndarray, queries: np.ndarray, ids: list[str]) -> list[dict]:
    con = duckdb.connect(str(file), read_only=True, config={"threads": THREADS})
    con.execute("SET TimeZone = 'UTC'")
    exact = faiss.knn(queries, vectors, K, faiss.METRIC_INNER_PRODUCT)[1]
    truth = [{ids[i] for i in row} for row in exact]
    texts = [row[0] for row in con.execute("SELECT text FROM memory_units USING SAMPLE 105 (reservoir, 1)").fetchall()]
    nodes = [
        row[0] for row in con.execute("SELECT unit_id FROM memory_units USING SAMPLE 105 (reservoir, 2)").fetchall()
    ]
    asked = [q.tolist() for q in queries]
    dim = vectors.shape[1]
    scan = (
        f"SELECT u.unit_id FROM (SELECT unnest(unit_nos) AS unit_no, array_inner_product(vector, ?::FLOAT[{dim}]) AS score "
        f"FROM ann_vectors ORDER BY score DESC LIMIT {K}) JOIN unit_rows u USING (unit_no)"
    )
    return [
        _timed(con, "ann_search", f"SELECT unit_id FROM ann_search(?, {K})", asked, truth),
        _timed(con, "scan of all vectors", scan, asked[:25], truth),
        _timed(con, "lexical_search", f"SELECT unit_id FROM lexical_search(?, {K})", texts),
        _timed(con, "lexical_search in one namespace", f"SELECT unit_id FROM lexical_search(?, {K}, 'person-00003')", texts),
        _timed(con, "neighbors, one hop", "SELECT * FROM neighbors(?)", nodes),
        _timed(con, "neighbors, two hops", "SELECT * FROM neighbors(?, hops := 2)", nodes),
        _timed(con, "provenance", "SELECT * FROM provenance(?)", nodes),
        _timed(con, "lineage", "SELECT * FROM lineage(?)", nodes),
    ]  # fmt: skip


def _timed(
    con: duckdb.DuckDBPyConnection, what: str, sql: str, asked: Sequence, truth: Sequence[set] | None = None
) -> dict:
    seconds, found = [], []
    for i, argument in enumerate([*asked[:WARM], *asked]):
        begun = time.perf_counter()
        rows = con.execute(sql, [argument]).fetchall()
        if i >= WARM:
            seconds.append(time.perf_counter() - begun)
            found.append({row[0] for row in rows})
    recall = None
    if truth is not None:
        recall = round(float(np.mean([len(f & t) / K for f, t in zip(found, truth, strict=False)])), 4)
    p50, p99 = (round(1000 * float(np.percentile(seconds, p)), 2) for p in (50, 99))
    return _row(what, p50_ms=p50, p99_ms=p99, **{"recall@10": recall})


def _row(what: str, **cells: object) -> dict:
    columns: dict[str, object] = dict.fromkeys(("p50_ms", "p99_ms", "recall@10", "mb", "seconds", "share"))
    return {"what": what} | columns | {"detail": ""} | cells


def _share_of_ingest(folder: Path) -> dict:
    """Seconds that writing the file took of a real ingest's."""
    corpus, store = folder / "corpus.jsonl", folder / "ingested"
    with corpus.open("w", encoding="utf-8") as f:
        f.writelines(line + "\n" for line in conversation_lines(TURNS))
    ran = run_python(["-c", COMMAND, "ingest", str(corpus), "--store", str(store), "--json"], folder)
    told = json.loads(ran.out)
    with duckdb.connect() as con:
        runs = f"read_parquet('{store}/ledger/runs/*.parquet')"
        seconds = con.execute(f"SELECT sum(seconds) FROM {runs} WHERE stage = 'duckdb'").fetchall()[0][0]
    detail = f"{told['rows']['memory_units']:,} units, ingested in {told['seconds']:.0f} s"
    return _row(
        "the file's part of an ingest",
        seconds=round(seconds, 2),
        share=round(seconds / told["seconds"], 3),
        detail=detail,
    )

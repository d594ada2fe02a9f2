"""Export: the current tables of a snapshot in the formats that others read: Delta, GraphML, a file of vectors, Hugging Face.

Everything is streamed through Arrow. An export is made beside its place and moved there when it is whole; `export.json` in it says
of which snapshot it is, and lets a later export of the same kind take its place. Delta is different: a Delta table has versions of
its own, so that exporting again adds one to each table.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.store import views
from jobs.store.reader import Store, open_store
from pipelines.export import dataset_card, vectors_card, write_graphml
from schemas.errors import UsageError
from schemas.settings import Settings, load_settings
from schemas.tables import TABLES

MARK = "export.json"
BATCH = 10_000
CURRENT = ("memory_units", "turns", "documents", "entities", "mentions", "triples", "edges")
"""The tables that tell what the memory holds; the first is what a reader asks for."""
DELTA = (
    *CURRENT,
    "memory_units_history",
    "embeddings",
    "operations",
    "sources",
    "quarantine",
    "clusters",
    "assignments",
)
NODES = """
    SELECT unit_id AS id, 'unit' AS kind, granularity AS type, namespace, text AS label, event_time, NULL::INTEGER AS mentions,
           list_transform(source_spans, lambda s: s.ref) AS refs FROM memory_units
    UNION ALL
    SELECT entity_id, 'entity', kind, namespace, name, NULL, df, NULL FROM entities
"""
EDGES = """
    SELECT source, target, relation, weight, namespace, NULL AS fact_of, NULL::TIMESTAMPTZ AS event_time FROM edges
    UNION ALL
    SELECT subject_id, object_id, predicate, 1.0::FLOAT, namespace, unit_id, event_time FROM triples
"""
VECTORS = """
    SELECT u.unit_id AS id, u.unit_key AS key, e.vector::FLOAT[{dim}] AS vector, u.text, u.namespace, u.granularity,
           u.session_id, u.document_id, u.parent_id, list_transform(u.source_spans, lambda s: s.ref) AS source_refs, u.event_time,
           to_json({{'namespace': u.namespace, 'granularity': u.granularity, 'session_id': u.session_id,
                     'document_id': u.document_id, 'source_refs': list_transform(u.source_spans, lambda s: s.ref),
                     'event_time': strftime(u.event_time, '%Y-%m-%dT%H:%M:%SZ')}})::VARCHAR AS metadata
    FROM memory_units u JOIN embeddings e ON e.content_hash = u.content_hash AND e.encoder = {encoder}
"""


@dataclass(frozen=True)
class Exported:
    """What an export wrote."""

    kind: str
    path: Path
    snapshot: int
    rows: dict[str, int]

    def to_json(self) -> dict:
        return {"path": str(self.path), "kind": self.kind, "snapshot": self.snapshot, "rows": self.rows}


def export_store(settings: Settings, kind: str, out: Path, *, snapshot: int | None = None) -> Exported:
    """Export the current tables of a snapshot (default the newest) to the folder `out`.

    Raises:
        UsageError: no such kind, or something else is at `out`.
    """
    if kind not in KINDS:
        raise UsageError(f"no export {kind!r}: use one of {', '.join(KINDS)}")
    out = out.absolute()
    _refuse_foreign(out, kind)
    with open_store(settings.store, snapshot=snapshot) as store:
        con = views.connect(store.lake, store.catalogue)
        about = {"kind": kind, "snapshot": store.snapshot.number, "encoder": store.snapshot.encoder}
        if kind == "delta":
            out.mkdir(parents=True, exist_ok=True)
            rows = _delta(store, con, out)
            (out / MARK).write_text(json.dumps(about | {"rows": rows}, indent=1))
        else:
            work = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
            work.mkdir(parents=True)
            try:
                rows = KINDS[kind](store, con, work)
                (work / MARK).write_text(json.dumps(about | {"rows": rows}, indent=1))
                _take_place(work, out)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        return Exported(kind, out, store.snapshot.number, rows)


def _refuse_foreign(out: Path, kind: str) -> None:
    """Only an export of the same kind may be replaced."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file: give a folder with --out")
    if any(out.iterdir()):
        try:
            there = json.loads((out / MARK).read_text())["kind"]
        except (OSError, ValueError, KeyError):
            there = None
        if there != kind:
            raise UsageError(
                f"{out} holds something else than an export of kind {kind}: give another folder with --out"
            )


def _take_place(work: Path, out: Path) -> None:
    old = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.old")
    if out.exists():
        out.rename(old)
    work.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _stream(con: duckdb.DuckDBPyConnection, sql: str) -> pa.RecordBatchReader:
    return con.sql(sql).to_arrow_reader(BATCH)


def _parquet(con: duckdb.DuckDBPyConnection, sql: str, file: Path, about: dict[str, str] | None = None) -> int:
    """The rows of a query as one file, with key-value metadata; returns how many."""
    reader = _stream(con, sql)
    schema = reader.schema.with_metadata(about)
    rows = 0
    file.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
            rows += batch.num_rows
    return rows


def _delta(store: Store, con: duckdb.DuckDBPyConnection, out: Path) -> dict[str, int]:
    from deltalake import CommitProperties, DeltaTable, write_deltalake

    rows = {}
    about = {"engraph.snapshot": str(store.snapshot.number), "engraph.encoder": store.snapshot.encoder}
    for table in DELTA:
        schema = TABLES.get(table) or TABLES["memory_units"]
        reader = _stream(con, f"SELECT * FROM {table}")
        write_deltalake(
            str(out / table),
            reader,
            mode="overwrite",
            schema_mode="overwrite",
            name=table,
            description=schema.row,
            commit_properties=CommitProperties(custom_metadata=about),
        )
        rows[table] = DeltaTable(str(out / table)).count()
    return rows


def _graph(store: Store, con: duckdb.DuckDBPyConnection, out: Path) -> dict[str, int]:
    _parquet(con, NODES, out / "nodes.parquet")
    _parquet(con, EDGES, out / "edges.parquet")
    nodes, edges = pq.ParquetFile(out / "nodes.parquet"), pq.ParquetFile(out / "edges.parquet")
    with (out / "graph.graphml").open("wb") as file:
        counts = write_graphml(
            file, nodes.schema_arrow, nodes.iter_batches(BATCH), edges.schema_arrow, edges.iter_batches(BATCH)
        )
    return dict(zip(("nodes", "edges"), counts, strict=True))


def _vectors(store: Store, con: duckdb.DuckDBPyConnection, out: Path) -> dict[str, int]:
    found = con.execute("SELECT max(len(vector)) FROM embeddings").fetchall()
    dim = found[0][0]
    if not dim:
        raise UsageError("this snapshot has no vectors to export")
    snapshot, encoder = store.snapshot.number, store.snapshot.encoder
    about = {"encoder": encoder, "dim": str(dim), "metric": "inner product of unit vectors", "snapshot": str(snapshot)}
    sql = VECTORS.format(dim=dim, encoder="'" + encoder.replace("'", "''") + "'")
    rows = _parquet(con, sql, out / "vectors.parquet", {f"engraph.{name}": value for name, value in about.items()})
    (out / "README.md").write_text(vectors_card(snapshot=snapshot, encoder=encoder, dim=dim))
    return {"vectors": rows}


def _hugging_face(store: Store, con: duckdb.DuckDBPyConnection, out: Path) -> dict[str, int]:
    rows = {}
    for table in CURRENT:
        n = _parquet(con, f"SELECT * FROM {table}", out / table / "train-00000-of-00001.parquet")
        if n:
            rows[table] = n
        else:
            shutil.rmtree(out / table)
    told = {table: (n, TABLES[table].row) for table, n in rows.items()}
    card = dataset_card(told, snapshot=store.snapshot.number, encoder=store.snapshot.encoder)
    (out / "README.md").write_text(card)
    return rows


Writer = Callable[[Store, duckdb.DuckDBPyConnection, Path], dict[str, int]]
KINDS: dict[str, Writer] = {"delta": _delta, "graphml": _graph, "vectors": _vectors, "hf": _hugging_face}


def main(arguments: Sequence[str] | None = None) -> int:
    """Export alone: `python -m jobs.export_store graphml --store DIR --out DIR`."""
    from jobs import alone

    parser = alone.parser_of("Write the tables of the newest snapshot in a format that others read.")
    parser.add_argument("kind", choices=list(KINDS))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    return alone.told(lambda: export_store(load_settings(given.store, given.config), given.kind, given.out).to_json())


if __name__ == "__main__":
    raise SystemExit(main())

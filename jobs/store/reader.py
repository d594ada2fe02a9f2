"""The reading side of a store: one pinned snapshot, with recall, SQL and tables."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import tempfile
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from duckdb.func import FunctionNullHandling, PythonUDFType

from jobs.build_indexes import open_shard
from jobs.store import database, ledger, snapshots, staging, views
from jobs.store.lake import Lake
from pipelines.cores import usable_cores
from pipelines.embedding import Encoder, EncoderId
from pipelines.recall import Answer, Hit, Judges, Query, Recall, RecallParams, RecallShard
from schemas.errors import StoreError, UsageError
from schemas.manifest import Snapshot
from schemas.tables import TABLES

HIT = pa.struct(
    [
        ("rank", pa.int32()),
        ("unit_id", pa.string()),
        ("namespace", pa.string()),
        ("granularity", pa.string()),
        ("score", pa.float64()),
        ("text", pa.string()),
        ("source", pa.list_(pa.struct([("ref", pa.string()), ("start", pa.int32()), ("end", pa.int32())]))),
        ("event_time", pa.string()),
        ("time_source", pa.string()),
        ("session_id", pa.string()),
        ("document_id", pa.string()),
    ]
)
HIT_SQL = (
    "STRUCT(rank INTEGER, unit_id VARCHAR, namespace VARCHAR, granularity VARCHAR, score DOUBLE, text VARCHAR, "
    'source STRUCT(ref VARCHAR, "start" INTEGER, "end" INTEGER)[], event_time VARCHAR, time_source VARCHAR, '
    "session_id VARCHAR, document_id VARCHAR)[]"
)
RECALL_MACRO = (
    "CREATE MACRO recall(question, k := 10, namespace := NULL, granularity := NULL) AS TABLE SELECT h.* FROM "
    "(SELECT unnest(recall_hits(question::VARCHAR, k::BIGINT, namespace::VARCHAR, granularity::VARCHAR)) AS h)"
)


class Store:
    """A store opened at one snapshot. The snapshot is pinned: gc keeps it until `close` (or the process ends)."""

    def __init__(
        self, path: str | os.PathLike, *, snapshot: int | None = None, as_of: dt.datetime | None = None
    ) -> None:
        self.lake = Lake(path)
        self.info = snapshots.open_store(self.lake)
        self.snapshot = _choose(self.lake, snapshot, as_of)
        self.catalogue = self.snapshot.catalogue()
        self._staged: list[str] = []
        self._pin = snapshots.pin(self.lake, self.snapshot.number)
        self._cache = None if self.lake.local else tempfile.TemporaryDirectory(prefix="engraph-index-")

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the snapshot. Connections stay usable; what they write back is taken in once they are closed too."""
        while self._staged:
            staging.discard_empty(self.lake, self._staged.pop())
        if self._pin:
            with contextlib.suppress(OSError, StoreError):
                self.lake.remove(self._pin)
            self._pin = None

    @cached_property
    def encoder(self) -> Encoder:
        return _encoder(self.snapshot.encoder)

    def embed(self, texts: list[str]) -> np.ndarray:
        """Unit-norm vectors f32 [n, dim] of texts under the snapshot's encoder."""
        return self.encoder.encode_one(texts[0])[None] if len(texts) == 1 else self.encoder.encode(texts).vectors

    @cached_property
    def _shards(self) -> list[RecallShard]:
        cache = Path(self._cache.name) if self._cache else None
        return [open_shard(self.lake, shard_id, cache) for shard_id in self.snapshot.index.values()]

    @cached_property
    def _recall(self) -> Recall:
        return Recall(self._shards, self.embed)

    def recall_with(self, params: RecallParams | None) -> Recall:
        """Recall with other channel weights than the default ones, for evaluation."""
        return Recall(self._shards, self.embed, params)

    def namespaces(self) -> set[str]:
        """All namespaces of the snapshot."""
        return set().union(*(shard.namespaces() for shard in self._shards))

    def recall(
        self,
        question: str,
        k: int = 10,
        *,
        namespace: str | Sequence[str] | None = None,
        granularity: str | None = None,
        valid_at: dt.datetime | None = None,
        asked_at: dt.datetime | None = None,
    ) -> list[Hit]:
        """The k units that best answer a question, best first. Default granularity: turn, or passage for documents."""
        names = (namespace,) if isinstance(namespace, str) else None if namespace is None else tuple(namespace)
        query = Query(question, k, names, granularity, valid_at, asked_at, dt.datetime.now(dt.UTC))
        return self.recall_many([query])[0].hits

    def recall_many(self, queries: list[Query], *, judges: Judges | None = None, explain: bool = False) -> list[Answer]:
        """Answers to many questions, which are encoded together; `judges` look at the best hits again."""
        return self._recall.recall_many(queries, judges=judges or Judges(), explain=explain)

    def table(self, name: str) -> pa.Table:
        """A whole table as its view shows it."""
        if name not in TABLES and name != "memory_units_history":
            raise UsageError(f"no table {name!r}: there are {', '.join(sorted(TABLES))} and memory_units_history")
        return views.connect(self.lake, self.catalogue).sql(f"SELECT * FROM {name}").to_arrow_table()

    def files(self, name: str) -> list[str]:
        """Paths of the Parquet files of a table in this snapshot, for Polars, pandas, Spark and others. They hold every version of
        a unit, and what hangs on any; `table` and the views show what is current."""
        if name not in TABLES:
            raise UsageError(f"no table {name!r}: there are {', '.join(sorted(TABLES))}")
        if TABLES[name].ledger:
            return ledger.files(self.lake, name)
        return self.lake.files(self.catalogue.select(name))

    def connect(self, *, read_only: bool = False, sealed: bool | None = None) -> duckdb.DuckDBPyConnection:
        """DuckDB with the tables and macros of the snapshot's file, `embed(text)` and the table macro `recall(text, k := 10,
        namespace := NULL, granularity := NULL)`. New tables are made in memory.

        `INSERT INTO feedback`, `corrections` and `facts` is kept and taken in by the next ingest after the connection is closed,
        where the store is a folder that can be written to. Nothing else of the store can be changed.

        read_only: for SQL that others write; nothing is kept of what it writes. sealed (by default what read_only is): no file,
        extension, setting or other database can be reached.

        Raises:
            StoreError: the file is not there, or is not the one that was published.
        """
        con = self._connect(read_only)
        question = ["VARCHAR", "BIGINT", "VARCHAR", "VARCHAR"]
        if self._dim:  # a snapshot of nothing but refused records has no vectors
            _register(con, "embed", self._embed_arrow, ["VARCHAR"], f"FLOAT[{self._dim}]")
        _register(con, "recall_hits", self._hits_arrow, question, HIT_SQL)
        con.execute(RECALL_MACRO)
        if read_only if sealed is None else sealed:
            views.seal(con)
        return con

    def _connect(self, read_only: bool) -> duckdb.DuckDBPyConnection:
        cache = Path(self._cache.name) if self._cache else None
        file = database.local_copy(self.lake, self.snapshot, cache)
        if file is None:  # a snapshot of an earlier version: its tables, without macros
            return views.connect(self.lake, self.catalogue)
        con = views.connect_file(self.lake, file)
        if not read_only and self.lake.local:
            name = staging.attach(self.lake, con, self.snapshot.number)
            if name is not None:
                self._staged.append(name)
                views.search(con, (staging.CATALOG, views.STORE))
                for table in staging.TABLES:
                    con.unregister(table)  # the ledger's, in whose place rows are staged
        return con

    @property
    def _dim(self) -> int:
        return next((s.manifest["dim"] for s in self._shards), 0)

    def _embed_arrow(self, texts: pa.ChunkedArray) -> pa.Array:
        values = texts.to_pylist()
        vectors = self.embed([v or " " for v in values]) if values else np.empty((0, self._dim), np.float32)
        mask = pa.array([v is None for v in values])
        return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), self._dim, mask=mask)

    def _hits_arrow(self, texts, ks, namespaces, granularities) -> pa.Array:
        rows = zip(*(column.to_pylist() for column in (texts, ks, namespaces, granularities)), strict=True)
        asked = [Query(t, k or 10, (n,) if n else None, g) if t else None for t, k, n, g in rows]
        answers = iter(self.recall_many([q for q in asked if q]))
        hits = [next(answers).hits if q else [] for q in asked]
        ends = np.cumsum([0, *map(len, hits)], dtype=np.int32)
        flat = [h for of_one in hits for h in of_one]
        columns = [pa.array([getattr(h, f.name) for h in flat], f.type) for f in HIT]
        return pa.ListArray.from_arrays(pa.array(ends), pa.StructArray.from_arrays(columns, fields=list(HIT)))


@lru_cache(maxsize=2)
def _encoder(name: str) -> Encoder:
    """A loaded model costs 400 MB and seconds, so stores opened one after the other share it."""
    return Encoder.load(EncoderId.parse(name), threads=usable_cores())


def _register(con: duckdb.DuckDBPyConnection, name: str, function, arguments: list[str], returns: str) -> None:
    """A function on whole Arrow columns; it sees NULL arguments itself."""
    types: list = [duckdb.sqltype(a) for a in arguments]
    null, kind = FunctionNullHandling.SPECIAL, PythonUDFType.ARROW
    con.create_function(name, function, types, duckdb.sqltype(returns), type=kind, null_handling=null)


def _choose(lake: Lake, number: int | None, as_of: dt.datetime | None) -> Snapshot:
    if number is not None:
        return snapshots.load(lake, number)
    chosen = snapshots.as_of(lake, as_of) if as_of else snapshots.current(lake)
    if chosen is None:
        raise StoreError(f"the store at {lake.url} has no snapshot yet: run `engraph ingest SOURCE`")
    return chosen


def open_store(
    path: str | os.PathLike = "./store", *, snapshot: int | None = None, as_of: dt.datetime | None = None
) -> Store:
    """Open a store at its newest snapshot, a given one, or the one that was current at `as_of`."""
    return Store(path, snapshot=snapshot, as_of=as_of)

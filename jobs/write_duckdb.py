"""Write the snapshot's DuckDB file: every table as its view shows it, what macros search, the macros, comments on all of it.

Everything is copied, nothing refers to another file, so that the file works alone and wherever it is carried. Rows lie in the
order in which they are asked for: vectors by list, postings by term, edges by node. The lexical index and the vectors are those
of the index shards, so that no text is read twice. Memory: what DuckDB is allowed (`_memory`, beyond it spills beside the file),
a block of vectors, the postings of all shards (20 bytes each) and some 200 bytes a text. The file is written anew for every
snapshot: nothing that was forgotten can be left in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from jobs.build_indexes import open_shard
from jobs.run import Run
from jobs.store import database, views
from jobs.store.database import literal
from jobs.store.lake import Lake
from pipelines.lexical import common_words
from pipelines.recall import RecallShard
from pipelines.sql import folding, macros
from pipelines.sql.lists import Lists, code_words, make_lists, sign_codes
from schemas.database import ABOUT, SEARCHED
from schemas.errors import StoreError
from schemas.manifest import Catalogue, DatabaseFile, Snapshot
from schemas.tables import TABLES

STAGE = "duckdb"
SORTED = {
    "turns": "turn_id", "documents": "document_id", "entities": "entity_id", "mentions": "entity_id, unit_id",
    "triples": "subject_id, triple_id", "edges": "source, relation, target", "operations": "unit_id, version",
    "source_records": "record_id", "sources": "source_ref", "quarantine": "stage, source_ref", "runs": "started_at",
    "corpus_days": "started_at", "evaluations": '"at"', "erasures": '"at"',
}  # fmt: skip
MADE_HERE = ("memory_units", "embeddings", "lexicon", "lexical_postings", "index_shards", "clusters", "assignments")
BATCH = 16_384  # rows of `ann_vectors` handed to DuckDB at a time
ROW_GROUP = 122_880  # DuckDB's: rows that are compressed together
ROUNDING = 4  # decimals of a vector's components: half the bytes; an inner product changes by 0.00003 or so


def write_duckdb(run: Run, snapshot: Snapshot) -> DatabaseFile:
    """Build the file of a snapshot that is about to be published and put it in its place.

    Raises:
        StoreError: the disk is full, or the index does not fit the tables.
    """
    with run.timed(STAGE) as piece, database.workplace(run.lake) as folder:
        cache = Path(folder) / "shards"
        shards = [open_shard(run.lake, shard_id, cache) for shard_id in snapshot.index.values()]
        built = Path(folder) / database.FILE
        try:
            build(run.lake, run.catalogue, shards, snapshot, built)
        except (duckdb.IOException, duckdb.OutOfMemoryException, OSError) as problem:
            if "No space left" in str(problem) or isinstance(problem, OSError):
                raise run.lake.full(OSError(28, str(problem))) from problem
            raise
        told = database.install(run.lake, built, snapshot.number)
        piece.rows_in = piece.rows_out = sum(s.units.num_rows for s in shards)
        piece.skipped = False
    return told


def build(lake: Lake, catalogue: Catalogue, shards: Sequence[RecallShard], snapshot: Snapshot, out: Path) -> None:
    """Write the file `out` from the tables of a catalogue and its index shards."""
    con = views.connect(lake, catalogue)
    _do(con, f"SET temp_directory = {literal(str(out.parent / 'spill'))}")
    units = _Units(shards)
    _do(con, f"SET memory_limit = '{_memory(units.dim) >> 20}MiB'")
    database.attach(con, out, "file")
    _copy_tables(con, units)
    nprobe = _write_vectors(con, units, snapshot.encoder)
    _write_lexical(con, units)
    _write_shards(con, shards, snapshot)
    _write_clusters(con, catalogue)
    _write_about(con, snapshot, units.dim, nprobe)
    _do(con, "USE file")
    _write_macros(con, units.dim, nprobe)
    _write_comments(con, units.dim)
    _do(con, "USE memory")
    _do(con, "DETACH file")
    con.close()


def _memory(dim: int) -> int:
    """Bytes that DuckDB may use: 1 GiB, more where three row groups of vectors need it. Its own limit is 80 % of the machine."""
    return max(1 << 30, 3 * 4 * dim * ROW_GROUP)


@dataclass(frozen=True)
class _Block:
    """All units of one granularity and namespace: rows [start, end) of a shard, which get the numbers from `first` on."""

    granularity: str
    namespace: str
    shard: int
    start: int
    end: int
    first: int

    @property
    def end_no(self) -> int:
        return self.first + self.end - self.start


class _Units:
    """The current units of all shards as one sequence, by granularity, namespace and the order of their shard."""

    def __init__(self, shards: Sequence[RecallShard]) -> None:
        self.shards = shards
        spans = sorted(
            (granularity, namespace, i, a, b)
            for i, shard in enumerate(shards)
            for granularity, by_namespace in shard.ranges.items()
            for namespace, (a, b) in by_namespace.items()
        )
        self.blocks, self.n = [], 0
        for granularity, namespace, i, a, b in spans:
            self.blocks.append(_Block(granularity, namespace, i, a, b, self.n))
            self.n += b - a
        self.dim = max((s.manifest["dim"] for s in shards), default=0)

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of the shards' units, in order."""
        pieces = [self.shards[b.shard].units[name].slice(b.start, b.end - b.start) for b in self.blocks]
        chunks = [chunk for piece in pieces for chunk in piece.chunks]
        return pa.chunked_array(chunks, type=pa.int32() if name == "version" else pa.string())

    @cached_property
    def scope(self) -> np.ndarray:
        """The number of each unit's block."""
        sizes = [b.end - b.start for b in self.blocks]
        return np.repeat(np.arange(len(self.blocks), dtype=np.int32), sizes)

    def numbers(self, shard: int) -> np.ndarray:
        """unit_no of each row of a shard."""
        out = np.empty(self.shards[shard].units.num_rows, np.int32)
        for b in self.blocks:
            if b.shard == shard:
                out[b.start : b.end] = np.arange(b.first, b.end_no)
        return out

    def vectors(self, unit_nos: np.ndarray) -> np.ndarray:
        """f32 [m, dim] of m units."""
        out = np.empty((len(unit_nos), self.dim), np.float32)
        at = self.scope[unit_nos]
        for number in np.unique(at):
            b, mine = self.blocks[number], np.flatnonzero(at == number)
            out[mine] = self.shards[b.shard].vectors[unit_nos[mine] - b.first + b.start]
        return out


def _copy_tables(con: duckdb.DuckDBPyConnection, units: _Units) -> None:
    for name in TABLES:
        if name not in MADE_HERE:
            order = f" ORDER BY {SORTED[name]}" if name in SORTED else ""
            _do(con, f"CREATE TABLE file.{name} AS SELECT * FROM {name}{order}")
    order = pa.table(
        {
            "unit_id": units.column("unit_id"),
            "version": units.column("version"),
            "unit_no": pa.array(np.arange(units.n, dtype=np.int32)),
            "scope_no": pa.array(units.scope),
        }
    )
    con.register("placed", order)
    _do(
        con,
        "CREATE TABLE file.unit_rows AS SELECT p.unit_no, p.scope_no, u.* FROM memory_units u "
        "JOIN placed p ON p.unit_id = u.unit_id AND p.version = u.version ORDER BY p.unit_no",
    )
    if views.scalar(con, "SELECT count(*) FROM memory_units") != units.n or (
        views.scalar(con, "SELECT count(*) FROM file.unit_rows") != units.n
    ):
        raise StoreError("the index does not hold the units of the tables: run `engraph doctor`, then the ingest again")
    con.unregister("placed")
    _do(
        con,
        "CREATE TABLE file.past_units AS SELECT h.* FROM memory_units_history h "
        "ANTI JOIN file.unit_rows u ON u.unit_id = h.unit_id AND u.version = h.version ORDER BY h.unit_id, h.version",
    )
    _do(
        con,
        "CREATE TABLE file.links AS SELECT * FROM ("
        "SELECT source AS node, target AS other, relation, weight, 'out' AS direction FROM file.edges "
        "UNION ALL SELECT target, source, relation, weight, 'in' FROM file.edges) ORDER BY node, relation, other, direction",
    )


def _write_vectors(con: duckdb.DuckDBPyConnection, units: _Units, encoder: str) -> int:
    """`ann_lists` and `ann_vectors`, each distinct text once; returns how many lists a search looks into."""
    dim = max(units.dim, 1)
    codes = ", ".join(f"code_{i} UBIGINT" for i in range(code_words(dim)))
    _do(
        con,
        f"CREATE TABLE file.ann_vectors (vector_no INTEGER, list_id INTEGER, {codes}, unit_nos INTEGER[], content_hash VARCHAR, "
        f"encoder VARCHAR, vector FLOAT[{dim}], n_tokens INTEGER, n_windows SMALLINT)",
    )
    texts = _Texts(con, units, encoder)
    lists = make_lists(len(texts.hashes), units.dim, lambda rows: units.vectors(texts.first[rows]))
    if len(texts.hashes):
        order = np.argsort(lists.of, kind="stable")
        batches = (texts.batch(i, order[i : i + BATCH], lists) for i in range(0, len(order), BATCH))
        con.register("vectors_sorted", pa.RecordBatchReader.from_batches(texts.schema, batches))
        _do(con, "INSERT INTO file.ann_vectors BY NAME FROM vectors_sorted")
        con.unregister("vectors_sorted")
    _insert_lists(con, lists, dim)
    _do(
        con,
        f"INSERT INTO file.ann_vectors BY NAME SELECT e.content_hash, e.encoder, "
        f"list_transform(e.vector::FLOAT[], lambda x: round(x, {ROUNDING}))::FLOAT[{dim}] AS vector, e.n_tokens, e.n_windows "
        "FROM embeddings e WHERE e.encoder = ? AND len(e.vector::FLOAT[]) = ? "
        "AND e.content_hash NOT IN (SELECT v.content_hash FROM file.ann_vectors v) ORDER BY e.content_hash",
        [encoder, dim],
    )
    return lists.nprobe


def _insert_lists(con: duckdb.DuckDBPyConnection, lists: Lists, dim: int) -> None:
    n = len(lists.centres)
    centres = pa.FixedSizeListArray.from_arrays(pa.array(lists.centres.ravel(), pa.float32()), dim)
    sizes = pa.array(np.bincount(lists.of, minlength=n).astype(np.int64))
    _create(
        con,
        "ann_lists",
        pa.table({"list_id": pa.array(np.arange(n, dtype=np.int32)), "centre": centres, "size": sizes}),
    )
    mean = pa.FixedSizeListArray.from_arrays(pa.array(lists.mean, pa.float32()), dim)
    _create(con, "ann_mean", pa.table({"mean": mean}))


class _Texts:
    """The distinct texts of the current units: their hashes, ascending, and the units that have each."""

    def __init__(self, con: duckdb.DuckDBPyConnection, units: _Units, encoder: str) -> None:
        self.units, self.encoder = units, encoder
        hashes = np.array(units.column("content_hash").to_pylist(), "S32")
        self.hashes, self.first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        self._members = np.argsort(inverse, kind="stable").astype(np.int32)
        self._ends = np.append(0, np.cumsum(np.bincount(inverse, minlength=len(self.hashes))))
        told = con.execute(
            "SELECT content_hash, min(n_tokens)::INTEGER AS n_tokens, min(n_windows)::SMALLINT AS n_windows "
            "FROM embeddings WHERE encoder = ? GROUP BY ALL ORDER BY content_hash",
            [encoder],
        ).fetchnumpy()
        at = np.searchsorted(np.asarray(told["content_hash"]).astype("S32"), self.hashes)
        self._tokens, self._windows = (pa.array(np.asarray(told[c])[at]) for c in ("n_tokens", "n_windows"))

    @property
    def schema(self) -> pa.Schema:
        plain = {
            "vector_no": pa.int32(),
            "list_id": pa.int32(),
            "unit_nos": pa.list_(pa.int32()),
            "content_hash": pa.string(),
            "encoder": pa.string(),
            "vector": pa.list_(pa.float32(), self.units.dim),
            "n_tokens": pa.int32(),
            "n_windows": pa.int16(),
        } | {f"code_{i}": pa.uint64() for i in range(code_words(self.units.dim))}
        return pa.schema(list(plain.items()))

    def batch(self, begin: int, rows: np.ndarray, lists: Lists) -> pa.RecordBatch:
        """Rows of `ann_vectors` from number `begin` on."""
        starts, ends = self._ends[rows], self._ends[rows + 1]
        members = [self._members[a:b] for a, b in zip(starts, ends, strict=True)]
        offsets = np.append(0, np.cumsum(ends - starts)).astype(np.int32)
        vectors = np.round(self.units.vectors(self.first[rows]), ROUNDING)
        columns = [
            pa.array(np.arange(begin, begin + len(rows), dtype=np.int32)),
            pa.array(lists.of[rows].astype(np.int32)),
            pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(members))),
            pa.array(self.hashes[rows].astype("U32").tolist()),
            pa.array([self.encoder] * len(rows)),
            pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), self.units.dim),
            self._tokens.take(pa.array(rows)),
            self._windows.take(pa.array(rows)),
            *(pa.array(code) for code in sign_codes(vectors, lists.mean).T),
        ]
        return pa.record_batch(columns, schema=self.schema)


def _write_lexical(con: duckdb.DuckDBPyConnection, units: _Units) -> None:
    """The shards' postings as one collection of terms, and the lexicon."""
    found = [shard.lexical.everything() for shard in units.shards]
    terms = sorted(set().union(*(p.terms for p in found)))
    number = {term: i for i, term in enumerate(terms)}
    lexicon = common_words(number) | {surface: stem for p in found for surface, stem in p.lexicon.items()}
    lengths = np.zeros(units.n, np.int32)
    pieces = []
    for i, p in enumerate(found):
        unit_no = units.numbers(i)
        lengths[unit_no] = p.lengths
        own = np.fromiter((number[t] for t in p.terms), np.int32, len(p.terms))
        pieces.append((own[p.term], unit_no[p.row], p.count.astype(np.int32)))
    term, unit, count = (np.concatenate([p[j] for p in pieces] or [np.empty(0, np.int32)]) for j in range(3))
    order = np.lexsort((unit, term))
    term, unit, count = term[order], unit[order], count[order]
    postings = {"term_no": term, "unit_no": unit, "scope_no": units.scope[unit], "tf": count, "length": lengths[unit]}
    _create(con, "bm25_postings", pa.table(postings))
    _create(
        con,
        "bm25_terms",
        pa.table({"term_no": pa.array(range(len(terms)), pa.int32()), "term": pa.array(terms, pa.string())}),
    )
    words = sorted(lexicon)
    _create(
        con,
        "lexicon",
        pa.table({"surface": pa.array(words, pa.string()), "stem": pa.array([lexicon[w] for w in words], pa.string())}),
    )
    _create(con, "bm25_folding", folding())
    sums = np.append(0, np.cumsum(lengths, dtype=np.int64))
    rows = [
        {
            "scope_no": i,
            "granularity": b.granularity,
            "namespace": b.namespace,
            "first_no": b.first,
            "end_no": b.end_no,
            "units": b.end_no - b.first,
            "terms": int(sums[b.end_no] - sums[b.first]),
        }
        for i, b in enumerate(units.blocks)
    ]
    _create(con, "bm25_scopes", pa.Table.from_pylist(rows, schema=SEARCHED["bm25_scopes"].schema))


def _create(con: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    con.register("rows_of_table", rows)
    _do(con, f"CREATE TABLE file.{name} AS SELECT * FROM rows_of_table")
    con.unregister("rows_of_table")


def _write_shards(con: duckdb.DuckDBPyConnection, shards: Sequence[RecallShard], snapshot: Snapshot) -> None:
    rows = [
        {
            "shard_id": shard_id,
            "kind": "recall",
            "bucket": int(bucket),
            "fingerprint": shard_id.partition("/")[0],
            "encoder": shard.manifest["encoder"],
            "units": shard.manifest["units"],
            "bytes": sum(told["bytes"] for told in shard.manifest["files"].values()),
            "parameters": json.dumps({"version": shard.manifest["version"], "dim": shard.manifest["dim"]}),
            "checksums": json.dumps({name: told["checksum"] for name, told in shard.manifest["files"].items()}),
        }
        for (bucket, shard_id), shard in zip(snapshot.index.items(), shards, strict=True)
    ]
    _create(con, "index_shards", TABLES["index_shards"].from_rows(rows))


def _do(con: duckdb.DuckDBPyConnection, sql: str, parameters: list | None = None) -> None:
    """Run a statement to its end; a result that nobody fetched would block the connection."""
    con.execute(sql, parameters or []).fetchall()


_MEMBERS = """
CREATE TEMP TABLE members AS
SELECT m.list_id, u.unit_no, u.unit_id, u.namespace, u.day
FROM (SELECT v.list_id, unnest(v.unit_nos) AS unit_no FROM file.ann_vectors v WHERE v.list_id IS NOT NULL) m
JOIN file.unit_rows u ON u.unit_no = m.unit_no
"""
_LABELS = """
CREATE TEMP TABLE labels AS
WITH counted AS (
    SELECT m.list_id, p.term_no, count(*) AS here FROM file.bm25_postings p JOIN members m ON m.unit_no = p.unit_no GROUP BY ALL
),
known AS (SELECT c.term_no, sum(c.here) AS everywhere FROM counted c GROUP BY ALL),
best AS (
    SELECT c.list_id, c.term_no, c.here * ln((SELECT count(*) FROM members) / k.everywhere) AS weight
    FROM counted c JOIN known k ON k.term_no = c.term_no
    QUALIFY row_number() OVER (PARTITION BY c.list_id ORDER BY weight DESC, c.term_no) <= 3
),
words AS (SELECT x.stem, arg_min(x.surface, (length(x.surface), x.surface)) AS surface FROM file.lexicon x GROUP BY ALL)
SELECT b.list_id, string_agg(w.surface, ', ' ORDER BY b.weight DESC, w.surface) AS label
FROM best b JOIN file.bm25_terms t ON t.term_no = b.term_no JOIN words w ON w.stem = t.term GROUP BY ALL
"""


def _write_clusters(con: duckdb.DuckDBPyConnection, catalogue: Catalogue) -> None:
    """`clusters` and `assignments` of the lake, or else the lists of vectors, those of all namespaces together."""
    if catalogue.select("clusters"):
        for name in ("clusters", "assignments"):
            _do(con, f"CREATE TABLE file.{name} AS SELECT * FROM {name} ORDER BY cluster_id")
        return
    _do(con, _MEMBERS)
    _do(con, _LABELS)
    _do(
        con,
        "CREATE TABLE file.clusters AS SELECT printf('list-%05d', m.list_id) AS cluster_id, '*' AS namespace, 0::INTEGER AS level, "
        "NULL::VARCHAR AS parent_id, count(*) AS size, coalesce(any_value(l.label), '') AS label, max(m.day) AS day "
        "FROM members m LEFT JOIN labels l ON l.list_id = m.list_id GROUP BY m.list_id ORDER BY m.list_id",
    )
    _do(
        con,
        "CREATE TABLE file.assignments AS SELECT m.unit_id, printf('list-%05d', m.list_id) AS cluster_id, 0::INTEGER AS level, "
        "m.namespace, m.day FROM members m ORDER BY m.list_id, m.unit_no",
    )


def _write_about(con: duckdb.DuckDBPyConnection, snapshot: Snapshot, dim: int, nprobe: int) -> None:
    head = {
        "number": snapshot.number, "parent": snapshot.parent, "created_at": snapshot.created_at, "run_id": snapshot.run_id,
        "encoder": snapshot.encoder, "dim": dim, "nprobe": nprobe, "restored_from": snapshot.restored_from,
    }  # fmt: skip
    _create(con, "snapshot", pa.Table.from_pylist([head], schema=ABOUT["snapshot"].schema))
    gates = [g.model_dump() for g in snapshot.gates]
    _create(con, "gates", pa.Table.from_pylist(gates, schema=ABOUT["gates"].schema))


VIEWS = {
    "memory_units": "SELECT u.* EXCLUDE (unit_no, scope_no) FROM unit_rows u",
    "memory_units_history": "SELECT * FROM memory_units UNION ALL BY NAME SELECT * FROM past_units",
    "embeddings": "SELECT v.content_hash, v.encoder, v.vector, v.n_tokens, v.n_windows FROM ann_vectors v",
    "lexical_postings": """
        SELECT t.term, u.unit_id, p.tf, p.length, s.namespace, s.granularity FROM bm25_postings p
        JOIN bm25_terms t ON t.term_no = p.term_no JOIN unit_rows u ON u.unit_no = p.unit_no
        JOIN bm25_scopes s ON s.scope_no = p.scope_no
    """,
}


def _write_macros(con: duckdb.DuckDBPyConnection, dim: int, nprobe: int) -> None:
    for name, sql in VIEWS.items():
        _do(con, f"CREATE VIEW {name} AS {sql}")
    for macro in macros(dim, nprobe):
        _do(con, macro.sql)
        _do(con, f"COMMENT ON MACRO TABLE {macro.name} IS {literal(macro.comment)}")


def _write_comments(con: duckdb.DuckDBPyConnection, dim: int) -> None:
    """What `schemas` says of tables and columns, where clients show it."""
    units = TABLES["memory_units"]
    placed = [SEARCHED["bm25_postings"].columns.field(c) for c in ("unit_no", "scope_no")]
    for name, table in {**TABLES, **SEARCHED, **ABOUT}.items():
        _comment(con, name, table.row, list(table.columns))
    for i in range(code_words(max(dim, 1))):
        doc = f"signs of components {64 * i} to {64 * i + 63} of the vector less the mean, the first in the highest bit"
        _do(con, f"COMMENT ON COLUMN ann_vectors.code_{i} IS {literal(doc)}")
    _comment(con, "memory_units_history", "one version of one unit, ended ones too", list(units.columns))
    _comment(con, "past_units", "one version of one unit that has ended", list(units.columns))
    _comment(con, "unit_rows", "one current unit with its number in this file", [*placed, *units.columns])


def _comment(con: duckdb.DuckDBPyConnection, name: str, row: str, columns: list[pa.Field]) -> None:
    kind = "VIEW" if name in VIEWS else "TABLE"
    _do(con, f"COMMENT ON {kind} {name} IS {literal('One row is ' + row + '.')}")
    for field in columns:
        doc = (field.metadata or {}).get(b"doc", b"").decode()
        _do(con, f'COMMENT ON COLUMN {name}."{field.name}" IS {literal(doc)}')

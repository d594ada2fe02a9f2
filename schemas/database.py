"""What a snapshot's DuckDB file holds besides the tables of `schemas.tables`: what macros search, what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from schemas.table import TIME, TableSchema, column

STORAGE_VERSION = "v2.0.0"  # what every DuckDB 2 reads
ROW_GROUP = 16_384  # rows that are skipped or read together; all tables are sorted by what is asked for


@dataclass(frozen=True)
class Macro:
    """One table macro: its signature, what it gives, and its SELECT."""

    name: str
    parameters: str
    comment: str
    body: str

    @property
    def sql(self) -> str:
        return f"CREATE MACRO {self.name}({self.parameters}) AS TABLE {self.body}"


def _table(name: str, row: str, *columns: pa.Field) -> TableSchema:
    return TableSchema(name=name, row=row, columns=pa.schema(columns), key=())


_UNIT_NO = column("unit_no", pa.int32(), "number of the unit in this file, by granularity, namespace and time")
_SCOPE_NO = column("scope_no", pa.int32(), "number of the granularity and namespace in this file")

SEARCHED: dict[str, TableSchema] = {
    t.name: t
    for t in (
        _table(
            "ann_lists",
            "one list of vectors that are near each other",
            column("list_id", pa.int32(), "its number; neighbours have near numbers"),
            column("centre", pa.list_(pa.float32(), 1), "mean of the vectors it was trained on"),
            column("size", pa.int64(), "vectors in it"),
        ),
        _table(
            "ann_vectors",
            "one vector of one distinct text, sorted by list",
            column("vector_no", pa.int32(), "number of the vector in this file; null where list_id is", nullable=True),
            column("list_id", pa.int32(), "the list; null where no current unit has this text", nullable=True),
            column("unit_nos", pa.list_(pa.int32()), "units with this text, as in unit_rows", nullable=True),
            column("content_hash", pa.string(), "128-bit hash of the text"),
            column("encoder", pa.string(), "model@precision"),
            column("vector", pa.list_(pa.float32(), 1), "unit-norm vector, rounded to four decimals"),
            column("n_tokens", pa.int32(), "length of the text in the encoder's tokens"),
            column("n_windows", pa.int16(), "windows that a longer text was split into"),
        ),
        _table(
            "ann_mean",
            "the mean of the vectors, to which their signs are taken",
            column("mean", pa.list_(pa.float32(), 1), "mean of every component"),
        ),
        _table(
            "bm25_scopes",
            "one granularity of one namespace: what can be searched as a collection of its own",
            _SCOPE_NO,
            column("granularity", pa.string(), "granularity of its units"),
            column("namespace", pa.string(), "namespace of its units"),
            column("first_no", pa.int32(), "its first unit_no"),
            column("end_no", pa.int32(), "one past its last unit_no"),
            column("units", pa.int64(), "units in it"),
            column("terms", pa.int64(), "terms in all of them"),
        ),
        _table(
            "bm25_terms",
            "one term of the lexical index, sorted",
            column("term_no", pa.int32(), "its number"),
            column("term", pa.string(), "stem"),
        ),
        _table(
            "bm25_postings",
            "one term in one unit, sorted by term and unit",
            column("term_no", pa.int32(), "the term"),
            _UNIT_NO,
            _SCOPE_NO,
            column("tf", pa.int32(), "occurrences"),
            column("length", pa.int32(), "terms in the unit"),
        ),
        _table(
            "bm25_folding",
            "one character that is searched as another",
            column("written", pa.string(), "as in a question"),
            column("folded", pa.string(), "as in the index"),
        ),
        _table(
            "links",
            "one edge seen from one of its ends, sorted by that end",
            column("node", pa.string(), "unit_id or entity_id"),
            column("other", pa.string(), "the other end"),
            column("relation", pa.string(), "as in edges"),
            column("weight", pa.float32(), "as in edges"),
            column("direction", pa.string(), "out where node is the edge's source, in where it is the target"),
        ),
    )
}

ABOUT: dict[str, TableSchema] = {
    t.name: t
    for t in (
        _table(
            "snapshot",
            "the snapshot that this file is",
            column("number", pa.int64(), "its number"),
            column("parent", pa.int64(), "the snapshot before", nullable=True),
            column("created_at", TIME, "when it was published (the run's clock)"),
            column("run_id", pa.string(), "the run that published it"),
            column("encoder", pa.string(), "model@precision of its vectors"),
            column("dim", pa.int32(), "dimensions of its vectors"),
            column("nprobe", pa.int32(), "lists that ann_search looks into by default"),
            column("restored_from", pa.int64(), "the snapshot whose content it is again", nullable=True),
        ),
        _table(
            "gates",
            "one condition that the snapshot had to meet before it was published",
            column("name", pa.string(), "what was looked at"),
            column("passed", pa.bool_(), "whether it held"),
            column("value", pa.float64(), "what was measured", nullable=True),
            column("threshold", pa.float64(), "what was wanted", nullable=True),
            column("detail", pa.string(), "in words"),
        ),
    )
}

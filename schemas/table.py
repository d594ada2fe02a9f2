"""`TableSchema`: one table's columns, key and checks, and a validation that reports every mismatch at once.

A table cannot be written to the lake unvalidated. `conform` orders and casts what is safe to cast (dictionary to plain,
int32 to int64); everything else is a mismatch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import SchemaMismatch

Check = Callable[[pa.Table], str | None]

TIME = pa.timestamp("us", tz="UTC")
SPANS = pa.list_(
    pa.struct(
        [
            pa.field("ref", pa.string(), nullable=False),
            pa.field("start", pa.int32(), nullable=False),
            pa.field("end", pa.int32(), nullable=False),
        ]
    )
)
TIME_SOURCES = ("turn", "session", "document", "text", "arrival")
GRANULARITIES = (
    "turn", "round", "segment", "session", "sentence", "passage", "section", "document",
    "summary", "keywords", "fact", "note", "qa",
)  # fmt: skip


def column(name: str, type_: pa.DataType, doc: str, *, nullable: bool = False) -> pa.Field:
    """A field whose meaning travels with it (shown by DuckDB as the column's comment)."""
    return pa.field(name, type_, nullable=nullable, metadata={"doc": doc})


@dataclass(frozen=True)
class TableSchema:
    """The contract of one table: `name`, what a `row` is, its `columns`, unique `key`, further `checks`.

    Most tables live in the lake by partition; `ledger` tables are append-only records about the store. `schema` is `columns`
    without nullability and docs, because Arrow compares those when it joins tables.
    """

    name: str
    row: str
    columns: pa.Schema
    key: tuple[str, ...]
    checks: tuple[Check, ...] = field(default=())
    ledger: bool = False

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(f.name, _plain(f.type)) for f in self.columns])

    def empty(self) -> pa.Table:
        return self.schema.empty_table()

    def mismatches(self, table: pa.Table) -> list[str]:
        """Everything that is wrong with `table`, in words; empty when it conforms."""
        found = [f"missing column {f.name} ({f.type})" for f in self.columns if f.name not in table.column_names]
        found += [f"unknown column {name}" for name in table.column_names if name not in self.schema.names]
        for f in self.columns:
            if f.name not in table.column_names:
                continue
            col = table[f.name]
            if not _same_type(_plain(col.type), _plain(f.type)):
                found.append(f"column {f.name} is {col.type}, expected {f.type}")
            elif not f.nullable and col.null_count:
                found.append(f"column {f.name} has {col.null_count} nulls, none allowed")
        if not found:
            found += [message for check in self.checks if (message := check(table))]
        if all(k in table.column_names and _same_type(table[k].type, self.schema.field(k).type) for k in self.key):
            found += self._duplicate_keys(table)
        return found

    def _duplicate_keys(self, table: pa.Table) -> list[str]:
        if not self.key or table.num_rows < 2:
            return []
        counts = table.select(list(self.key)).group_by(list(self.key)).aggregate([([], "count_all")])
        twice = counts.filter(pc.greater(counts["count_all"], 1))
        if twice.num_rows == 0:
            return []
        example = {k: twice[k][0].as_py() for k in self.key}
        return [f"{twice.num_rows} duplicate keys ({', '.join(self.key)}), for example {example}"]

    def validate(self, table: pa.Table) -> pa.Table:
        """Return `table` in this schema's column order, or raise `SchemaMismatch` with every mismatch."""
        table = self.conform(table)
        found = self.mismatches(table)
        if found:
            raise SchemaMismatch(f"table {self.name}: " + "; ".join(found))
        table = table.select(self.schema.names)
        fields = [f.with_type(c.type) for f, c in zip(self.schema, table.columns, strict=True)]
        return table.cast(pa.schema(fields))

    def conform(self, table: pa.Table) -> pa.Table:
        """Cast columns where the cast loses nothing; leave the rest for `mismatches` to name."""
        for i, name in enumerate(table.column_names):
            if name not in self.schema.names:
                continue
            want = self.schema.field(name)  # plain: validation looks at nulls itself
            if not _same_type(table[name].type, want.type):
                try:
                    table = table.set_column(i, want, table[name].cast(want.type))
                except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
                    continue
        return table

    def from_rows(self, rows: list[dict]) -> pa.Table:
        """A validated table from dicts; absent nullable columns are null."""
        return self.validate(pa.Table.from_pylist(rows, schema=self.schema))


def _plain(type_: pa.DataType) -> pa.DataType:
    """The type without nullability of nested fields."""
    if pa.types.is_list(type_):
        return pa.list_(_plain(type_.value_type))
    if pa.types.is_struct(type_):
        return pa.struct([pa.field(f.name, _plain(f.type)) for f in type_])
    return type_


def _same_type(have: pa.DataType, want: pa.DataType) -> bool:
    """Vectors may have any length: the encoder decides it, so only the element type is compared."""
    if pa.types.is_fixed_size_list(want):
        return pa.types.is_fixed_size_list(have) and have.value_type == want.value_type
    return have == want


def one_of(name: str, allowed: tuple[str, ...]) -> Check:
    """A check that every value of a column is one of a closed list."""

    def check(table: pa.Table) -> str | None:
        odd = sorted(set(pc.unique(table[name]).to_pylist()) - set(allowed) - {None})
        return f"column {name} has {odd[:5]}, allowed are {list(allowed)}" if odd else None

    return check


def hex_hash(name: str) -> Check:
    """A check that a column holds 32 hex digits."""

    def check(table: pa.Table) -> str | None:
        bad = pc.sum(pc.invert(pc.match_substring_regex(table[name], "^[0-9a-f]{32}$"))).as_py()
        return f"column {name} has {bad} values that are not 32 hex digits" if bad else None

    return check


def read_is_accounted_for(table: pa.Table) -> str | None:
    """read = new + known + quarantined, in every row."""
    parts = pc.add(pc.add(table["rows_new"], table["rows_known"]), table["rows_quarantined"])
    wrong = pc.sum(pc.not_equal(parts, table["rows_read"])).as_py()
    return f"{wrong} rows where read is not new + known + quarantined" if wrong else None

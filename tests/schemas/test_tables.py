"""Every table's contract: what conforms passes, what does not is refused with everything that is wrong in one message."""

import datetime as dt

import pyarrow as pa
import pytest

from schemas.errors import SchemaMismatch
from schemas.ids import content_hash
from schemas.table import TableSchema
from schemas.tables import TABLES

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
FROM_CLOSED_LISTS = {
    "granularity": "turn",
    "time_source": "arrival",
    "relation": "next",
    "operation": "SUPERSEDE",
    "what": "source",
    "verdict": "right",
}
KINDS = {"index_shards": "recall", "source_records": "turns"}
every_table = pytest.mark.parametrize("schema", TABLES.values(), ids=TABLES)


def value(schema: TableSchema, field: pa.Field, i: int) -> object:
    """A value that the field's type and the table's checks allow, another one for each `i`."""
    if field.name in ("content_hash", "record_hash", "payload_hash"):
        return content_hash(str(i))
    if schema.name in KINDS and field.name == "kind":
        return KINDS[schema.name]
    if schema.name == "given_extractions" and field.name == "granularity":
        return "fact"
    if field.name == "rows_read":
        return 3 * i
    if field.name in FROM_CLOSED_LISTS:
        return FROM_CLOSED_LISTS[field.name]
    if pa.types.is_fixed_size_list(field.type):
        return [float(i)]
    if pa.types.is_list(field.type):
        return ["x"] if pa.types.is_string(field.type.value_type) else [{"ref": "r", "start": 0, "end": i}]
    if pa.types.is_timestamp(field.type):
        return NOW + dt.timedelta(hours=i)
    if pa.types.is_date(field.type):
        return NOW.date()
    if pa.types.is_boolean(field.type):
        return True
    if pa.types.is_string(field.type):
        return f"{field.name} {i}"
    return b"bytes" if pa.types.is_binary(field.type) else i


def conforming(schema: TableSchema, n: int = 3) -> pa.Table:
    rows = [{f.name: value(schema, f, i) for f in schema.columns} for i in range(n)]
    return pa.Table.from_pylist(rows, schema=schema.schema)


@every_table
def test_conforming_rows_pass_and_come_back_in_the_order_of_the_schema(schema):
    table = conforming(schema)
    backwards = table.select(table.column_names[::-1])
    assert schema.validate(backwards).equals(table)
    assert schema.validate(schema.empty()).num_rows == 0


@every_table
def test_every_mismatch_is_named_in_one_message(schema):
    table = pa.concat_tables([conforming(schema), conforming(schema, 1)])
    n, wanted = table.num_rows, ["unknown column extra"]
    if schema.key:
        wanted.append(f"1 duplicate keys ({', '.join(schema.key)})")
    plain = [f.name for f in schema.columns if f.name not in schema.key and not f.nullable]
    for fault, name in zip(("missing", "type", "nulls"), plain, strict=False):
        at = table.column_names.index(name)
        if fault == "missing":
            table = table.remove_column(at)
            wanted.append(f"missing column {name}")
        elif fault == "type":
            table = table.set_column(at, name, pa.array([{"odd": 1}] * n))
            wanted.append(f"column {name} is struct<odd: int64>")
        else:
            table = table.set_column(at, name, pa.nulls(n, table[name].type))
            wanted.append(f"column {name} has {n} nulls")
    with pytest.raises(SchemaMismatch) as refused:
        schema.validate(table.append_column("extra", pa.array([0] * n)))
    message = str(refused.value)
    assert message.startswith(f"table {schema.name}: ")
    assert [w for w in wanted if w not in message] == []
    assert len(message.split("; ")) == len(wanted)


@every_table
def test_every_column_says_what_it_means(schema):
    assert all(f.metadata and f.metadata[b"doc"] for f in schema.columns)
    assert set(schema.key) <= set(schema.schema.names)


@pytest.mark.parametrize("schema", [t for t in TABLES.values() if t.key], ids=lambda t: t.name)
def test_a_key_that_occurs_twice_is_refused_with_an_example(schema):
    with pytest.raises(SchemaMismatch, match=r"1 duplicate keys .* for example"):
        schema.validate(pa.concat_tables([conforming(schema), conforming(schema, 1)]))


def test_casts_that_lose_nothing_are_made_and_others_are_not():
    schema = TABLES["assignments"]
    table = conforming(schema)
    wide = table.set_column(0, "unit_id", table["unit_id"].cast(pa.large_string()).dictionary_encode())
    wide = wide.set_column(2, "level", table["level"].cast(pa.int64()))
    assert schema.validate(wide).schema == schema.schema
    too_wide = wide.set_column(2, "level", pa.array([0, 1, 2**40]))
    with pytest.raises(SchemaMismatch, match="column level is int64, expected int32"):
        schema.validate(too_wide)


def test_values_outside_a_closed_list_and_broken_hashes_are_refused():
    schema = TABLES["edges"]
    rows = conforming(schema).to_pylist()
    with pytest.raises(SchemaMismatch, match="relation has \\['friend'\\]"):
        schema.from_rows([rows[0] | {"relation": "friend"}, rows[1]])
    turns = TABLES["turns"]
    with pytest.raises(SchemaMismatch, match="content_hash has 1 values that are not 32 hex digits"):
        turns.from_rows([conforming(turns).to_pylist()[0] | {"content_hash": "abc"}])


def test_a_delivery_whose_records_are_not_all_accounted_for_is_refused():
    row = conforming(TABLES["sources"]).to_pylist()[0]
    with pytest.raises(SchemaMismatch, match="1 rows where read is not new"):
        TABLES["sources"].from_rows([row | {"rows_read": 7, "rows_new": 3, "rows_known": 2, "rows_quarantined": 1}])


def test_vectors_of_any_length_pass_but_not_of_another_type():
    schema = TABLES["embeddings"]
    table = conforming(schema).drop_columns(["vector"])
    for dim in (3, 384):
        vectors = pa.FixedSizeListArray.from_arrays(pa.array([0.5] * 3 * dim, pa.float32()), dim)
        assert schema.validate(table.append_column("vector", vectors))["vector"].type.list_size == dim
    doubles = pa.FixedSizeListArray.from_arrays(pa.array([0.5] * 9, pa.float64()), 3)
    with pytest.raises(SchemaMismatch, match="column vector is"):
        schema.validate(table.append_column("vector", doubles))

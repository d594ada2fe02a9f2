"""The lake: atomic files, exclusive creation, immutable filesets, on a folder and on a filesystem that is no folder."""

import datetime as dt
import threading

import pyarrow.dataset as ds
import pytest

from jobs.store.lake import Lake, checksum
from schemas.errors import SchemaMismatch, StoreError
from schemas.tables import TABLES


def test_a_file_is_replaced_as_a_whole_and_leaves_nothing_else_behind(lake):
    lake.write_atomic("a/b.txt", b"one")
    lake.write_atomic("a/b.txt", b"two")
    assert lake.read_bytes("a/b.txt") == b"two"
    assert lake.names("a") == ["b.txt"]
    assert lake.names("nowhere") == []


def test_a_missing_file_is_an_error_that_names_it(lake):
    with pytest.raises(StoreError, match=r"a/b\.txt is missing from the store"):
        lake.read_bytes("a/b.txt")


def test_exclusive_creation_has_one_winner(lake):
    assert lake.create_exclusive("x.json", b"first")
    assert not lake.create_exclusive("x.json", b"second")
    assert lake.read_bytes("x.json") == b"first"
    assert lake.names("") == ["x.json"]


def test_of_many_threads_that_create_a_file_exactly_one_wins(local_lake):
    won, start = [], threading.Barrier(8)

    def create(i: int) -> None:
        start.wait()
        if local_lake.create_exclusive("x", bytes([i])):
            won.append(i)

    threads = [threading.Thread(target=create, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert local_lake.read_bytes("x") == bytes(won)


def test_rows_come_back_in_fileset_shard_and_row_order(lake, make):
    first, second = make.fileset(fingerprint="1" * 32), make.fileset(fingerprint="0" * 32)
    make.write(lake, first, make.assignments("b", "a"), make.assignments(), make.assignments("c"))
    make.write(lake, second, make.assignments("d"))
    assert lake.read("assignments", [first, second])["unit_id"].to_pylist() == ["b", "a", "c", "d"]
    only = lake.read("assignments", [first], columns=["unit_id"], where=ds.field("unit_id") > "a")
    assert only.column_names == ["unit_id"]
    assert only["unit_id"].to_pylist() == ["b", "c"]
    assert sum(b.num_rows for b in lake.batches("assignments", [first, second])) == 4
    assert lake.manifest(first).rows == 3


def test_no_filesets_and_empty_ones_read_as_an_empty_table(lake, make):
    empty = make.fileset()
    make.write(lake, empty, make.assignments())
    assert lake.files([empty]) == []
    for found in (lake.read("assignments", []), lake.read("assignments", [empty])):
        assert found.schema == make.assignments("a").schema
        assert found.num_rows == 0


def test_a_fileset_is_complete_only_when_its_manifest_is_written(lake, make):
    address = make.fileset()
    mark = lake.write_shard(address, 0, 1, make.assignments("a"), {"g": ("h", 0, 1)})
    assert not lake.complete(address)
    assert lake.shard_mark(address, 0, 1) == mark
    assert lake.shard_mark(address, 0, 2) is None
    lake.write_manifest(address, [mark], version=3, params={"k": 1}, inputs=["i"])
    assert lake.complete(address)
    manifest = lake.manifest(address)
    assert (manifest.stage_version, manifest.params, manifest.inputs) == (3, {"k": 1}, ["i"])
    assert manifest.shards == [mark]
    assert mark.groups == {"g": ("h", 0, 1)}


def test_a_second_attempts_shard_does_not_replace_the_first(lake, make):
    address = make.fileset()
    first = lake.write_shard(address, 0, 1, make.assignments("a"), {})
    again = lake.write_shard(address, 0, 1, make.assignments("b"), {})
    assert again == first
    lake.write_manifest(address, [again], version=1, params={}, inputs=[])
    assert lake.read("assignments", [address])["unit_id"].to_pylist() == ["a"]


def test_a_table_that_is_not_what_its_schema_says_is_not_written(lake, make):
    address = make.fileset()
    with pytest.raises(SchemaMismatch, match="missing column day"):
        lake.write_shard(address, 0, 1, make.assignments("a").drop_columns(["day"]), {})
    with pytest.raises(SchemaMismatch, match="duplicate keys"):
        lake.write_shard(address, 0, 1, make.assignments("a", "a"), {})
    assert lake.names(address.folder) == []


def test_verify_finds_a_flipped_byte_a_missing_file_and_a_missing_manifest(lake, make):
    whole, flipped, missing, unmarked = (make.fileset(fingerprint=c * 32) for c in "0123")
    for address in (whole, flipped, missing, unmarked):
        make.write(lake, address, make.assignments("a"))
    (file,) = [n for n in lake.names(flipped.folder) if n.endswith(".parquet")]
    payload = bytearray(lake.read_bytes(f"{flipped.folder}/{file}"))
    payload[len(payload) // 2] ^= 1
    lake.write_atomic(f"{flipped.folder}/{file}", bytes(payload))
    lake.remove(f"{missing.folder}/{next(n for n in lake.names(missing.folder) if n.endswith('.parquet'))}")
    lake.remove(f"{unmarked.folder}/manifest.json")
    wrong = lake.verify([whole, flipped, missing, unmarked])
    assert [w.split(" ", 1)[1].split(":")[0] for w in wrong] == ["is damaged", "is missing", "is missing"]
    assert [w.split("/part")[0].split("/manifest")[0] for w in wrong] == [
        flipped.folder,
        missing.folder,
        unmarked.folder,
    ]


def test_a_marks_checksum_is_that_of_the_files_bytes(lake, make):
    (mark,) = make.write(lake, make.fileset(), make.assignments("a"))
    payload = lake.read_bytes(f"{make.fileset().folder}/{mark.file}")
    assert (checksum(payload), len(payload)) == (mark.checksum, mark.bytes)


def test_vectors_keep_their_length_and_their_bits(lake, make):
    address = make.fileset("embeddings", stage="embed")
    rows = make.embeddings({"a": [0.1, 0.2, 0.3], "b": [1.0, -0.0, 3e-39]})
    make.write(lake, address, rows)
    found = lake.read("embeddings", [address])["vector"].combine_chunks()
    assert found.type.list_size == 3
    assert found.flatten().equals(rows["vector"].combine_chunks().flatten())


def test_a_store_that_was_moved_reads_the_same(local_lake, make, tmp_path):
    make.write(local_lake, make.fileset(), make.assignments("a"))
    (tmp_path / "store").rename(tmp_path / "moved")
    moved = Lake(tmp_path / "moved")
    assert moved.read("assignments", [make.fileset()])["unit_id"].to_pylist() == ["a"]
    assert moved.verify([make.fileset()]) == []


def test_times_and_nulls_survive_the_file(lake, make):
    rows = [
        make.unit("n/a", zone="+02:00", event_time=dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, dt.UTC)),
        make.unit("n/b"),
    ]
    table = TABLES["memory_units"].from_rows(rows)
    address = make.fileset("memory_units", stage="segment")
    make.write(lake, address, table)
    assert lake.read("memory_units", [address]).equals(table)

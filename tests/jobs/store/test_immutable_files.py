"""What DuckDB and Arrow ask of a bucket's files that do not change: once, or not at all."""

from __future__ import annotations

from collections import Counter

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from jobs.store import immutable_files
from jobs.store.immutable_files import ImmutableFiles

SQL = "SELECT sum(n) FROM read_parquet('memory://lake/part.parquet')"


class Counted(MemoryFileSystem):
    """A filesystem that counts what a bucket would get as requests."""

    store: dict = {}  # noqa: RUF012  its own, as is that of its parent
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter = Counter()

    def info(self, path, **more):
        self.asked["info"] += 1
        return super().info(path, **more)

    def cat_file(self, path, **more):
        self.asked["read"] += 1
        with super()._open(self._strip_protocol(path), "rb") as file:
            return file.read()

    def _open(self, path, mode="rb", **more):
        self.asked["open"] += mode == "rb"
        return super()._open(path, mode, **more)


@pytest.fixture
def bucket() -> Counted:
    fs = Counted()
    with fs.open("/lake/part.parquet", "wb") as file:
        pq.write_table(pa.table({"n": list(range(1000))}), file)
    fs.asked.clear()
    return fs


def connected(files: fsspec.AbstractFileSystem) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.register_filesystem(files)
    return con


def test_a_file_of_a_manifest_is_read_once_and_never_asked_about(bucket):
    files = ImmutableFiles(bucket, {"/lake/part.parquet": bucket.size("/lake/part.parquet")})
    bucket.asked.clear()
    con = connected(files)
    assert [con.execute(SQL).fetchone() for _ in range(3)] == [(499_500,)] * 3
    assert bucket.asked == {"read": 1}
    bare = connected(bucket)
    assert bare.execute(SQL).fetchone() == (499_500,)
    assert bucket.asked["info"] >= 3, "this is what it saves"


def test_a_file_of_unknown_size_is_asked_about_once(bucket):
    found = ds.dataset("/lake/part.parquet", format="parquet", filesystem=ImmutableFiles(bucket)).to_table()
    assert found.num_rows == 1000
    assert bucket.asked == {"info": 1, "read": 1}


def test_a_large_file_is_read_in_parts(bucket, monkeypatch):
    monkeypatch.setattr(immutable_files, "SMALL", 100)
    assert connected(ImmutableFiles(bucket)).execute(SQL).fetchone() == (499_500,)
    assert bucket.asked["read"] == 0 and bucket.asked["open"] >= 1


def test_of_kept_files_the_oldest_give_way(bucket, monkeypatch):
    monkeypatch.setattr(immutable_files, "KEPT_BYTES", 250)
    for name in "abc":
        bucket.pipe_file(f"/lake/{name}", name.encode() * 100)
    files = ImmutableFiles(bucket)
    bucket.asked.clear()
    assert [files.open(f"/lake/{name}").read()[:1] for name in "abcb"] == [b"a", b"b", b"c", b"b"]
    assert bucket.asked["read"] == 3
    assert files.open("/lake/a").read() == b"a" * 100 and bucket.asked["read"] == 4


def test_nothing_is_written_and_what_is_not_there_is_said(bucket):
    files = ImmutableFiles(bucket)
    with pytest.raises(OSError, match="read only"):
        files.open("/lake/new", "wb")
    with pytest.raises(FileNotFoundError):
        files.open("/lake/none")
    assert not files.exists("/lake/none")

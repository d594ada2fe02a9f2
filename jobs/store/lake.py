"""The lake: immutable, validated, content-addressed Parquet filesets on a folder or a bucket.

One shard is one atomic file; its mark (`part-00003-of-00016.json`) is created exclusively after it and names it with its
checksum; `manifest.json` gathers the marks and is written last. A resumed run finds the marks and writes only what is missing.
Files that no mark names do not exist: a killed attempt leaves some behind and gc removes them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from jobs.store import bucket
from jobs.store.immutable_files import ImmutableFiles
from schemas.errors import StoreError
from schemas.manifest import Fileset, Manifest, Shard
from schemas.tables import TABLES

FETCHED_AT_ONCE = 8


def checksum(payload: bytes) -> str:
    """128-bit BLAKE2b of a file's bytes."""
    return hashlib.blake2b(payload, digest_size=16).hexdigest()


class Lake:
    """Files under one root, through fsspec. Nothing above this class knows whether the root is a folder or a bucket.

    It can be pickled: only the address travels, and the process that gets it uses its own endpoint and credentials.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self.fs, path = bucket.open_filesystem(os.fspath(root))
        self.root = path.rstrip("/") or "/"
        self.local = isinstance(self.fs, LocalFileSystem)
        self.on_s3 = bucket.is_s3(self.fs)
        self.url = self.root if self.local else self.fs.unstrip_protocol(self.root)
        self._files: dict[str, list[str]] = {}
        self._sizes: dict[str, int] = {}
        self.immutable = self.fs if self.local else ImmutableFiles(self.fs, self._sizes)

    def __reduce__(self) -> tuple[type[Lake], tuple[str]]:
        return Lake, (self.url,)

    def reach(self) -> None:
        """Make sure that the bucket is there and answers, within 25 s; nothing to do for a folder.

        Raises:
            StoreError: it is not, or refuses the credentials; says what to do.
        """
        bucket.reach(self.fs, self.root)

    def _asking(self) -> contextlib.AbstractContextManager[None]:
        return bucket.one_line(self.fs, self.root)

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def local_path(self, name: str) -> Path:
        """The path for libraries that need a real file; only for local stores."""
        return Path(self.path(name))

    # -- small files -------------------------------------------------------------------------------------------------

    def exists(self, name: str) -> bool:
        if not self.on_s3:
            return bool(self.fs.exists(self.path(name)))
        try:
            with self._asking():
                self.fs.info(self.path(name))
        except FileNotFoundError:
            return False
        return True

    def find_bytes(self, name: str) -> bytes | None:
        """A file's bytes, or None where there is no such file."""
        try:
            with self._asking():
                return self.fs.cat_file(self.path(name), **(bucket.ONE_REQUEST if self.on_s3 else {}))
        except FileNotFoundError:
            return None

    def read_bytes(self, name: str) -> bytes:
        found = self.find_bytes(name)
        if found is None:
            raise StoreError(f"{name} is missing from the store at {self.url}")
        return found

    def write_atomic(self, name: str, payload: bytes) -> None:
        """Replace `name` in one step: a reader sees the old bytes or the new ones, never a part."""
        if not self.local:
            with self._asking():
                self.fs.pipe_file(self.path(name), payload)
            return
        temporary = self._write_temporary(name, payload)
        temporary.replace(self.local_path(name))

    def create_exclusive(self, name: str, payload: bytes) -> bool:
        """Create `name` with all its bytes, or return False when somebody else already has."""
        if not self.local:
            with self._asking():
                return bucket.create(self.fs, self.path(name), payload)
        temporary = self._write_temporary(name, payload)
        try:
            os.link(temporary, self.path(name))
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    def swap(self, name: str, old: bytes, new: bytes) -> bool:
        """Replace `name` if it still holds `old`; False when it does not. Only on S3, where no kernel lock can do it."""
        with self._asking():
            return bucket.swap(self.fs, self.path(name), old, new)

    def move_in(self, built: Path, name: str) -> None:
        """Put a finished file of this machine in its place in one step; `built` is gone afterwards where the store is a folder."""
        if not self.local:
            with self._asking():
                self.fs.put_file(str(built), self.path(name))
            return
        target = self.local_path(name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with built.open("rb+") as f:
                os.fsync(f.fileno())
            built.replace(target)
        except OSError as problem:
            raise self.full(problem) from problem

    def _write_temporary(self, name: str, payload: bytes) -> Path:
        target = self.local_path(name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise self.full(problem) from problem
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.tmp")
        try:
            with temporary.open("wb") as f:
                f.write(payload)
                f.flush()
                os.fsync(f.fileno())
        except OSError as problem:
            temporary.unlink(missing_ok=True)
            raise self.full(problem) from problem
        return temporary

    def full(self, problem: OSError) -> Exception:
        """A full disk in words that say what to do; any other error as it is."""
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            return problem
        return StoreError(
            f"no space is left for the store at {self.url}: make room there (engraph snapshots gc --keep N frees what old ones "
            "hold) and run again; what is finished is kept"
        )

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; empty when there is none. An object that some tool made to mark the folder is none."""
        path = self.path(folder).rstrip("/")
        try:
            with self._asking():
                found = self.fs.ls(path, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return sorted(p.rstrip("/").rsplit("/", 1)[-1] for p in found if p.rstrip("/") != path)

    def remove(self, name: str) -> None:
        """Remove a file or a folder, if it is there.

        Raises:
            StoreError: the bucket kept it.
        """
        with contextlib.suppress(FileNotFoundError), self._asking():
            kind = self.fs.info(self.path(name))["type"]
            if kind == "file" and not self.local:
                self.fs.rm_file(self.path(name))
                return
            self.fs.rm(self.path(name), recursive=True)
        if self.on_s3 and self.exists(name):  # s3fs says nothing of what the server refused to delete
            raise StoreError(f"cannot delete {self.url}/{name}: the credentials need the right to delete there")

    def fetch(self, name: str, target: Path) -> None:
        """Copy a folder of the store to the local folder `target`, which is there only when all its files are."""
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.tmp")
        temporary.parent.mkdir(parents=True, exist_ok=True)
        with self._asking():
            self.fs.get(self.path(name), str(temporary), recursive=True)
        temporary.rename(target)

    def size(self) -> int:
        """Bytes of all files of the store."""
        with self._asking():
            return sum(int(found["size"] or 0) for found in self.fs.find(self.root, detail=True).values())

    # -- filesets ----------------------------------------------------------------------------------------------------

    def manifest(self, fileset: Fileset) -> Manifest:
        return Manifest.model_validate_json(self.read_bytes(f"{fileset.folder}/manifest.json"))

    def complete(self, fileset: Fileset) -> bool:
        name = f"{fileset.folder}/manifest.json"
        return self.exists(name) if self.local else self.find_bytes(name) is not None  # one request for two

    def shard_mark(self, fileset: Fileset, number: int, of: int) -> Shard | None:
        found = self.find_bytes(f"{fileset.folder}/part-{number:05d}-of-{of:05d}.json")
        return None if found is None else Shard.model_validate_json(found)

    def write_shard(
        self,
        fileset: Fileset,
        number: int,
        of: int,
        table: pa.Table,
        groups: dict[str, tuple[str, int, int]],
        refused: dict[str, str] | None = None,
    ) -> Shard:
        """Validate and write one shard; if another attempt finished it first, theirs stands."""
        table = TABLES[fileset.table].validate(table)
        stem = f"part-{number:05d}-of-{of:05d}"
        file, payload = None, b""
        if table.num_rows:
            file = f"{stem}-{uuid.uuid4().hex[:8]}.parquet"
            payload = to_parquet(table)
            self.write_atomic(f"{fileset.folder}/{file}", payload)
        mark = Shard(
            number=number,
            of=of,
            file=file,
            rows=table.num_rows,
            bytes=len(payload),
            checksum=checksum(payload),
            groups=groups,
            refused=refused or {},
        )
        name = f"{fileset.folder}/{stem}.json"
        if self.create_exclusive(name, mark.model_dump_json().encode()):
            return mark
        return Shard.model_validate_json(self.read_bytes(name))

    def write_manifest(self, fileset: Fileset, shards: list[Shard], *, version: int, params: dict, inputs: list[str]):
        """Complete a fileset: from here on it exists."""
        manifest = Manifest(
            table=fileset.table,
            stage=fileset.stage,
            stage_version=version,
            params=params,
            day=fileset.day,
            bucket=fileset.bucket,
            fingerprint=fileset.fingerprint,
            inputs=inputs,
            rows=sum(s.rows for s in shards),
            shards=shards,
        )
        self.create_exclusive(f"{fileset.folder}/manifest.json", manifest.model_dump_json().encode())
        return manifest

    def files(self, filesets: Iterable[Fileset]) -> list[str]:
        """Full paths of all Parquet files of complete filesets. Those never change, so each manifest is read once."""
        found = []
        for fileset in filesets:
            if fileset.folder not in self._files:
                shards = self.manifest(fileset).shards
                sizes = {self.path(f"{fileset.folder}/{s.file}"): s.bytes for s in shards if s.file}
                self._files[fileset.folder] = list(sizes)
                self._sizes |= sizes
            found += self._files[fileset.folder]
        return found

    def dataset(self, table: str, filesets: Iterable[Fileset]) -> ds.Dataset | None:
        """An Arrow dataset over filesets of one table, or None when they hold no rows. Read lazily from a folder, at once else."""
        files = self.files(filesets)
        if not files:
            return None
        if not self.local:
            return ds.dataset(pa.concat_tables(self._fetched(table, files)))
        return ds.dataset(files, schema=_schema(table), format="parquet", filesystem=self.fs)

    def _fetched(self, table: str, files: Sequence[str], columns=None, where=None) -> Iterator[pa.Table]:
        """Rows of each file of a store that is no folder: whole files, FETCHED_AT_ONCE at a time.

        Arrow could read through fsspec by itself, but then its threads call Python, and the process aborts when it ends while one
        still does (2 of 12 runs with pyarrow 26).
        """
        names = [file.removeprefix(f"{self.root}/") for file in files]
        with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
            for at in range(0, len(names), FETCHED_AT_ONCE):
                for payload in pool.map(self.read_bytes, names[at : at + FETCHED_AT_ONCE]):
                    yield pq.read_table(_own(payload), columns=columns, filters=where, schema=_schema(table))

    def read_shard(self, fileset: Fileset, shard: Shard) -> pa.Table:
        """One shard's rows."""
        if shard.file is None:
            return TABLES[fileset.table].empty()
        return pq.read_table(_own(self.read_bytes(f"{fileset.folder}/{shard.file}")))

    def read(
        self,
        table: str,
        filesets: Iterable[Fileset],
        *,
        columns: Sequence[str] | None = None,
        where: ds.Expression | None = None,
    ) -> pa.Table:
        """Rows of filesets as one table (in fileset, shard, row order); an empty table of the schema when there are none."""
        names = list(columns or TABLES[table].schema.names)
        files = self.files(filesets)
        if not files:
            return TABLES[table].empty().select(names)
        if self.local:
            dataset = ds.dataset(files, schema=_schema(table), format="parquet", filesystem=self.fs)
            found = dataset.to_table(columns=names, filter=where)
        else:
            found = pa.concat_tables(self._fetched(table, files, names, where))
        return found.replace_schema_metadata(None)

    def batches(
        self, table: str, filesets: Iterable[Fileset], *, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Rows of filesets, streamed."""
        files = self.files(filesets)
        if self.local and files:
            yield from ds.dataset(files, schema=_schema(table), filesystem=self.fs).to_batches(columns=columns)
        elif files:
            for fetched in self._fetched(table, files, columns):
                yield from fetched.to_batches()

    def verify(self, filesets: Iterable[Fileset]) -> list[str]:
        """What is wrong with the files of `filesets`: missing, or not the bytes their marks promise."""
        wrong = []
        for fileset in filesets:
            manifest = self.find_bytes(f"{fileset.folder}/manifest.json")
            if manifest is None:
                wrong.append(f"{fileset.folder}/manifest.json is missing")
                continue
            for shard in Manifest.model_validate_json(manifest).shards:
                if shard.file is None:
                    continue
                name = f"{fileset.folder}/{shard.file}"
                payload = self.find_bytes(name)
                if payload is None:
                    wrong.append(f"{name} is missing")
                elif checksum(payload) != shard.checksum:
                    wrong.append(f"{name} is damaged: its checksum does not match")
        return wrong


def _schema(table: str) -> pa.Schema | None:
    """What all files of a table have; the length of vectors is their encoder's."""
    return None if table == "embeddings" else TABLES[table].schema


def _own(payload: bytes) -> pa.BufferReader:
    """A reader of a copy in Arrow's memory, which its threads can let go without Python."""
    sink = pa.BufferOutputStream()
    sink.write(payload)
    return pa.BufferReader(sink.getvalue())


def to_parquet(table: pa.Table, *, row_group_size: int = 16_384) -> bytes:
    """Parquet bytes. Vectors are stored plain: random floats do not compress, and DuckDB maps them faster."""
    sink = pa.BufferOutputStream()
    vectors = any(pa.types.is_fixed_size_list(f.type) for f in table.schema)
    pq.write_table(
        table,
        sink,
        compression="none" if vectors else "zstd",
        use_dictionary=not vectors,
        row_group_size=row_group_size,
        store_schema=True,
    )
    return sink.getvalue().to_pybytes()

"""A snapshot's DuckDB file: where it lies, how it gets there, and whether it is the one that was published.

`snapshots/<n>/engraph.duckdb` is put in its place whole, in one rename, under the writer's lock and before `snapshots/<n>.json`,
which names its bytes: whoever finds the snapshot finds the file, and one that does not fit is an error. A file that is open goes
on giving the rows it had when gc removes it or another takes its place.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import duckdb

from jobs.store.lake import Lake
from schemas.database import ROW_GROUP, STORAGE_VERSION
from schemas.errors import StoreError
from schemas.manifest import DatabaseFile, Snapshot

FILE = "engraph.duckdb"
BUILDING = ".building-"


def name(number: int) -> str:
    """Where the file of a snapshot lies in the store."""
    return f"snapshots/{number}/{FILE}"


def workplace(lake: Lake) -> tempfile.TemporaryDirectory:
    """A folder to build a file in: beside its place, so that moving it is a rename, or on this machine for a bucket."""
    parent = lake.local_path("snapshots") if lake.local else None
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=BUILDING, dir=parent, ignore_cleanup_errors=True)


def attach(con: duckdb.DuckDBPyConnection, path: Path, alias: str) -> None:
    """Make a new file at `path` the catalog `alias` of a connection."""
    con.execute(
        f"ATTACH {literal(str(path))} AS {alias} (ROW_GROUP_SIZE {ROW_GROUP}, STORAGE_VERSION '{STORAGE_VERSION}')"
    )


def literal(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def install(lake: Lake, built: Path, number: int) -> DatabaseFile:
    """Move a finished file to its place; what it is, for the snapshot to name."""
    with built.open("rb") as f:
        checksum = hashlib.file_digest(f, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    told = DatabaseFile(bytes=built.stat().st_size, checksum=checksum)
    lake.move_in(built, name(number))
    return told


def is_there(lake: Lake, snapshot: Snapshot) -> bool:
    """Whether the snapshot has its file, by its size."""
    told, path = snapshot.duckdb, lake.path(name(snapshot.number))
    try:
        return told is not None and lake.fs.size(path) == told.bytes
    except FileNotFoundError:
        return False


def local_copy(lake: Lake, snapshot: Snapshot, cache: Path | None) -> Path | None:
    """The file as DuckDB can open it, fetched to `cache` from a store that is no folder; None for a snapshot without one.

    Raises:
        StoreError: it is not there, or is not the one that the snapshot names.
    """
    if snapshot.duckdb is None:
        return None
    if not is_there(lake, snapshot):
        raise StoreError(
            f"{name(snapshot.number)} is missing or not the file that was published: run any ingest again to write a new one"
        )
    if lake.local:
        return lake.local_path(name(snapshot.number))
    if cache is None:
        raise StoreError("a remote store needs a local folder for its DuckDB file")
    target = cache / f"snapshot-{snapshot.number}"
    if not target.exists():
        lake.fetch(f"snapshots/{snapshot.number}", target)
    return target / FILE


def restore(lake: Lake, old: Snapshot, new: Snapshot) -> DatabaseFile | None:
    """The file of a snapshot that has an older one's content: a copy that says whose it is."""
    if not is_there(lake, old):
        return None
    with workplace(lake) as folder:
        copy = Path(folder) / FILE
        lake.fs.get_file(lake.path(name(old.number)), str(copy))
        with duckdb.connect(str(copy)) as con:
            con.execute(
                "UPDATE snapshot SET number = ?, parent = ?, created_at = ?, run_id = ?, restored_from = ?",
                [new.number, new.parent, new.created_at, new.run_id, old.number],
            )
        return install(lake, copy, new.number)

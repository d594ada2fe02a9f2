"""Staging: what connections write back in SQL, until the next ingest takes it in.

Each connection that may write has a small DuckDB file of its own in `written-back/`, attached beside the snapshot: three tables
with constraints, so that INSERT says at once what is wrong, and a write-ahead log, so that a kill loses nothing that was committed.
A file that its connection still holds is taken when it lets go. One without rows is removed. One that cannot be read is set aside
under another name: it counts as one refused record, and its bytes stay for whoever can repair them.
"""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass
from pathlib import Path

import duckdb

from jobs.store.database import literal
from jobs.store.lake import Lake
from schemas.errors import StoreError
from schemas.tables.feedback import VERDICTS

FOLDER = "written-back"
CATALOG = "staging"
_VERDICTS = ", ".join(f"'{v}'" for v in VERDICTS)
TABLES = {
    "feedback": f"""
        unit_id VARCHAR NOT NULL, query VARCHAR, verdict VARCHAR NOT NULL CHECK (verdict IN ({_VERDICTS})), note VARCHAR,
        author VARCHAR, "at" TIMESTAMPTZ NOT NULL DEFAULT now()
    """,
    "corrections": """
        unit_id VARCHAR NOT NULL, text VARCHAR NOT NULL CHECK (trim(text) <> ''), author VARCHAR,
        "at" TIMESTAMPTZ NOT NULL DEFAULT now()
    """,
    "facts": """
        namespace VARCHAR NOT NULL CHECK (trim(namespace) <> ''), text VARCHAR NOT NULL CHECK (trim(text) <> ''),
        event_time TIMESTAMPTZ, author VARCHAR, "at" TIMESTAMPTZ NOT NULL DEFAULT now()
    """,
}
COMMENTS = {
    "feedback": "INSERT here what an answer was worth: verdict " + ", ".join(VERDICTS),
    "corrections": "INSERT here what a turn or a document should have said; the next ingest makes a new version of it",
    "facts": "INSERT here what should be remembered; the next ingest takes it in as a turn of its namespace",
}


@dataclass(frozen=True)
class Staged:
    """The rows of one file; where it could not be read none, and why."""

    stem: str
    snapshot: int
    rows: dict[str, list[dict]]
    unreadable: str | None = None


def attach(lake: Lake, con: duckdb.DuckDBPyConnection, snapshot: int) -> str | None:
    """Give a connection tables to write to; the file's name, or None where the store is read-only."""
    name = f"{FOLDER}/{snapshot}-{uuid.uuid4().hex[:12]}.duckdb"
    try:
        lake.local_path(FOLDER).mkdir(parents=True, exist_ok=True)
        con.execute(f"ATTACH {literal(str(lake.local_path(name)))} AS {CATALOG}").fetchall()
    except (OSError, duckdb.IOException):
        return None
    for table, columns in TABLES.items():
        con.execute(f"CREATE TABLE {CATALOG}.{table} ({columns})").fetchall()
        con.execute(f"COMMENT ON TABLE {CATALOG}.{table} IS {literal(COMMENTS[table])}").fetchall()
    return name


def take(lake: Lake) -> list[Staged]:
    """What lies there and is not being written to. Call it under the writer's lock; `remove` each once it is taken in."""
    found = []
    for name in lake.names(FOLDER) if lake.local else ():
        path = lake.local_path(f"{FOLDER}/{name}")
        if path.suffix != ".duckdb" or path.stem.endswith(".unreadable"):
            continue
        try:
            rows, why = _rows(path), None
        except duckdb.Error as error:
            if _held(error):
                continue
            rows, why = {t: [] for t in TABLES}, str(error).splitlines()[0]
        if why or any(rows.values()):
            snapshot = path.stem.partition("-")[0]
            found.append(Staged(path.stem, int(snapshot) if snapshot.isdecimal() else 0, rows, why))
        else:
            remove(lake, path.stem)
    return found


def _held(error: duckdb.Error) -> bool:
    """Whether a connection, of this process or another one, has the file open."""
    told = str(error)
    return "already attached" in told or "Could not set lock" in told


def _rows(path: Path) -> dict[str, list[dict]]:
    if path.stat().st_size == 0:  # its connection was killed before it wrote anything
        return {}
    with duckdb.connect(str(path)) as con:  # not read-only: what the log holds has to go into the file
        con.execute("SET TimeZone = 'UTC'")
        if not con.execute("SHOW TABLES").fetchall():
            return {}
        return {t: con.sql(f'SELECT * FROM {t} ORDER BY "at"').to_arrow_table().to_pylist() for t in TABLES}


def set_aside(lake: Lake, stem: str) -> None:
    """Rename a file that cannot be read, so that it is counted once and kept."""
    for suffix in ("duckdb", "duckdb.wal"):
        path = lake.local_path(f"{FOLDER}/{stem}.{suffix}")
        if path.exists():
            path.rename(lake.local_path(f"{FOLDER}/{stem}.unreadable.{suffix.rpartition('.')[2]}"))


def remove(lake: Lake, stem: str) -> None:
    """Remove a file that was taken in."""
    for suffix in ("duckdb", "duckdb.wal"):
        lake.remove(f"{FOLDER}/{stem}.{suffix}")


def discard_empty(lake: Lake, name: str) -> None:
    """Remove the file of a connection that is closed and wrote nothing."""
    with contextlib.suppress(duckdb.Error, OSError, StoreError):
        path = lake.local_path(name)
        if path.exists() and not any(_rows(path).values()):
            remove(lake, path.stem)

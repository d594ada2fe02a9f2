"""The home of a laptop's Prefect: a folder beside the store with database, logs and a lock that one `engraph serve` holds."""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from schemas.errors import EngraphError, UsageError


def home_of(store: str) -> Path:
    """PREFECT_HOME, else `<store>.prefect` beside a local store, else a folder of the working directory."""
    given = os.environ.get("PREFECT_HOME")
    if given:
        return Path(given).expanduser().absolute()
    if "://" in store:
        return Path.cwd() / f"{store.rstrip('/').rsplit('/', 1)[-1]}.prefect"
    folder = Path(store).absolute()
    return folder.with_name(f"{folder.name}.prefect")


@contextmanager
def held(home: Path, about: dict) -> Iterator[None]:
    """Hold the home's lock; `about` tells the next one who does.

    Raises:
        EngraphError: another `engraph serve` holds it.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UsageError(f"cannot write to {home}: {problem.strerror}; set PREFECT_HOME to a folder of yours") from None
    claim = home / "serve.json"
    lock = FileLock(home / "serve.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise EngraphError(
            f"{home} is in use by {_holder(claim)}: stop that one, or set PREFECT_HOME to another folder"
        ) from None
    try:
        claim.write_text(json.dumps(about))
        yield
    finally:
        claim.unlink(missing_ok=True)
        lock.release()


def _holder(claim: Path) -> str:
    try:
        found = json.loads(claim.read_text())
        return f"another engraph serve (process {found['pid']}, port {found['port']})"
    except (OSError, ValueError, KeyError):
        return "another engraph serve"


def check_database(home: Path, say: Callable[[str], None]) -> None:
    """Refuse a database that this Prefect cannot use; say when it will be migrated.

    One that is given by its address is not looked at.

    Raises:
        EngraphError: another version of Prefect wrote it, or somebody else is writing to it.
    """
    file = home / "prefect.db"
    if os.environ.get("PREFECT_SERVER_DATABASE_CONNECTION_URL") or not file.exists():
        return
    import prefect

    revision, known, head = _revision(file), *_revisions()
    if revision and revision not in known:
        raise EngraphError(
            f"{file} was written by a newer Prefect (schema {revision}) than {prefect.__version__}: install that version, or set "
            "PREFECT_HOME to another folder"
        )
    if revision and revision != head:
        say(f"{file} was written by an older Prefect: the server of {prefect.__version__} migrates it now")


def _revision(file: Path) -> str | None:
    """The schema's version; None where there is none yet."""
    try:
        with closing(sqlite3.connect(file, timeout=2, isolation_level=None)) as con:
            con.execute("BEGIN IMMEDIATE")
            con.execute("ROLLBACK")
            row = con.execute("SELECT version_num FROM alembic_version").fetchone()
            return row[0] if row else None
    except sqlite3.OperationalError as problem:
        if "no such table" in str(problem):
            return None
        if "locked" in str(problem) or "busy" in str(problem):
            raise EngraphError(
                f"{file} is locked by another process: stop the Prefect server that uses it, or set PREFECT_HOME to another folder"
            ) from None
        raise EngraphError(
            f"{file} cannot be opened ({problem}): move it away, or set PREFECT_HOME to another folder"
        ) from None
    except sqlite3.DatabaseError as problem:
        raise EngraphError(
            f"{file} is no database ({problem}): move it away; runs' history is lost, the store is not"
        ) from None


def _revisions() -> tuple[set[str], str]:
    """(all schema versions that the installed Prefect knows, the newest)."""
    import prefect.server.database
    from alembic.script import ScriptDirectory

    folder = Path(prefect.server.database.__file__).parent / "_migrations"
    scripts = ScriptDirectory(folder, version_locations=[str(folder / "versions" / "sqlite")])
    return {s.revision for s in scripts.walk_revisions()}, str(scripts.get_current_head())

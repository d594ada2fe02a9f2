"""Health: the installation and the store, check by check, each with the command that mends it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from jobs import check_cluster
from jobs.store import lock, snapshots
from jobs.store.lake import Lake
from pipelines.embedding import resolve_encoder
from pipelines.embedding.model_folder import model_folder
from schemas.errors import EngraphError
from schemas.settings import Settings

PACKAGES = ("pyarrow", "polars", "duckdb", "faiss-cpu", "torch", "sentence-transformers", "fsspec")
FREE_BYTES = 2_000_000_000


def _check(name: str, ok: bool, detail: str, mend: str = "", *, needed: bool = True) -> dict:
    return {"name": name, "ok": ok, "detail": detail, "mend": mend, "needed": needed}


def checks(store: str, settings: Settings, profile: str = "local") -> list[dict]:
    """Every check as {name, ok, detail, mend, needed}."""
    found = [_python(), *(_package(p) for p in PACKAGES), _encoder(settings.encoder), _cores(), _disk(store)]
    found += check_cluster.checks(settings, needed=profile == "cluster")
    lake = Lake(store)
    if not lake.exists(snapshots.INFO):
        return [*found, _check("store", True, f"none at {lake.url} yet", needed=False)]
    return found + [_guarded(name, check, lake) for name, check in STORE_CHECKS.items()]


def _guarded(name: str, check: Callable[[Lake], dict], lake: Lake) -> dict:
    try:
        return check(lake)
    except EngraphError as problem:
        return _check(
            name, False, str(problem), "run the ingest again; if that does not help: engraph snapshots rollback N"
        )


def _python() -> dict:
    version = ".".join(map(str, sys.version_info[:3]))
    return _check("python", sys.version_info >= (3, 11), version, "install Python 3.11 or 3.12")


def _package(name: str) -> dict:
    try:
        return _check(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return _check(name, False, "not installed", "make setup")


def _encoder(spec: str | None) -> dict:
    try:
        chosen = resolve_encoder(spec)
        return _check("encoder", True, f"{chosen.name} at {model_folder(chosen.model)}")
    except EngraphError as problem:
        return _check("encoder", False, str(problem), "set ENGRAPH_ENCODER to a model that can be loaded")


def _cores() -> dict:
    return _check("cores", True, str(os.cpu_count()), needed=False)


def _disk(store: str) -> dict:
    folder = Path(store).absolute() if "://" not in store else Path(tempfile.gettempdir())
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return _check("free disk", free > FREE_BYTES, f"{free / 1e9:.1f} GB", "make room, or choose another --store")


def _store_files(lake: Lake) -> dict:
    snapshot = snapshots.current(lake)
    if snapshot is None:
        return _check("store files", True, "no snapshot yet", needed=False)
    wrong = lake.verify(snapshot.catalogue())
    detail = "; ".join(wrong[:3]) if wrong else f"all files of snapshot {snapshot.number} are whole"
    return _check("store files", not wrong, detail, "engraph snapshots rollback N, or ingest the sources again")


def _index_files(lake: Lake) -> dict:
    from jobs.build_indexes import open_shard

    snapshot = snapshots.current(lake)
    if snapshot is None or not lake.local:
        return _check("index files", True, "not looked at", needed=False)
    for shard_id in snapshot.index.values():
        open_shard(lake, shard_id)
    return _check("index files", True, f"{len(snapshot.index)} shards open")


def _lock(lake: Lake) -> dict:
    claim = lock.holder(lake)
    detail = f"held by {claim['purpose']}, process {claim['pid']} on {claim['host']}" if claim else "free"
    return _check("writer's lock", True, detail, needed=False)


STORE_CHECKS = {"store files": _store_files, "index files": _index_files, "writer's lock": _lock}

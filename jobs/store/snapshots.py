"""Snapshots: the versions of the whole store, published one after the other, pinned by readers, removed by gc.

To publish is to create `snapshots/<n+1>.json` exclusively: of two writers one wins and the other rebases. `CURRENT` is a hint;
the truth is the highest number there.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import uuid
from collections.abc import Collection, Iterable

from jobs.store.alive import alive
from jobs.store.lake import Lake
from schemas.errors import PublishConflict, StoreError
from schemas.manifest import FORMAT, Catalogue, Snapshot, StoreInfo

INFO = "store.json"
EMPTY = Catalogue()
PIN_LIFETIME = dt.timedelta(hours=24)


def open_store(lake: Lake) -> StoreInfo:
    """What the store was made with.

    Raises:
        StoreError: there is no store here, or another version of Engraph wrote it.
    """
    lake.reach()
    found = lake.find_bytes(INFO)
    if found is None:
        raise StoreError(f"no store at {lake.url}: make one with `engraph ingest SOURCE --store {lake.url}`")
    info = StoreInfo.model_validate_json(found)
    if info.format != FORMAT:
        raise StoreError(f"the store at {lake.url} has format {info.format}, this version reads {FORMAT}")
    return info


def make_store(lake: Lake, *, buckets: int, now: dt.datetime) -> StoreInfo:
    """Open the store, making it first where there is none. `buckets` only counts at the first call.

    Raises:
        StoreError: the bucket's server does not know conditional writes, so that two writers would overwrite each other.
    """
    lake.reach()
    payload = StoreInfo(buckets=buckets, created_at=now).model_dump_json().encode()
    if lake.create_exclusive(INFO, payload) and not lake.local and lake.create_exclusive(INFO, payload + b"\n"):
        lake.remove(INFO)
        raise StoreError(
            f"the server of {lake.url} ignores conditional writes (If-None-Match), so that two writers would overwrite each "
            "other: use a server that has them, such as AWS S3, MinIO or Ceph, or a folder"
        )
    return open_store(lake)


def numbers(lake: Lake) -> list[int]:
    """Numbers of all snapshots, ascending."""
    return sorted(int(n[:-5]) for n in lake.names("snapshots") if n.endswith(".json") and n[:-5].isdigit())


def load(lake: Lake, number: int) -> Snapshot:
    found = lake.find_bytes(f"snapshots/{number}.json")
    if found is None:
        have = numbers(lake)
        raise StoreError(
            f"there is no snapshot {number}; there are {have[0]} to {have[-1]}" if have else "no snapshot yet"
        )
    return Snapshot.model_validate_json(found)


def current(lake: Lake) -> Snapshot | None:
    """The newest snapshot, or None where none was published, or there is no store. `CURRENT` is only offered to people."""
    have = numbers(lake)
    return load(lake, have[-1]) if have else None


def as_of(lake: Lake, moment: dt.datetime) -> Snapshot:
    """The newest snapshot published at or before `moment`."""
    for number in reversed(numbers(lake)):
        snapshot = load(lake, number)
        if snapshot.created_at <= moment:
            return snapshot
    raise StoreError(f"no snapshot was published by {moment.isoformat()}")


def publish(lake: Lake, snapshot: Snapshot) -> Snapshot:
    """Make `snapshot` the newest.

    Raises:
        PublishConflict: its number is taken, so another writer was faster.
    """
    name = f"snapshots/{snapshot.number}.json"
    if not lake.create_exclusive(name, snapshot.model_dump_json(indent=1).encode()):
        raise PublishConflict(f"snapshot {snapshot.number} was published by another writer meanwhile: run again")
    lake.write_atomic("CURRENT", f"{snapshot.number}\n".encode())
    return snapshot


def rollback(lake: Lake, number: int, *, now: dt.datetime, run_id: str) -> Snapshot:
    """Publish the content of an older snapshot as the newest."""
    old, newest = load(lake, number), numbers(lake)[-1]
    update = {"number": newest + 1, "parent": newest, "created_at": now, "run_id": run_id, "restored_from": number}
    return publish(lake, old.model_copy(update=update))


def diff(lake: Lake, a: int, b: int) -> dict:
    """What snapshot `b` has that `a` has not: rows by table, and the partitions that differ."""
    old, new = load(lake, a), load(lake, b)
    before, after = set(old.catalogue()), set(new.catalogue())
    changed = sorted({(f.table, f.day.isoformat(), f.bucket) for f in before ^ after})
    return {
        "a": a,
        "b": b,
        "rows": {t: new.rows.get(t, 0) - old.rows.get(t, 0) for t in sorted(old.rows.keys() | new.rows.keys())},
        "partitions": [{"table": t, "day": d, "bucket": k} for t, d, k in changed],
        "index_shards": sorted(k for k in old.index.keys() | new.index.keys() if old.index.get(k) != new.index.get(k)),
    }


# -- pins and gc -----------------------------------------------------------------------------------------------------


def pin(lake: Lake, number: int) -> str | None:
    """Tell gc that a reader uses snapshot `number`; returns the pin's name, or None where the store is read-only."""
    name = f"pins/{number}-{uuid.uuid4().hex[:12]}.json"
    claim = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "expires": (dt.datetime.now(dt.UTC) + PIN_LIFETIME).isoformat(),
    }
    try:
        lake.write_atomic(name, json.dumps(claim).encode())
    except (OSError, StoreError):
        return None
    return name


def pinned(lake: Lake) -> set[int]:
    """Numbers of the snapshots that living readers hold. Pins of dead processes and expired ones are removed."""
    held = set()
    for name in lake.names("pins"):
        if not name.endswith(".json"):
            continue
        found = lake.find_bytes(f"pins/{name}")
        if found is None:  # its reader closed meanwhile
            continue
        claim = json.loads(found)
        expired = dt.datetime.fromisoformat(claim["expires"]) < dt.datetime.now(dt.UTC)
        gone = claim["host"] == socket.gethostname() and not alive(claim["pid"])
        if expired or gone:
            lake.remove(f"pins/{name}")
        else:
            held.add(int(name.split("-")[0]))
    return held


def collect_garbage(lake: Lake, *, keep: int, dry_run: bool = False, also: Collection[str] = ()) -> dict:
    """Remove old snapshots but the newest `keep` and the pinned ones, then every file that no remaining snapshot names.

    Call it under the writer's lock: it also removes what a killed run left behind. `also` are index shards that the next snapshot
    will name.
    """
    have = numbers(lake)
    kept = set(have[-max(keep, 1) :]) | (pinned(lake) & set(have))
    snapshots = [load(lake, n) for n in sorted(kept)]
    folders = {f.folder for s in snapshots for f in s.catalogue()}
    index = {shard for s in snapshots for shard in s.index.values()} | set(also)
    doomed = [f"snapshots/{n}.json" for n in have if n not in kept]
    doomed += [f"snapshots/{name}" for name in lake.names("snapshots") if name.isdigit() and int(name) not in kept]
    doomed += [folder for folder in _fileset_folders(lake) if folder not in folders]
    doomed += [f"index/{name}" for name in lake.names("index") if not any(i.startswith(name) for i in index)]
    doomed += [name for folder in sorted(folders) for name in _unnamed_files(lake, folder)]
    if not dry_run:
        for name in doomed:
            _remove_whole(lake, name)
    return {"kept": sorted(kept), "removed": doomed, "dry_run": dry_run}


def _remove_whole(lake: Lake, name: str) -> None:
    """Remove a file, or a folder with its marks first: what a kill leaves of it must never pass for finished work."""
    if name.startswith(("lake/", "index/")) and not name.endswith((".parquet", ".tmp")):
        found = lake.names(name)
        for part in found if name.startswith("index/") and not name.startswith("index/.") else ():
            lake.remove(f"{name}/{part}/manifest.json")
        for mark in ("manifest.json", *(n for n in found if n.startswith("part-") and n.endswith(".json"))):
            lake.remove(f"{name}/{mark}")
    lake.remove(name)


def _fileset_folders(lake: Lake) -> Iterable[str]:
    for table in lake.names("lake"):
        for day in lake.names(f"lake/{table}"):
            for bucket in lake.names(f"lake/{table}/{day}"):
                for fp in lake.names(f"lake/{table}/{day}/{bucket}"):
                    yield f"lake/{table}/{day}/{bucket}/{fp}"


def _unnamed_files(lake: Lake, folder: str) -> list[str]:
    """Files of killed attempts inside a complete fileset."""
    names = lake.names(folder)
    marks = [n for n in names if n.startswith("part-") and n.endswith(".json")]
    named = {json.loads(lake.read_bytes(f"{folder}/{n}"))["file"] for n in marks}
    return [f"{folder}/{n}" for n in names if n.endswith((".parquet", ".tmp")) and n not in named]

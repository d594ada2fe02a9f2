"""The writer's lock. It saves work, it does not protect the data: publishing is exclusive by itself.

The lock is a file created exclusively, with owner and expiry, renewed while the writer lives. A lock whose expiry has passed, or
whose owner was a process of this machine that is gone, is taken over.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator

from filelock import FileLock

from jobs.store.alive import alive
from jobs.store.lake import Lake
from schemas.errors import StoreError, StoreLocked

NAME = "lock.json"
LIFETIME = dt.timedelta(seconds=60)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _claim(purpose: str, token: str, lifetime: dt.timedelta) -> bytes:
    claim = {
        "token": token,
        "purpose": purpose,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "expires": (_now() + lifetime).isoformat(),
    }
    return json.dumps(claim).encode()


def holder(lake: Lake) -> dict | None:
    """Who holds the lock now, or None.

    Raises:
        StoreError: the lock's file is damaged, so nobody can tell.
    """
    found = lake.find_bytes(NAME)
    return None if found is None else _read(found)


def _read(claim: bytes) -> dict:
    try:
        return json.loads(claim)
    except json.JSONDecodeError:
        raise StoreError(f"{NAME} of the store is damaged: remove it if no writer is running") from None


def _is_stale(claim: dict) -> bool:
    if dt.datetime.fromisoformat(claim["expires"]) < _now():
        return True
    return claim["host"] == socket.gethostname() and not alive(claim["pid"])


def _break_stale(lake: Lake, claim: dict) -> None:
    """Take a stale lock away, unless another taker already did. (On S3 the taker replaces it in one step instead.)

    On a folder takers are let in one by one by a kernel lock, and look again inside. Other filesystems have no such thing: there
    a taker that comes late moves the new lock away for a moment, and puts it back.
    """
    if lake.local:
        with FileLock(lake.local_path(f".{NAME}.takers")):
            if holder(lake) == claim:
                lake.remove(NAME)
        return
    grave = f".{NAME}.{uuid.uuid4().hex}.stale"
    with contextlib.suppress(FileNotFoundError):
        lake.fs.mv(lake.path(NAME), lake.path(grave))
        moved = lake.read_bytes(grave)
        if json.loads(moved)["token"] != claim["token"]:
            lake.create_exclusive(NAME, moved)
        lake.remove(grave)


@contextlib.contextmanager
def writing(
    lake: Lake,
    purpose: str,
    *,
    wait_s: float = 600.0,
    waiting: Callable[[str], None] = lambda message: None,
    lifetime: dt.timedelta = LIFETIME,
) -> Iterator[None]:
    """Hold the store's lock. Waits up to `wait_s` for another writer, telling `waiting` who that is once.

    `lifetime` is how long the lock outlives a writer that died on another machine; it is renewed four times as often.

    Raises:
        StoreLocked: another writer still holds it after `wait_s` seconds.
    """
    token = uuid.uuid4().hex
    deadline = time.monotonic() + wait_s
    told = False
    while not lake.create_exclusive(NAME, mine := _claim(purpose, token, lifetime)):
        found = lake.find_bytes(NAME)
        if found is None:
            continue
        claim = _read(found)
        if _is_stale(claim):
            if lake.on_s3:
                if lake.swap(NAME, found, mine):
                    break
            else:
                _break_stale(lake, claim)
            continue
        who = f"{claim['purpose']} (process {claim['pid']} on {claim['host']})"
        if time.monotonic() >= deadline:
            raise StoreLocked(f"the store is being written by {who}: wait for it to end, or stop it")
        if not told:
            waiting(f"waiting for {who}")
            told = True
        time.sleep(0.2)
    stop = threading.Event()
    renewer = threading.Thread(target=_renew, args=(lake, purpose, token, lifetime, stop), daemon=True)
    renewer.start()
    try:
        yield
    finally:
        stop.set()
        renewer.join()
        with contextlib.suppress(StoreError):  # a bucket out of reach: the lock runs out by itself
            ours = holder(lake)
            if ours and ours["token"] == token:
                lake.remove(NAME)


def _renew(lake: Lake, purpose: str, token: str, lifetime: dt.timedelta, stop: threading.Event) -> None:
    """Write the claim anew until told to stop, or until it is another's. A bucket out of reach is asked again next time."""
    while not stop.wait(lifetime.total_seconds() / 4):
        with contextlib.suppress(StoreError):
            found = lake.find_bytes(NAME)
            if found is None or _read(found)["token"] != token:
                return
            renewed = _claim(purpose, token, lifetime)
            if lake.on_s3:
                lake.swap(NAME, found, renewed)
            else:
                lake.write_atomic(NAME, renewed)

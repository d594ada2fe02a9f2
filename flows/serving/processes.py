"""Processes: those that work on flow runs, found by what Prefect puts into their environment, and how they are ended.

Prefect starts every flow run as a session of its own, so neither a signal to the worker's group nor the worker's death
reaches it. All that a run starts inherits PREFECT__FLOW_RUN_ID and PREFECT_HOME: these two find the whole tree, on Linux
through /proc, else through ps.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from jobs.store.alive import alive

RUN_ID = "PREFECT__FLOW_RUN_ID="


def flow_processes(home: Path) -> dict[str, list[int]]:
    """flow run id -> living processes that work on it for the server whose PREFECT_HOME this is."""
    found: dict[str, list[int]] = {}
    ours = f"PREFECT_HOME={home}"
    for pid, environment in _environments():
        run_id = next((v.removeprefix(RUN_ID) for v in environment if v.startswith(RUN_ID)), None)
        if run_id and ours in environment and pid != os.getpid():
            found.setdefault(run_id, []).append(pid)
    return found


def _environments() -> Iterable[tuple[int, list[str]]]:
    """(process, its environment as NAME=VALUE) of every process of this user."""
    if Path("/proc/self/environ").exists():
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ended meanwhile, or belongs to somebody else
                yield int(folder.name), (folder / "environ").read_bytes().decode(errors="replace").split("\0")
        return
    lines = subprocess.run(
        ["ps", "eww", "-x", "-o", "pid=,command="], capture_output=True, text=True
    ).stdout.splitlines()
    for line in lines:
        pid, *words = line.split()
        yield int(pid), words


def end(pids: Iterable[int], grace_s: float) -> list[int]:
    """Ask processes to stop and kill those that have not after `grace_s` seconds; returns the killed ones."""
    left = [pid for pid in pids if _signal(pid, signal.SIGTERM)]
    until = time.monotonic() + grace_s
    while left and time.monotonic() < until:
        time.sleep(0.1)
        left = [pid for pid in left if alive(pid)]
    for pid in left:
        _signal(pid, signal.SIGKILL)
    return left


def end_flow_processes(home: Path, grace_s: float) -> list[str]:
    """End everything that works on a flow run; returns the ids of those runs."""
    found = flow_processes(home)
    end([pid for pids in found.values() for pid in pids], grace_s)
    left = flow_processes(home)  # what they started while they were ending
    end([pid for pids in left.values() for pid in pids], 0)
    return sorted(found.keys() | left.keys())


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True

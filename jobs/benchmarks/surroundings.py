"""When, on what and at which commit a figure was measured, and how much memory a command took at its peak.

Peaks are read as VmHWM from /proc while the command runs: the kernel keeps that mark itself, so sampling misses only what grows
in the last 20 ms (with the many processes of a cluster some 200 ms). `ru_maxrss` would not do: a child inherits it from the size of
its parent through fork and exec.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.cores import usable_cores
from schemas.errors import EngraphError

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_S = 0.02
SAMPLE_SHARE = 50
"""Looking takes at most a 50th of a core: at every 20 ms it took a fifth of one from a cluster of 40 processes on two cores."""


@dataclass(frozen=True)
class Ran:
    """A finished command: what it printed, its wall seconds, the sum of its processes' peak sizes (None without /proc)."""

    out: str
    seconds: float
    peak_mb: float | None


def surroundings(now: dt.datetime) -> dict[str, str]:
    """date, commit and machine, the columns that every row of a measurement carries."""
    return {"date": f"{now:%Y-%m-%d}", "commit": _commit(), "machine": _machine()}


def caption(day: dt.date) -> str:
    """The same in words, for a page with several tables."""
    return f"Measured on {day:%Y-%m-%d} at commit {_commit()} on {_machine()}."


def run_python(arguments: Sequence[str], folder: Path) -> Ran:
    """Run `python ARGUMENTS` in `folder` with this code on its path. Raises EngraphError with its stderr if it fails."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begun = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, stdout=out, stderr=err, env={**os.environ, "PYTHONPATH": path}
        )
        peaks: dict[int, float] = {}
        try:
            while child.poll() is None:
                looking = time.perf_counter()
                _sample(child.pid, peaks)
                time.sleep(max(SAMPLE_S, SAMPLE_SHARE * (time.perf_counter() - looking)))
        finally:
            child.kill()
            child.wait()
        seconds = time.perf_counter() - begun
        out.seek(0)
        err.seek(0)
        if child.returncode:
            last = " ".join(err.read().decode(errors="replace").split()[-60:])
            raise EngraphError(f"the measured command ended with exit code {child.returncode}: {last}")
        return Ran(out.read().decode(), seconds, sum(peaks.values()) if peaks else None)


def peak_mb(pid: int | str = "self") -> float | None:
    """VmHWM of a process in MiB; None where there is no /proc or the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)


def _sample(pid: int, peaks: dict[int, float]) -> None:
    """Note the peak of a process and of all that it has started (embedding workers)."""
    size = peak_mb(pid)
    if size is None:
        return
    peaks[pid] = size  # not a maximum: before exec a child still shows its parent's mark
    try:
        children = [c for task in Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()]
    except OSError:  # it ended meanwhile
        return
    for child in children:
        _sample(int(child), peaks)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below `folder`."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def _commit() -> str:
    try:
        told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    except OSError:  # no git here
        return "unknown"
    return told.stdout.strip() or "unknown"


def _machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {usable_cores()} cores"

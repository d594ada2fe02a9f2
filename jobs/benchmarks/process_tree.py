"""What a process and all that it has started use: CPU seconds, bytes read and written, resident memory. Linux's /proc only.

CPU and bytes are counters of the kernel, those of children that have ended included (their parent inherits them when it waits for
them); only a process whose parent went first is lost. Memory is sampled 20 times a second: `peak_mb` adds up what is resident,
pages that processes share counted in each; `peak_anon_mb` leaves out mapped files, which the kernel drops when memory is short.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SAMPLE_S = 0.05
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass
class Used:
    """What was used between two moments; all 0 where there is no /proc but `seconds`."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0
    peak_mb: float = 0.0
    peak_anon_mb: float = 0.0


@contextmanager
def measured(pid: int | None = None) -> Iterator[Used]:
    """Fill a `Used` while the body runs; by default of this process and its descendants."""
    pid, used = pid or os.getpid(), Used()
    before, begun = _counters(pid), time.perf_counter()
    stop = threading.Event()
    sampler = threading.Thread(target=_sample, args=(pid, used, stop), daemon=True)
    sampler.start()
    try:
        yield used
    finally:
        used.seconds = time.perf_counter() - begun
        stop.set()
        sampler.join()
        used.cpu_s, read, written = (b - a for a, b in zip(before, _counters(pid), strict=True))
        used.read_bytes, used.written_bytes = int(read), int(written)


def descendants(pid: int) -> list[int]:
    """`pid` and every living process below it."""
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        for task in Path(f"/proc/{found[-1]}/task").glob("*/children"):
            left += [int(child) for child in _text(task).split()]
    return found


def _sample(pid: int, used: Used, stop: threading.Event) -> None:
    while True:
        sizes = [_resident(p) for p in descendants(pid)]
        used.peak_mb = max(used.peak_mb, sum(rss for rss, _ in sizes))
        used.peak_anon_mb = max(used.peak_anon_mb, sum(anon for _, anon in sizes))
        if stop.wait(SAMPLE_S):
            return


def _resident(pid: int) -> tuple[float, float]:
    """(resident, thereof anonymous and shared memory) in MiB."""
    fields = dict(line.split(":", 1) for line in _text(Path(f"/proc/{pid}/status")).splitlines() if ":" in line)
    kb = {name: int(fields[name].split()[0]) for name in ("VmRSS", "RssAnon", "RssShmem") if name in fields}
    return kb.get("VmRSS", 0) / 1024, (kb.get("RssAnon", 0) + kb.get("RssShmem", 0)) / 1024


def _counters(pid: int) -> tuple[float, float, float]:
    """(CPU seconds, bytes read, bytes written by system calls) of the whole tree since it began."""
    cpu = read = written = 0.0
    for process in descendants(pid):
        fields = _text(Path(f"/proc/{process}/stat")).rpartition(")")[2].split()
        cpu += sum(int(field) for field in fields[11:15]) / TICKS  # utime, stime and those of children waited for
        io = dict(line.split(": ") for line in _text(Path(f"/proc/{process}/io")).splitlines())
        read, written = read + int(io.get("rchar", 0)), written + int(io.get("wchar", 0))
    return cpu, read, written


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # the process ended, or is not ours
        return ""

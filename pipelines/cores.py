"""How many cores there are to compute on."""

import os


def usable_cores() -> int:
    """Cores that this process may use (a container's or taskset's share), at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

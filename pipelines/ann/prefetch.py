"""Cold pages asked for at once: the lists of a query, then the rows it will rank, before any of them is touched.

A mapped page that is not in memory faults alone, 50-100 us each, one after another; `posix_fadvise(WILLNEED)` starts all reads
and returns. Asking costs about 1 us a range though, more than a warm query can spare, so it is done only while there is need:
a query that met MANY major faults (`getrusage`, 0.3 us) turns it on for the next STAY queries; a few cost less than asking. The
one thing to know: where the system has no fadvise nothing is asked for and a cold query is merely slow.
"""

# mypy: disable-error-code="attr-defined"

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np

MANY = 8  # faults of a query: about what asking costs
STAY = 64  # queries after one of many faults that ask for their pages
PAGE = 4096
GAP = 4  # pages between two parts that are read too rather than asked for apart
AVAILABLE = hasattr(os, "posix_fadvise") and hasattr(resource, "RUSAGE_THREAD")


def faults() -> int:
    """Major page faults of this thread so far."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt if AVAILABLE else 0


class Pages:
    """Asks for parts of a file. The descriptor is closed with the object."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")

    def ask(self, starts: np.ndarray, lengths: np.ndarray) -> None:
        """Starts reading bytes [start, start + length) of each pair; parts at most GAP pages apart are asked for together."""
        if not AVAILABLE or not len(starts):
            return
        first, last = starts // PAGE, (starts + lengths - 1) // PAGE + 1
        order = np.argsort(first, kind="stable")
        first, last = first[order], np.maximum.accumulate(last[order])
        begins = np.concatenate([[True], first[1:] > last[:-1] + GAP])
        ends = np.concatenate([begins[1:], [True]])
        descriptor = self._file.fileno()
        for low, high in zip(first[begins].tolist(), last[ends].tolist(), strict=True):
            os.posix_fadvise(descriptor, low * PAGE, (high - low) * PAGE, os.POSIX_FADV_WILLNEED)

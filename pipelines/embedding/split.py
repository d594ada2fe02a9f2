"""One batch over several cores, for a text that somebody waits for.

It is computed on a thread that does nothing else: torch's number of threads is set once for it and not for the caller, and in a
forked child, where OpenMP would wait for ever for helpers that stayed behind, another such thread begins.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import TypeVar

CORES = 4  # a batch of one short text has no work for more
T = TypeVar("T")


class Split:
    """Its one thread computes over `cores` cores."""

    def __init__(self, cores: int) -> None:
        import torch

        callers = torch.get_num_threads()
        self._thread = ThreadPoolExecutor(1, "engraph-split", initializer=torch.set_num_threads, initargs=(cores,))
        self._thread.submit(int).result()
        torch.set_num_threads(callers)  # torch keeps the last number set as the one that new threads begin with
        self._free = Lock()

    def run(self, compute: Callable[[], T]) -> T | None:
        """What `compute` gives; None where the thread has something to do already."""
        if not self._free.acquire(blocking=False):
            return None
        try:
            return self._thread.submit(compute).result()
        finally:
            self._free.release()


@cache
def split_over(cores: int) -> Split:
    """That of this process."""
    return Split(cores)


os.register_at_fork(after_in_child=split_over.cache_clear)

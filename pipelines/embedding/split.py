"""One batch over several cores, for a text that somebody waits for."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

CORES = 4  # a batch of one short text has no work for more
T = TypeVar("T")


class _Turn:
    """Who may split: one at a time, as torch keeps its number of threads for all that begin meanwhile; and nobody in a forked
    child, where OpenMP would wait for ever for threads that stayed behind."""

    def __init__(self) -> None:
        self.free, self.forked = Lock(), False

    def in_child(self) -> None:
        self.free, self.forked = Lock(), True


_turn = _Turn()
os.register_at_fork(after_in_child=_turn.in_child)


def split(cores: int, compute: Callable[[], T]) -> T | None:
    """What `compute` gives on so many cores; None, and nothing is done, where it cannot be split now."""
    import torch

    if _turn.forked or not _turn.free.acquire(blocking=False):
        return None
    callers = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        return compute()
    finally:
        torch.set_num_threads(callers)
        _turn.free.release()

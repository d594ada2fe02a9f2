"""Linear algebra on one thread while questions are answered.

A question's products are too small to be shared out: OpenBLAS gains nothing there, and its threads then look for more work for
milliseconds, on the cores that the encoder wants for the next question.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

from threadpoolctl import LibController, OpenBLASController, ThreadpoolController


@cache
def _pools() -> list[LibController]:
    """The libraries with one pool of threads for the whole process; those built on OpenMP count them for each thread that asks."""
    return ThreadpoolController().select(threading_layer="pthreads").lib_controllers  # looking for them takes 13 ms


class _Limit:
    """Set by the first of the questions that are under way, lifted by the last one."""

    def __init__(self) -> None:
        self._lock, self._under_way = Lock(), 0
        self._before: dict[str, int] = {}
        """Threads of each library, kept until they are restored: meanwhile somebody else may hold it to one."""

    def enter(self) -> None:
        with self._lock:
            if not self._under_way:
                for pool in _pools():
                    self._before.setdefault(pool.filepath, pool.get_num_threads())
                    pool.set_num_threads(1)
                OpenBLASController.clear_controlling_thread()  # or only this thread could lift it
            self._under_way += 1

    def leave(self) -> None:
        with self._lock:
            self._under_way -= 1
            if not self._under_way:
                self._lift()

    def forget(self) -> None:
        """In a forked child: the questions of its parent are not under way in it."""
        self._lock, self._under_way = Lock(), 0
        if self._before:
            self._lift()

    def _lift(self) -> None:
        for pool in _pools():
            before = self._before.get(pool.filepath, 1)
            if pool.get_num_threads() == 1:  # else somebody has changed it since
                pool.set_num_threads(before)
            if pool.get_num_threads() > 1 or before == 1:
                self._before.pop(pool.filepath, None)
        OpenBLASController.clear_controlling_thread()


_limit = _Limit()
os.register_at_fork(after_in_child=_limit.forget)


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, numpy and scipy multiply on one thread, for all of the process."""
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()

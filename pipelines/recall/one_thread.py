"""Linear algebra on one thread while questions are answered.

A question's products are too small to be shared out: OpenBLAS gains nothing there, and its threads then look for more work for
milliseconds, on the cores that the encoder wants for the next question.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from threadpoolctl import OpenBLASController, ThreadpoolController

_lock = Lock()
_under_way: list[Any] = []
"""For each question that is answered now, the limit that the first of them set and the last one lifts."""


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # looking for them takes 13 ms


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, numpy and scipy multiply on one thread, for all of the process."""
    with _lock:
        _under_way.append(_under_way[0] if _under_way else _limit())
    try:
        yield
    finally:
        with _lock:
            limit = _under_way.pop()
            if not _under_way:
                limit.restore_original_limits()
                OpenBLASController.clear_controlling_thread()


def _limit() -> Any:
    limit = _libraries().limit(limits=1, user_api="blas")
    OpenBLASController.clear_controlling_thread()  # or only this thread could lift it
    return limit

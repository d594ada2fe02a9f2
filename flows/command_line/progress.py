"""Progress on stderr: bars with rate and time left on a terminal, a line now and then elsewhere. Silent for two seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

QUIET_S = 2.0
LINE_EVERY_S = 5.0


class Bars:
    """Called with (stage, done, total); a context manager."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._stage_begun: dict[str, float] = {}
        self._last_line = self._begun
        self._tasks: dict[str, TaskID] = {}
        self._bars: Progress | None = None

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._bars:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        first = self._stage_begun.setdefault(stage, now)
        if now - self._begun < QUIET_S:
            return
        if sys.stderr.isatty():
            self._draw(stage, done, total)
        elif now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            rate = done / (now - first) if now - first > 1 else 0
            speed = f" ({rate:,.0f}/s, {(total - done) / rate:.0f} s left)" if rate else ""
            print(f"{stage} {done:,}/{total:,}{speed}", file=sys.stderr, flush=True)

    def _draw(self, stage: str, done: int, total: int) -> None:
        if self._bars is None:
            rate = TextColumn("{task.fields[rate]}")
            columns = (SpinnerColumn(), TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), rate)
            self._bars = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            self._bars.start()
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total, rate="")
        task = self._bars.tasks[self._tasks[stage]]
        speed = f"{task.speed:,.0f}/s" if task.speed else ""
        self._bars.update(self._tasks[stage], completed=done, total=total, rate=speed)

    def say(self, message: str) -> None:
        """A line that is always shown."""
        print(message, file=sys.stderr, flush=True)

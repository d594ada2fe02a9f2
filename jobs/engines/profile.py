"""Profiles: which engine runs which stage. `local` runs everything in this process; `cluster` uses each engine for what it does best.

Spark spreads what reads and joins tables, Ray what needs the model, vectors or a GPU. Engines start when a stage first asks for
them and end with the run. Nothing falls back: where an engine cannot be had the run ends with the reason.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType

from jobs.engines.engine import Engine
from jobs.engines.local import LocalEngine

ON_SPARK = frozenset({"read", "segment", "resolve", "near_duplicates", "link"})
ON_RAY = frozenset({"embed", "bound", "extract", "embed_derived", "index", "evaluate"})


class Engines:
    """The profile `local`, and what every profile offers: `of(stage)`. A context manager."""

    profile = "local"

    def __init__(self) -> None:
        self._started: dict[str, Engine] = {}
        self._stack = ExitStack()

    def of(self, stage: str) -> Engine:
        """The engine of a stage, started."""
        kind = self._kind(stage)
        if kind not in self._started:
            self._started[kind] = self._stack.enter_context(self._new(kind))
        return self._started[kind]

    def _kind(self, stage: str) -> str:
        return "local"

    def _new(self, kind: str) -> Engine:
        return LocalEngine()

    def __enter__(self) -> Engines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._started.clear()

"""Profiles: which engine runs which stage. `local` runs all in this process; `cluster` uses each engine for what it does best.

Spark spreads what reads and joins tables, Ray what needs the model, vectors or a GPU. Engines start when a stage first asks for
them and end with the run. Nothing falls back: where an engine cannot be had the run ends with the reason.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, redirect_stdout
from types import TracebackType
from typing import Protocol

from jobs.embed_shards import Embedded, TextShard
from jobs.engines.engine import Engine
from jobs.engines.local import LocalEmbedder, LocalEngine
from jobs.store.lake import Lake
from pipelines.embedding import EncoderId
from schemas.errors import EngraphError
from schemas.settings import Settings

ON_SPARK = frozenset({"read", "segment", "distinct_texts", "resolve", "near_duplicates", "link", "measure_graph"})
ON_RAY = frozenset({"embed", "bound", "extract", "embed_derived", "index", "evaluate"})


class Embedder(Protocol):
    """Embeds shards of texts where they lie. A context manager: models stay loaded until it ends."""

    name: str

    def embed(self, lake: Lake, shards: Sequence[TextShard]) -> Iterator[tuple[int, Embedded]]:
        """(shard's number in the list, what became of it), as they come.

        Raises `ItemFailed` where a text breaks the encoder, with the shards done so far handed out.
        """
        ...

    def __enter__(self) -> Embedder: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


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
            self._start(kind)
        return self._started[kind]

    def _start(self, kind: str) -> None:
        self._started[kind] = self._stack.enter_context(self._new(kind))

    def embedder(self, id: EncoderId, workers: int | None) -> Embedder:
        """What embeds, with one worker per core (or GPU) unless `workers` says how many."""
        return LocalEmbedder(id, workers)

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


class ClusterEngines(Engines):
    """The profile `cluster`: Spark and Ray, as the settings say where they are."""

    profile = "cluster"

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings

    def __enter__(self) -> ClusterEngines:
        self._stack.enter_context(redirect_stdout(sys.stderr))  # Ray tells of lost nodes on stdout, where our JSON goes
        return self

    def embedder(self, id: EncoderId, workers: int | None) -> Embedder:
        from jobs.engines.ray_data import RayEmbedder, RayEngine

        engine = self.of("embed")
        assert isinstance(engine, RayEngine)
        return RayEmbedder(engine, id, workers)

    def _kind(self, stage: str) -> str:
        if stage in ON_SPARK:
            return "spark"
        return "ray" if stage in ON_RAY else "local"

    def _start(self, kind: str) -> None:
        """Both start when one is first asked for, as every ingest needs both: Spark, then Ray.

        Not side by side, which would save 5 s: Spark forks to start its JVM, and a fork while Ray's gRPC starts in another thread
        can end the process (seen once in some 30 starts).
        """
        if kind == "local":
            return super()._start(kind)
        self._check_settings()
        spark, ray = self._new("spark"), self._new("ray")
        self._started["spark"] = self._stack.enter_context(spark)
        self._started["ray"] = self._stack.enter_context(ray)
        self._check_workers(spark)

    def _check_settings(self) -> None:
        """A wrong setting is told before anything starts."""
        from jobs.engines import ray_session, spark_session

        spark_session.check_java()
        spark_session.check_master(self.settings.spark.master)
        ray_session.check_address(self.settings.ray.address)

    def _check_workers(self, spark: Engine) -> None:
        from jobs.engines.handshake import check_workers
        from jobs.engines.spark_sql import SparkEngine

        assert isinstance(spark, SparkEngine)
        check_workers(self.settings, spark.spark)

    def _new(self, kind: str) -> Engine:
        try:
            if kind == "spark":
                from jobs.engines.spark_sql import SparkEngine

                return SparkEngine(self.settings.spark)
            if kind == "ray":
                from jobs.engines.ray_data import RayEngine

                return RayEngine(self.settings.ray)
        except ImportError as error:
            raise EngraphError(f"the cluster profile needs {error.name}: run `make setup-cluster`") from error
        return LocalEngine()


def engines_of(profile: str, settings: Settings) -> Engines:
    """The engines of a profile, not yet started."""
    return ClusterEngines(settings) if profile == "cluster" else Engines()

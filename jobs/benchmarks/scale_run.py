"""One measured build, in a process of its own: `python -m jobs.benchmarks.scale_run PLAN.json`.

Every stage of `jobs.stages` is run once on one day, with planted vectors, and what it used is appended to a file of JSON lines as
soon as it is done, so that a build that is cut short leaves what it measured. Engines start first, as a row of their own.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jobs.benchmarks.planted_vectors import PlantedEmbedder
from jobs.benchmarks.process_tree import measured
from jobs.benchmarks.surroundings import folder_bytes
from jobs.build_indexes import build_indexes
from jobs.engines.engine import Engine, Piece, Pieces, R, T, ignore
from jobs.engines.local import LocalEngine
from jobs.engines.profile import ClusterEngines, Engines
from jobs.publish_snapshot import publish_snapshot
from jobs.read_sources import read_sources
from jobs.run import Run, start_run
from jobs.stages import DAILY, Today, identity
from jobs.store import lock, snapshots
from jobs.store.lake import Lake
from pipelines.readers import ReadParams, find_sources
from schemas.settings import Settings

NOW = dt.datetime(2026, 3, 1, 3, tzinfo=dt.UTC)
TABLES_OF_A_DAY = ("turns", "memory_units", "operations", "mentions", "triples", "entities", "embeddings", "edges")
REASON = "a measurement with planted vectors"


@dataclass(frozen=True)
class Plan:
    """What to build: files of one day into a store, and where to write what was measured."""

    store: str
    sources: list[str]
    day: str
    buckets: int
    profile: str
    log: str
    settings: dict[str, Any]


class _Shuffled:
    """Bytes of the Arrow tables that a local engine's shuffles moved."""

    def __init__(self) -> None:
        self.bytes = 0


class _CountingEngine(LocalEngine):
    """The local engine, with its shuffles weighed."""

    def __init__(self, shuffled: _Shuffled) -> None:
        self.shuffled = shuffled

    def group(
        self,
        spread: Callable[[T], Iterable[Piece]],
        items: Sequence[T],
        gather: Callable[[int, Pieces], R],
        progress: Callable[[int], None] = ignore,
    ) -> Iterator[R]:
        def weighed(item: T) -> Iterator[Piece]:
            for key, kind, rows in spread(item):
                self.shuffled.bytes += rows.nbytes
                yield key, kind, rows

        return super().group(weighed, items, gather, progress)


class _CountingEngines(Engines):
    def __init__(self, shuffled: _Shuffled) -> None:
        super().__init__()
        self.shuffled = shuffled

    def _new(self, kind: str) -> Engine:
        return _CountingEngine(self.shuffled)


class _Log:
    """Measures stages one after the other and writes a line for each."""

    def __init__(self, file: Path, shuffled: _Shuffled | None) -> None:
        self.file, self.shuffled = file, shuffled

    def stage(self, name: str, call: Callable[[], Any]) -> Any:
        before = self.shuffled.bytes if self.shuffled else 0
        with measured() as used:
            result = call()
        moved = self.shuffled.bytes - before if self.shuffled else None
        self.write({"stage": name} | asdict(used) | {"shuffled_bytes": moved})
        return result

    def write(self, row: dict) -> None:
        with self.file.open("a") as f:
            f.write(json.dumps(row) + "\n")


def build(plan: Plan) -> None:
    """Run every stage of `plan` and publish."""
    shuffled = _Shuffled() if plan.profile == "local" else None
    log = _Log(Path(plan.log), shuffled)
    lake = Lake(plan.store)
    info = snapshots.make_store(lake, buckets=plan.buckets, now=NOW)
    engines = ClusterEngines(Settings(**plan.settings)) if shuffled is None else _CountingEngines(shuffled)
    with lock.writing(lake, "bench scale", wait_s=0), engines:
        log.stage("start", lambda: [engines.of(stage) for stage in ("read", "embed")])
        parent = snapshots.current(lake)
        run = start_run(lake, info, parent, now=NOW, encoder=None, engines=engines)
        _stages(run, plan, log)
        index = log.stage("index", lambda: build_indexes(run))
        encode = PlantedEmbedder  # golden questions are none of a measured store's
        published = log.stage(
            "publish",
            lambda: publish_snapshot(run, parent, index, identity(run.encoder), encode=encode, force=REASON),  # type: ignore[arg-type]
        )
        log.write({"rows": published.rows, "failed": [g.name for g in published.gates if not g.passed]})
        log.write({"stored": _stored(run, dt.date.fromisoformat(plan.day))})


def _stages(run: Run, plan: Plan, log: _Log) -> None:
    day = dt.date.fromisoformat(plan.day)
    files = find_sources(plan.sources)
    log.stage("read", lambda: read_sources(run, files, ReadParams(), day=day))
    buckets = sorted({f.bucket for f in run.catalogue.select("turns", day=day)})
    with PlantedEmbedder(run.engine("embed")) as embedder:
        today = Today(run, day, buckets, embedder)
        for name, bring_up in DAILY.items():
            log.stage(name, partial(bring_up, today))


def _stored(run: Run, day: dt.date) -> dict[str, dict[str, int]]:
    """For each stage of the day: rows, bytes of its Parquet files, bytes of what names them (marks, manifests), files."""
    found: dict[str, dict[str, int]] = {}
    for table in TABLES_OF_A_DAY:
        for fileset in run.catalogue.select(table, day=day):
            row = found.setdefault(fileset.stage, {"rows": 0, "bytes": 0, "mark_bytes": 0, "files": 0})
            shards = run.lake.manifest(fileset).shards
            folder = run.lake.local_path(fileset.folder)
            row["rows"] += sum(shard.rows for shard in shards)
            row["bytes"] += sum(shard.bytes for shard in shards)
            row["mark_bytes"] += sum(f.stat().st_size for f in folder.glob("*.json"))
            row["files"] += sum(1 for _ in folder.iterdir())
    for name in ("index", "snapshots"):
        folder = run.lake.local_path(name)
        files = sum(1 for f in folder.rglob("*") if f.is_file())
        found[name] = {"rows": 0, "bytes": folder_bytes(folder), "mark_bytes": 0, "files": files}
    return found


if __name__ == "__main__":
    build(Plan(**json.loads(Path(sys.argv[1]).read_text())))

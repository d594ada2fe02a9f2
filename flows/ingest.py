"""Ingest: the main job, from source files to a published snapshot.

    read -> per day: segment -> embed -> bound -> extract -> resolve -> embed (derived texts, names) -> near-duplicates -> link
         -> index -> publish

Every stage skips what is up to date, so running it again costs a look, and a killed run is continued by running it again.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.build_indexes import STAGE as INDEX
from jobs.build_indexes import build_indexes
from jobs.embed_units import STAGING
from jobs.engines.profile import Engines
from jobs.publish_snapshot import publish_snapshot
from jobs.read_sources import read_sources
from jobs.run import Progress, Run, silent, start_run
from jobs.stages import DAILY, STAGES, Today, identity
from jobs.store import lock, snapshots
from jobs.store.lake import Lake
from pipelines.embedding import Encoder, EncoderId
from pipelines.readers import ReadParams, SourceFile, find_sources
from schemas.errors import UsageError
from schemas.manifest import Snapshot


@dataclass(frozen=True)
class Result:
    """What an ingest did. `snapshot` is the newest one, unchanged when nothing was done."""

    snapshot: int | None
    published: bool
    rows: dict[str, int]
    quarantined: int
    stages: list[dict]
    seconds: float

    def to_json(self) -> dict:
        return {
            "snapshot": self.snapshot,
            "published": self.published,
            "rows": self.rows,
            "quarantined": self.quarantined,
            "stages": self.stages,
            "seconds": round(self.seconds, 3),
        }


def ingest(
    store: str,
    sources: Sequence[str],
    *,
    read: ReadParams,
    now: dt.datetime,
    day: dt.date | None = None,
    encoder: str | None = None,
    buckets: int = 16,
    workers: int | None = None,
    lock_wait_s: float = 600.0,
    force: str | None = None,
    engines: Engines | None = None,
    progress: Progress = silent,
    say: Callable[[str], None] = lambda message: None,
) -> Result:
    """Bring `sources` into the store at `store` and publish a snapshot if anything changed."""
    begun = time.perf_counter()
    files = find_sources(sources)
    lake = Lake(store)
    _refuse_own_files(lake, files)
    info = snapshots.make_store(lake, buckets=buckets, now=now)
    with lock.writing(lake, "engraph ingest", wait_s=lock_wait_s, waiting=say), engines or Engines() as engines:
        parent = snapshots.current(lake)
        lake.remove(STAGING)  # what a killed run left there
        run = start_run(lake, info, parent, now=now, encoder=encoder, engines=engines, progress=progress)
        quarantined = read_sources(run, files, read, day=day)
        index, same = bring_up_to_date(run, parent, workers=workers)
        published = publish_snapshot(run, parent, index, same, encode=_query_encoder(run.encoder), force=force)
    snapshot = published or parent
    return Result(
        snapshot=snapshot.number if snapshot else None,
        published=published is not None,
        rows=snapshot.rows if snapshot else {},
        quarantined=quarantined,
        stages=[run.report(stage).to_json() for stage in STAGES],
        seconds=time.perf_counter() - begun,
    )


def _refuse_own_files(lake: Lake, files: Sequence[SourceFile]) -> None:
    """A store that eats itself would grow with every ingest."""
    own = [
        f.path for f in files if lake.local and Path(f.path).absolute().is_relative_to(lake.local_path("").absolute())
    ]
    if own:
        raise UsageError(f"{own[0]} belongs to the store itself: give a source that does not hold the store")


def bring_up_to_date(run: Run, parent: Snapshot | None, *, workers: int | None) -> tuple[dict[str, str], str]:
    """Run every stage on every partition that is not up to date; returns the index shards and the stages' identity."""
    same = identity(run.encoder)
    stale = stale_from(run, same_stages=parent is not None and parent.identity == same)
    if not stale and parent is not None:
        run.report(INDEX)
        return parent.index, same
    with run.engines.embedder(run.encoder, workers) as embedder:
        for day, buckets in days_to_do(run, stale):  # no bucket: only texts may have to move here from another day
            for bring_up in DAILY.values():
                bring_up(Today(run, day, buckets, embedder))
    return build_indexes(run), same


def stale_from(run: Run, *, same_stages: bool) -> dict[int, dt.date]:
    """bucket -> the first day whose output may differ from the published one; empty when nothing is stale.

    A stage looks at the earlier days of its own bucket only, so a change makes stale what follows in that bucket.
    """
    changed: dict[int, dt.date] = {}
    for table in ("turns", "documents"):
        for fileset in run.catalogue.select(table):
            if not same_stages or run.parent.get(table, fileset.stage, fileset.day, fileset.bucket) != fileset:
                changed[fileset.bucket] = min(changed.get(fileset.bucket, fileset.day), fileset.day)
    return changed


def days_to_do(run: Run, stale: dict[int, dt.date]) -> list[tuple[dt.date, list[int]]]:
    """(day, buckets) to look at, ascending: from a bucket's first stale day on, every day it has records of.

    Days on which only other buckets have records are there too: embeddings are shared between buckets and belong to the first
    day that needs them, so a correction of an earlier day can give or take a text.
    """
    days: dict[dt.date, set[int]] = {}
    first = min(stale.values(), default=None)
    for table in ("turns", "documents"):
        for fileset in run.catalogue.select(table):
            if first is not None and fileset.day >= first:
                buckets = days.setdefault(fileset.day, set())
                if fileset.bucket in stale and fileset.day >= stale[fileset.bucket]:
                    buckets.add(fileset.bucket)
    return [(day, sorted(days[day])) for day in sorted(days)]


def _query_encoder(encoder: EncoderId):
    """Encodes the golden questions; the model is only loaded when there are some."""

    def encode(texts: list[str]):
        return Encoder.load(encoder).encode(texts).vectors

    return encode

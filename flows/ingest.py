"""Ingest: the main job, from source files to a published snapshot.

    read -> per day: segment -> embed -> bound -> extract -> resolve -> embed (derived texts, names) -> link -> index -> publish

Every stage skips what is up to date, so running it again costs a look, and a killed run is continued by running it again.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.bound_segments import BoundParams, bound_topics
from jobs.bound_segments import stage as bound_stage
from jobs.build_indexes import STAGE as INDEX
from jobs.build_indexes import build_indexes
from jobs.embed_units import VERSION as EMBED_VERSION
from jobs.embed_units import embed_day
from jobs.engines.embedding_pool import EmbeddingPool
from jobs.extract_memories import ExtractionParams, extract_memories
from jobs.extract_memories import stage as extract_stage
from jobs.link_units import LinkingParams, link_units
from jobs.link_units import stage as link_stage
from jobs.merge_deliveries import VERSION as READ_VERSION
from jobs.publish_snapshot import publish_snapshot
from jobs.read_sources import read_sources
from jobs.resolve_entities import STAGE as RESOLVE
from jobs.resolve_entities import resolve_mentions
from jobs.run import Progress, Run
from jobs.segment_records import SegmentingParams, segment_records
from jobs.segment_records import stage as segment_stage
from jobs.store import lock, snapshots
from jobs.store.lake import Lake
from pipelines.embedding import Encoder, EncoderId, TokenCounter, resolve_encoder
from pipelines.extraction import EXTRACTOR, ExtractParams
from pipelines.graph import LinkParams
from pipelines.readers import ReadParams, SourceFile, find_sources
from pipelines.recall.shard import VERSION as INDEX_VERSION
from pipelines.segmentation import PassageParams, SurpriseParams
from schemas.errors import UsageError
from schemas.fingerprint import fingerprint
from schemas.manifest import Snapshot

STAGES = ("read", "segment", "embed", "bound", "extract", "resolve", "embed_derived", "link", "index", "publish")
PASSAGES, SURPRISE, RULES, LINKS = PassageParams(), SurpriseParams(), ExtractParams(), LinkParams()


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
    progress: Progress = lambda stage, done, total: None,
    say: Callable[[str], None] = lambda message: None,
) -> Result:
    """Bring `sources` into the store at `store` and publish a snapshot if anything changed."""
    begun = time.perf_counter()
    files = find_sources(sources)
    lake = Lake(store)
    _refuse_own_files(lake, files)
    info = snapshots.make_store(lake, buckets=buckets, now=now)
    with lock.writing(lake, "engraph ingest", wait_s=lock_wait_s, waiting=say):
        parent = snapshots.current(lake)
        run = start_run(lake, info, parent, now=now, encoder=encoder, progress=progress)
        quarantined = read_sources(run, files, read, day=day)
        index, identity = bring_up_to_date(run, parent, workers=workers)
        published = publish_snapshot(run, parent, index, identity, encode=_query_encoder(run.encoder), force=force)
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


def start_run(
    lake: Lake, info, parent: Snapshot | None, *, now: dt.datetime, encoder: str | None, progress: Progress
) -> Run:
    """A run that continues from the newest snapshot, with its encoder unless another is asked for."""
    chosen = EncoderId.parse(parent.encoder) if parent and encoder is None else resolve_encoder(encoder)
    before = parent.catalogue() if parent else snapshots.EMPTY
    return Run(
        lake=lake,
        info=info,
        run_id=f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}",
        now=now,
        encoder=chosen,
        parent=before,
        catalogue=before.copy(),
        progress=progress,
    )


def bring_up_to_date(run: Run, parent: Snapshot | None, *, workers: int | None) -> tuple[dict[str, str], str]:
    """Run every stage on every partition that is not up to date; returns the index shards and the stages' identity."""
    bound = BoundParams(run.encoder.name, SURPRISE)
    extraction = ExtractionParams(EXTRACTOR, run.encoder.name, RULES)
    linking = LinkingParams(run.encoder.name, LINKS)
    identity = stages_identity(run.encoder, bound, extraction, linking)
    stale = stale_from(run, same_stages=parent is not None and parent.identity == identity)
    count_tokens = TokenCounter(run.encoder)
    with EmbeddingPool(run.encoder, workers) as pool:
        for day, buckets in days_to_do(run, stale):  # no bucket: only texts may have to move here from another day
            segment_records(run, day, buckets, PASSAGES, count_tokens)
            embed_day(run, day, "embed", ("segment",), pool)
            bound_topics(run, day, buckets, bound, count_tokens)
            extract_memories(run, day, buckets, extraction, count_tokens)
            resolve_mentions(run, day, buckets)
            embed_day(run, day, "embed_derived", ("bound", "extract"), pool)
            link_units(run, day, buckets, linking)
    if not stale and parent is not None:
        run.report(INDEX)
        return parent.index, identity
    return build_indexes(run), identity


def stages_identity(
    encoder: EncoderId, bound: BoundParams, extraction: ExtractionParams, linking: LinkingParams
) -> str:
    """What decides all outputs but the sources: names, versions and parameters of all stages. When it changes, all is looked at."""
    return fingerprint(
        segment_stage(SegmentingParams(encoder.name, PASSAGES)),
        bound_stage(bound),
        extract_stage(extraction),
        RESOLVE,
        link_stage(linking),
        {"encoder": encoder.name, "read": READ_VERSION, "embed": EMBED_VERSION, "index": INDEX_VERSION},
    )


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

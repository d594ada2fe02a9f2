"""A build: one writing run over a store, from taking its lock to publishing. What the command line and the Prefect flows share.

Nothing here decides an order of days; `ingest` and `take_days` do. A build that is left by an error gives the lock back and keeps
every finished shard: the next one finds them by their fingerprints.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from jobs.apply_retention import settle_archive
from jobs.build_indexes import STAGE as INDEX
from jobs.build_indexes import build_indexes
from jobs.embed_units import STAGING
from jobs.engines.profile import Embedder, Engines
from jobs.publish_snapshot import publish_snapshot
from jobs.read_sources import read_sources
from jobs.run import Progress, Run, silent, start_run
from jobs.stages import DAILY, Today, identity
from jobs.store import lock, snapshots
from jobs.store.lake import Lake
from jobs.take_extractions import take_extractions
from jobs.take_written_back import WrittenBack
from pipelines.embedding import Encoder, EncoderId
from pipelines.readers import ReadParams, SourceFile
from schemas.errors import UsageError
from schemas.manifest import Erasure, Fileset, Snapshot
from schemas.settings import Settings

LAST = list(DAILY)[-1]
INPUTS = ("turns", "documents", "given_extractions")


@dataclass(frozen=True)
class Surroundings:
    """What a build needs besides its sources: where, on what, under which clock, and who watches."""

    store: str
    now: dt.datetime
    encoder: str | None = None
    buckets: int = 16
    workers: int | None = None
    lock_wait_s: float = 600.0
    reason: str | None = None
    flow_run: str | None = None
    progress: Progress = silent
    say: Callable[[str], None] = lambda message: None

    @classmethod
    def of(cls, settings: Settings, now: dt.datetime, **more: Any) -> "Surroundings":
        """What the settings say, and `more`."""
        return cls(
            store=settings.store,
            now=now,
            encoder=settings.encoder,
            buckets=settings.buckets,
            workers=settings.workers,
            lock_wait_s=settings.lock_wait_s,
            **more,
        )


class Build:
    """A context manager: inside, the store is ours and `run.catalogue` is the draft of the next snapshot."""

    run: Run
    parent: Snapshot | None

    def __init__(self, purpose: str, around: Surroundings, engines: Engines | None = None) -> None:
        self.purpose, self.around = purpose, around
        self.lake = Lake(around.store)
        self._engines = engines or Engines()
        self._stack = ExitStack()
        self._brought: set[dt.date] = set()  # days that are up to date with the draft

    def __enter__(self) -> "Build":
        around = self.around
        info = snapshots.make_store(self.lake, buckets=around.buckets, now=around.now)
        with ExitStack() as stack:
            held = lock.writing(self.lake, self.purpose, wait_s=around.lock_wait_s, waiting=around.say)
            stack.enter_context(held)
            engines = stack.enter_context(self._engines)
            self.parent = snapshots.current(self.lake)
            self.lake.remove(STAGING)  # what a killed run left there
            self.run = start_run(
                self.lake,
                info,
                self.parent,
                now=around.now,
                encoder=around.encoder,
                engines=engines,
                progress=around.progress,
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @cached_property
    def _embedder(self) -> Embedder:
        return self._stack.enter_context(self.run.engines.embedder(self.run.encoder, self.around.workers))

    def read(self, files: Sequence[SourceFile], params: ReadParams, *, day: dt.date | None, again: bool = False) -> int:
        """Bring files into the draft; returns how many of their records are in quarantine."""
        self.refuse_own_files(files)
        before = self._records()
        try:
            return read_sources(self.run, files, params, day=day, again=again)
        finally:
            self._changed_from(min((f.day for f in before ^ self._records()), default=None))

    def take(self, files: Sequence[Path], *, namespace: str | None = None, day: dt.date | None = None) -> int:
        """Bring extractions that others made into the draft; returns how many of them are in quarantine."""
        before = self._records()
        try:
            return take_extractions(self.run, files, namespace=namespace, day=day)
        finally:
            self._changed_from(min((f.day for f in before ^ self._records()), default=None))

    def written_back(self) -> WrittenBack:
        """What was written back in SQL since the last ingest: files to read, to be settled after publishing."""
        return self._stack.enter_context(WrittenBack(self.run))

    def redo(self, stage: str, day: dt.date) -> None:
        """Have a stage computed again on a day whose output stands."""
        self.run.redo(stage, day)
        self._changed_from(day)

    def _records(self) -> set[Fileset]:
        return {f for table in INPUTS for f in self.run.catalogue.select(table)}

    def _changed_from(self, day: dt.date | None) -> None:
        if day is not None:
            self._brought = {d for d in self._brought if d < day}

    def refuse_own_files(self, files: Sequence[SourceFile]) -> None:
        """A store that eats itself would grow with every ingest. Raises `UsageError`."""
        own = [
            f.path
            for f in files
            if self.lake.local and Path(f.path).absolute().is_relative_to(self.lake.local_path("").absolute())
        ]
        if own:
            raise UsageError(f"{own[0]} belongs to the store itself: give a source that does not hold the store")

    def bring_up(self, stage: str, day: dt.date, buckets: Sequence[int]) -> None:
        """Run one stage on one day of the draft, as far as it is not up to date.

        Days must come in ascending order: what a stage makes of a day rests on what it made of the days before.
        """
        DAILY[stage](Today(self.run, day, buckets, self._embedder))
        if stage == LAST:
            self._brought.add(day)

    def bring_up_day(self, day: dt.date, buckets: Sequence[int]) -> None:
        """Run all daily stages on one day of the draft."""
        for stage in DAILY:
            self.bring_up(stage, day, buckets)

    def days_left(self) -> list[tuple[dt.date, list[int]]]:
        """(day, buckets) to bring up before publishing, ascending: from a bucket's first stale day on, every day it has records of.

        Days on which only other buckets have records are there too, without buckets: embeddings are shared between buckets and
        belong to the first day that needs them, so a correction of an earlier day can give or take a text.
        """
        stale = self._stale_from()
        first = min(stale.values(), default=None)
        days: dict[dt.date, set[int]] = {}
        for table in ("turns", "documents"):
            for fileset in self.run.catalogue.select(table):
                if first is not None and fileset.day >= first:
                    buckets = days.setdefault(fileset.day, set())
                    if fileset.bucket in stale and fileset.day >= stale[fileset.bucket]:
                        buckets.add(fileset.bucket)
        return [(day, sorted(days[day])) for day in sorted(days) if day not in self._brought]

    def _stale_from(self) -> dict[int, dt.date]:
        """bucket -> the first day whose output may differ from the published one; empty when nothing is stale.

        A stage looks at the earlier days of its own bucket only, so a change makes stale what follows in that bucket.
        """
        run, changed = self.run, dict[int, dt.date]()
        same_stages = self._same_stages()
        before = self.parent.redone if self.parent else {}
        redone = {dt.date.fromisoformat(k.partition("/")[0]) for k, n in run.redone.items() if before.get(k, 0) != n}
        for table in INPUTS:
            for f in run.parent.select(table):
                if run.catalogue.get(table, f.stage, f.day, f.bucket) is None:  # forgotten, or given no more
                    changed[f.bucket] = min(changed.get(f.bucket, f.day), f.day)
            for f in run.catalogue.select(table):
                published = run.parent.get(table, f.stage, f.day, f.bucket) == f
                if not (same_stages and published and f.day not in redone):
                    changed[f.bucket] = min(changed.get(f.bucket, f.day), f.day)
        return changed

    def _same_stages(self) -> bool:
        return self.parent is not None and self.parent.identity == identity(self.run.encoder)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Put the draft back to what it was where the body fails: one bad day must not cost the others."""
        catalogue, redone, brought = self.run.catalogue.copy(), dict(self.run.redone), set(self._brought)
        try:
            yield
        except BaseException:
            self.run.catalogue, self.run.redone, self._brought = catalogue, redone, brought
            raise

    def index(self) -> dict[str, str]:
        """Bring what retention archived and the index shards up to date with the draft; returns bucket -> shard."""
        settle_archive(self.run)
        if self.parent is not None and self._same_stages() and self.run.catalogue == self.run.parent:
            self.run.report(INDEX)
            return self.parent.index
        return build_indexes(self.run)

    def publish(
        self, index: dict[str, str], *, force: str | None = None, as_it_was: bool = False, erased: Erasure | None = None
    ) -> Snapshot | None:
        """Gates, then the next snapshot; None where nothing has changed.

        `as_it_was`: stages were not brought up to date, so what another version of them made stays marked as theirs.
        """
        standing = self.parent.identity if as_it_was and self.parent else identity(self.run.encoder)
        return publish_snapshot(
            self.run,
            self.parent,
            index,
            standing,
            erased=erased,
            encode=_query_encoder(self.run.encoder),
            force=force,
            reason=self.around.reason,
            flow_run=self.around.flow_run,
        )


def _query_encoder(encoder: EncoderId):
    """Encodes the golden questions; the model is only loaded when there are some."""

    def encode(texts: list[str]):
        return Encoder.load(encoder).encode(texts).vectors

    return encode

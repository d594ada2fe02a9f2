"""Ingest: the main job, from source files to a published snapshot.

    read -> per day: segment -> embed -> bound -> extract -> resolve -> embed (derived texts, names) -> near-duplicates -> link
         -> index -> publish

Every stage skips what is up to date, so running it again costs a look, and a killed run is continued by running it again.
"""

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.build import Build, Surroundings
from jobs.engines.profile import Engines
from jobs.stages import STAGES
from pipelines.extraction.given_files import form_of
from pipelines.readers import ReadParams, find_sources


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
    sources: Sequence[str],
    around: Surroundings,
    *,
    read: ReadParams,
    extractions: Sequence[Path] = (),
    day: dt.date | None = None,
    force: str | None = None,
    engines: Engines | None = None,
) -> Result:
    """Bring `sources`, and `extractions` that others made of them, into the store; publish a snapshot if anything changed."""
    begun = time.perf_counter()
    files = find_sources(sources) if sources else []
    for file in extractions:
        form_of(file)  # a wrong file is said before anything is done
    build = Build("engraph ingest", around, engines)
    build.refuse_own_files(files)
    with build:
        quarantined = build.read(files, read, day=day)
        quarantined += build.take(extractions, namespace=read.namespace, day=day)
        written = build.written_back()
        if written.files:
            quarantined += build.read(written.files, ReadParams(), day=day)
        for day_left, buckets in build.days_left():
            build.bring_up_day(day_left, buckets)
        published = build.publish(build.index(), force=force)
        written.settle()
    snapshot = published or build.parent
    return Result(
        snapshot=snapshot.number if snapshot else None,
        published=published is not None,
        rows=snapshot.rows if snapshot else {},
        quarantined=quarantined,
        stages=[build.run.report(stage).to_json() for stage in STAGES],
        seconds=time.perf_counter() - begun,
    )

"""Take days: the story of a nightly run and of a backfill, day by day, from sources to snapshots.

Days are taken in batches. Inside a batch the store is ours: each day is read and brought through all stages, a day that fails is
put back as if it had never been there, then the days after it that rest on it follow, and one snapshot is published. Between two
batches the store is free, so that a long backfill never starves a nightly run. The ledger gets a row for each day of each corpus.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeVar

from flows.build import Build, Surroundings
from jobs.corpora import CorpusDay
from jobs.engines.engine import one_line
from jobs.engines.profile import Engines
from jobs.plan_backfill import PlannedDay
from jobs.stages import DAILY
from jobs.store import ledger
from pipelines.readers import ReadParams
from schemas.errors import EngraphError, GateFailed, StoreError
from schemas.manifest import Snapshot

T = TypeVar("T")
GIVE_WAY_S = 1.0  # five times as long as a waiting writer sleeps between two looks at the lock


class DaysFailed(EngraphError):
    """Some days could not be taken; the others were, and are published."""


class Steps(Protocol):
    """How a step is run and who hears of it: at once from the command line, as tasks with retries in Prefect."""

    def run(self, stage: str, day: dt.date | None, call: Callable[[], T]) -> T:
        """Run a step; `day` is None for steps of the whole draft."""
        ...

    def note(self, day: dt.date, stage: str, state: str, rows: int = 0) -> None:
        """A cell of the grid day x stage changed: running, done (with the rows just written), failed or stale."""
        ...


class AtOnce:
    """Steps that just run."""

    def run(self, stage: str, day: dt.date | None, call: Callable[[], T]) -> T:
        return call()

    def note(self, day: dt.date, stage: str, state: str, rows: int = 0) -> None:
        pass


@dataclass
class Outcome:
    """What became of one day of one corpus (or, without a corpus, of one day of the store)."""

    corpus: str
    day: dt.date
    status: str = "done"
    error: str | None = None
    files: list[dict] = field(default_factory=list)
    quarantined: int = 0
    read: int = 0
    seconds: float = 0.0
    started_at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    def __str__(self) -> str:
        return f"{self.day} {self.corpus}: {self.error}" if self.error else f"{self.day} {self.corpus}"

    def to_json(self) -> dict:
        return {
            "corpus": self.corpus,
            "day": self.day.isoformat(),
            "status": self.status,
            "error": self.error,
            "quarantined": self.quarantined,
            "seconds": round(self.seconds, 3),
        }


@dataclass
class Taken:
    """What a run did: days, snapshots, later days that were stale because of them and were brought up to date, and batches that a
    gate kept from being published."""

    outcomes: list[Outcome] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    followed: list[dt.date] = field(default_factory=list)
    gates: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.status != "done"]

    def raise_failed(self) -> None:
        """Raises `DaysFailed` with the list, if any day failed."""
        if failed := self.failed():
            listed = "; ".join(str(outcome) for outcome in failed)
            done = len(self.outcomes) - len(failed)
            raise DaysFailed(f"{len(failed)} of {len(self.outcomes)} days failed, {done} are published: {listed}")

    def to_json(self) -> dict:
        return {
            "days": [outcome.to_json() for outcome in self.outcomes],
            "snapshots": [snapshot.number for snapshot in self.snapshots],
            "followed": [day.isoformat() for day in self.followed],
            "seconds": round(self.seconds, 3),
        }


def take_days(
    purpose: str,
    planned: Sequence[PlannedDay],
    around: Surroundings,
    *,
    at_once: int,
    newest_first: bool = False,
    engines: Callable[[], Engines] = Engines,
    steps: Steps | None = None,
) -> Taken:
    """Take all planned days, `at_once` of them between two snapshots. Failed days are in the result, not raised."""
    begun, taken, steps = time.perf_counter(), Taken(), steps or AtOnce()
    batches = list(_batches(planned, at_once, newest_first))
    for number, batch in enumerate(batches):
        if number:
            time.sleep(GIVE_WAY_S)
        with Build(purpose, replace(around, now=_clock(around, number)), engines()) as build:
            _take_batch(build, batch, steps, taken)
    taken.seconds = time.perf_counter() - begun
    return taken


def _clock(around: Surroundings, batch: int) -> dt.datetime:
    """Snapshots of one run follow each other, also under a clock that was set by hand."""
    return around.now + dt.timedelta(microseconds=batch)


def _batches(planned: Sequence[PlannedDay], at_once: int, newest_first: bool) -> Iterator[list[PlannedDay]]:
    days = sorted(planned, key=lambda p: p.day, reverse=newest_first)
    for start in range(0, len(days), at_once):
        yield sorted(days[start : start + at_once], key=lambda p: p.day)


def _take_batch(build: Build, batch: list[PlannedDay], steps: Steps, taken: Taken) -> None:
    outcomes: list[Outcome] = []
    followed: list[dt.date] = []
    try:
        for planned in batch:
            _take_day(build, planned, steps, outcomes, followed)
        written = build.written_back()
        if written.files:
            build.read(written.files, ReadParams(), day=None)
        for day, buckets in build.days_left():
            _follow(build, day, buckets, steps, followed)
        index = steps.run("index", None, build.index)
        published = steps.run("publish", None, partial(build.publish, index))
        written.settle()
    except BaseException as problem:  # nothing of this batch is published: its finished shards are found again
        _end(outcomes, problem)
        _record(build, outcomes, None)
        taken.outcomes += outcomes
        taken.gates += [_told(problem)] if isinstance(problem, GateFailed) else []
        if isinstance(problem, StoreError) or not isinstance(problem, Exception):
            raise
        return
    newest = published or build.parent
    _record(build, outcomes, newest.number if newest else None)
    taken.outcomes += outcomes
    taken.followed += followed
    taken.snapshots += [published] if published else []


def _take_day(
    build: Build, planned: PlannedDay, steps: Steps, outcomes: list[Outcome], followed: list[dt.date]
) -> None:
    """One day through all stages, after the days before it that became stale; where it fails, the draft is what it was before."""
    mine = [Outcome(d.corpus, planned.day, files=[o.to_row() for o in d.files]) for d in planned.read]
    mine = mine or [Outcome("", planned.day)]
    outcomes += mine
    begun = time.perf_counter()
    try:
        with build.attempt():
            for source, outcome in zip(planned.read, mine, strict=False):
                _read(build, source, outcome, steps, again=bool(planned.redo))
            for stage in planned.redo:
                build.redo(stage, planned.day)
            for day, buckets in build.days_left():
                if day < planned.day:
                    _follow(build, day, buckets, steps, followed)
                if day == planned.day:
                    for stage in DAILY:
                        _step(build, stage, day, buckets, steps)
    except Exception as problem:
        for outcome in mine:
            outcome.status, outcome.error = "failed", outcome.error or _told(problem)
    finally:
        for outcome in mine:
            outcome.seconds = time.perf_counter() - begun


def _read(build: Build, source: CorpusDay, outcome: Outcome, steps: Steps, *, again: bool) -> None:
    """Read one corpus of a day. If it cannot be read, the other corpora of that day go on without it."""
    steps.note(outcome.day, "read", "running")
    call, before = partial(_read_source, build, source, again), build.run.report("read").rows_in
    try:
        with build.attempt():
            outcome.quarantined = steps.run("read", outcome.day, call)
        outcome.read = build.run.report("read").rows_in - before
    except Exception as problem:
        outcome.status, outcome.error = "failed", _told(problem)
    steps.note(outcome.day, "read", outcome.status, outcome.read - outcome.quarantined)


def _read_source(build: Build, source: CorpusDay, again: bool) -> int:
    if source.error:
        raise EngraphError(source.error)
    files = [observed.file for observed in source.files]
    return build.read(files, source.read, day=source.day if source.dated else None, again=again)


def _step(build: Build, stage: str, day: dt.date, buckets: list[int], steps: Steps) -> None:
    steps.note(day, stage, "running")
    before = build.run.report(stage).rows_out
    try:
        steps.run(stage, day, partial(build.bring_up, stage, day, buckets))
    except BaseException:
        steps.note(day, stage, "failed")
        raise
    steps.note(day, stage, "done", build.run.report(stage).rows_out - before)


def _follow(build: Build, day: dt.date, buckets: list[int], steps: Steps, followed: list[dt.date]) -> None:
    """Bring a day up to date that rests on the days just taken; it is named if it really was stale because of them."""
    before = set(build.run.catalogue.select("memory_units", day=day))
    for stage in DAILY:
        steps.note(day, stage, "stale")
    steps.run("follow", day, partial(build.bring_up_day, day, buckets))
    for stage in DAILY:
        steps.note(day, stage, "done")
    if set(build.run.catalogue.select("memory_units", day=day)) != before and day not in followed:
        followed.append(day)


def _end(outcomes: list[Outcome], problem: BaseException) -> None:
    status = "failed" if isinstance(problem, Exception) else "cancelled"
    for outcome in outcomes:
        if outcome.status == "done":
            outcome.status, outcome.error = status, f"not published: {_told(problem)}"


def _record(build: Build, outcomes: list[Outcome], snapshot: int | None) -> None:
    around = build.around
    ledger.append(
        build.lake,
        "corpus_days",
        [
            {
                "run_id": build.run.run_id,
                "flow_run": around.flow_run,
                "corpus": outcome.corpus,
                "day": outcome.day,
                "status": outcome.status,
                "error": outcome.error,
                "reason": around.reason or None,
                "files": outcome.files,
                "rows_quarantined": outcome.quarantined,
                "snapshot": snapshot if outcome.status == "done" else None,
                "seconds": outcome.seconds,
                "started_at": outcome.started_at,
            }
            for outcome in outcomes
        ],
    )


def _told(problem: BaseException) -> str:
    """An error as one line: our own words where it is ours, else with its kind."""
    return " ".join(str(problem).split())[:500] if isinstance(problem, EngraphError) else one_line(problem)

"""One writing run: the store, the draft catalogue it works on, its clock, and the report of what each stage did."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from jobs.engines.engine import Engine
from jobs.engines.profile import Engines
from jobs.store import ledger
from jobs.store.lake import Lake
from jobs.store.vectors import Vectors
from pipelines.embedding import EncoderId, resolve_encoder
from schemas.manifest import Catalogue, Snapshot, StoreInfo

Progress = Callable[[str, int, int], None]
"""Called with (stage, rows done, rows in all) while a stage works."""


def silent(stage: str, done: int, total: int) -> None:
    """A `progress` for those who do not watch."""


@dataclass
class StageReport:
    """What one stage did in one run. `skipped` when nothing had to be done."""

    stage: str
    seconds: float = 0.0
    rows_in: int = 0
    rows_out: int = 0
    rows_quarantined: int = 0
    partitions: int = 0
    skipped: bool = True
    finished: bool = False

    def to_json(self) -> dict:
        return {
            "stage": self.stage,
            "seconds": round(self.seconds, 3),
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "skipped": self.skipped,
        }


class PieceLog:
    """The ledger rows of one stage's work in one run, one for each partition that had something to do."""

    def __init__(self, run_id: str, stage: str, engine: str) -> None:
        self.run_id, self.stage, self.engine = run_id, stage, engine
        self.pieces: list[StageReport] = []
        self._where: list[tuple[dt.date | None, int, str, dt.datetime]] = []

    def open(self, day: dt.date | None, bucket: int, fingerprint: str) -> StageReport:
        self._where.append((day, bucket, fingerprint, dt.datetime.now(dt.UTC)))
        self.pieces.append(StageReport(self.stage))
        return self.pieces[-1]

    def rows(self, error: str | None) -> list[dict]:
        """One row each for what was done; where the work broke off, one also for what was not."""
        return [
            {
                "run_id": self.run_id,
                "stage": self.stage,
                "day": day,
                "bucket": bucket,
                "fingerprint": fingerprint,
                "engine": self.engine,
                "status": "failed" if error and not piece.finished else "done",
                "rows_in": piece.rows_in,
                "rows_out": piece.rows_out,
                "rows_quarantined": piece.rows_quarantined,
                "seconds": piece.seconds,
                "tokens_in": 0,
                "tokens_out": 0,
                "usd": 0.0,
                "started_at": started,
                "error": None if piece.finished else error,
            }
            for piece, (day, bucket, fingerprint, started) in zip(self.pieces, self._where, strict=True)
            if error or not piece.skipped
        ]


@dataclass
class Run:
    """What every job gets. `catalogue` starts as the parent snapshot's and is what will be published."""

    lake: Lake
    info: StoreInfo
    run_id: str
    now: dt.datetime
    encoder: EncoderId
    parent: Catalogue
    catalogue: Catalogue
    engines: Engines = field(default_factory=Engines)
    progress: Progress = silent
    redone: dict[str, int] = field(default_factory=dict)
    reports: dict[str, StageReport] = field(default_factory=dict)
    _vectors: Vectors | None = None

    def report(self, stage: str) -> StageReport:
        return self.reports.setdefault(stage, StageReport(stage))

    def engine(self, stage: str) -> Engine:
        """Where a stage runs."""
        return self.engines.of(stage)

    def times_redone(self, stage: str, day: dt.date) -> int:
        """How often the stage was asked for anew on this day, since the store was made."""
        return self.redone.get(f"{day}/{stage}", 0)

    def redo(self, stage: str, day: dt.date) -> None:
        """Compute the stage again on a day whose output stands."""
        self.redone[f"{day}/{stage}"] = self.times_redone(stage, day) + 1

    @contextmanager
    def timed(
        self, stage: str, *, day: dt.date | None = None, bucket: int = -1, fingerprint: str = "", on: str = "local"
    ) -> Iterator[StageReport]:
        """Measure one piece of a stage's work and write it to the ledger; yields the piece's own report."""
        with self.timed_partitions(stage, 1, on=on) as log:
            piece, begun = log.open(day, bucket, fingerprint), time.perf_counter()
            try:
                yield piece
            finally:
                piece.seconds = time.perf_counter() - begun
            piece.finished = True

    @contextmanager
    def timed_partitions(self, stage: str, looked_at: int, *, on: str | None = None) -> Iterator[PieceLog]:
        """Measure a stage's work on several partitions; yields where to open a report for each that has work to do."""
        log, begun, error = PieceLog(self.run_id, stage, on or self.engine(stage).name), time.perf_counter(), None
        try:
            yield log
        except BaseException as problem:
            error = f"{type(problem).__name__}: {problem}".splitlines()[0][:500]
            raise
        finally:
            total = self.report(stage)
            total.seconds += time.perf_counter() - begun
            total.partitions += looked_at
            for piece in log.pieces:
                total.rows_in += piece.rows_in
                total.rows_out += piece.rows_out
                total.skipped = total.skipped and piece.skipped
            ledger.append(self.lake, "runs", log.rows(error))

    def __getstate__(self) -> dict:
        """What an engine's other processes get: where things lie and what stands, nothing of this process."""
        return self.__dict__ | {"progress": silent, "reports": {}, "engines": None, "_vectors": None}

    def vectors(self) -> Vectors:
        """All vectors of the draft, brought up to date."""
        if self._vectors is None:
            self._vectors = Vectors(self.lake, self.encoder.name)
        self._vectors.sync(self.catalogue.select("embeddings"))
        return self._vectors


def start_run(
    lake: Lake,
    info: StoreInfo,
    parent: Snapshot | None,
    *,
    now: dt.datetime,
    encoder: str | None,
    engines: Engines,
    progress: Progress = silent,
) -> Run:
    """A run that continues from the newest snapshot, with its encoder unless another is asked for."""
    chosen = EncoderId.parse(parent.encoder) if parent and encoder is None else resolve_encoder(encoder)
    before = parent.catalogue() if parent else Catalogue()
    return Run(
        lake=lake,
        info=info,
        run_id=f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}",
        now=now,
        encoder=chosen,
        parent=before,
        catalogue=before.copy(),
        engines=engines,
        progress=progress,
        redone=dict(parent.redone) if parent else {},
    )

"""One writing run: the store, the draft catalogue it works on, its clock, and the report of what each stage did."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from jobs.store import ledger
from jobs.store.lake import Lake
from jobs.store.vectors import Vectors
from pipelines.embedding import EncoderId
from schemas.manifest import Catalogue, StoreInfo

Progress = Callable[[str, int, int], None]
"""Called with (stage, rows done, rows in all) while a stage works."""


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

    def to_json(self) -> dict:
        return {
            "stage": self.stage,
            "seconds": round(self.seconds, 3),
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "skipped": self.skipped,
        }


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
    engine: str = "local"
    progress: Progress = lambda stage, done, total: None
    reports: dict[str, StageReport] = field(default_factory=dict)
    _vectors: Vectors | None = None

    def report(self, stage: str) -> StageReport:
        return self.reports.setdefault(stage, StageReport(stage))

    @contextmanager
    def timed(
        self, stage: str, *, day: dt.date | None = None, bucket: int = -1, fingerprint: str = ""
    ) -> Iterator[StageReport]:
        """Measure one piece of a stage's work and write it to the ledger; yields the piece's own report."""
        piece, started, begun = StageReport(stage), dt.datetime.now(dt.UTC), time.perf_counter()
        status, error = "failed", None
        try:
            yield piece
            status = "skipped" if piece.skipped else "done"
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}".splitlines()[0][:500]
            raise
        finally:
            piece.seconds = time.perf_counter() - begun
            self._add(piece)
            if status != "skipped":
                self._log(piece, status, started, day, bucket, fingerprint, error)

    def _add(self, piece: StageReport) -> None:
        total = self.report(piece.stage)
        total.seconds += piece.seconds
        total.rows_in += piece.rows_in
        total.rows_out += piece.rows_out
        total.partitions += 1
        total.skipped = total.skipped and piece.skipped

    def _log(self, piece, status, started, day, bucket, fingerprint, error) -> None:
        row = {
            "run_id": self.run_id,
            "stage": piece.stage,
            "day": day,
            "bucket": bucket,
            "fingerprint": fingerprint,
            "engine": self.engine,
            "status": status,
            "rows_in": piece.rows_in,
            "rows_out": piece.rows_out,
            "rows_quarantined": piece.rows_quarantined,
            "seconds": piece.seconds,
            "tokens_in": 0,
            "tokens_out": 0,
            "usd": 0.0,
            "started_at": started,
            "error": error,
        }
        ledger.append(self.lake, "runs", [row])

    def vectors(self) -> Vectors:
        """All vectors of the draft, brought up to date."""
        if self._vectors is None:
            self._vectors = Vectors(self.lake, self.encoder.name)
        self._vectors.sync(self.catalogue.select("embeddings"))
        return self._vectors

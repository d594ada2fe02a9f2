"""Bound: turns and their vectors -> memory_units of granularity segment, cut by surprise."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from jobs.engines.partitions import Group, Partition, Stage, run_partitions
from jobs.groups import history, segmented_groups, turns_of
from jobs.run import Run
from jobs.segment_records import versioned
from pipelines.segmentation import SurpriseParams, bound_segments
from pipelines.segmentation.units import CountTokens


@dataclass(frozen=True)
class BoundParams:
    """Boundaries follow the vectors, so the encoder is part of their identity."""

    encoder: str
    surprise: SurpriseParams


def stage(params: BoundParams) -> Stage:
    return Stage("bound", 1, ("memory_units", "operations"), params)


def bound_topics(
    run: Run, day: dt.date, buckets: Iterable[int], params: BoundParams, count_tokens: CountTokens
) -> None:
    """Bring the topical segments of one day up to date."""
    run_partitions(run, [_partition(run, day, bucket, params, count_tokens) for bucket in buckets])


def _partition(run: Run, day: dt.date, bucket: int, params: BoundParams, count_tokens: CountTokens) -> Partition:
    this = stage(params)

    def compute(groups: list[str]) -> dict[str, pa.Table]:
        turns = turns_of(run, bucket, day, groups)
        vectors = run.vectors().get(turns["content_hash"])
        drafts = bound_segments(turns, vectors, params.surprise, count_tokens)
        return versioned(run, this, bucket, day, groups, drafts)

    def plan() -> list[Group]:
        return segmented_groups(run, bucket, day)

    return Partition(this, day, bucket, (history(run, bucket, day),), plan, compute)


if __name__ == "__main__":
    from jobs import alone

    raise SystemExit(alone.main("bound"))

"""Segment: turns, documents -> structural memory_units (turn, round, session; sentence, passage, section, document)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from jobs.engines.partitions import GROUP, Group, Partition, Stage, run_partitions
from jobs.groups import documents_of, earlier_versions, group_column, history, touched_groups, turns_of
from jobs.run import Run
from pipelines.lifecycle import new_versions
from pipelines.segmentation import PassageParams, segment_conversations, segment_documents
from pipelines.segmentation.units import CountTokens


@dataclass(frozen=True)
class SegmentingParams:
    """Passages are measured in the encoder's tokens, so the encoder is part of their identity."""

    encoder: str
    passages: PassageParams


def stage(params: SegmentingParams) -> Stage:
    return Stage("segment", 1, ("memory_units", "operations"), params)


def segment_records(
    run: Run, day: dt.date, buckets: Iterable[int], params: PassageParams, count_tokens: CountTokens
) -> None:
    """Bring the structural units of one day up to date."""
    this = stage(SegmentingParams(run.encoder.name, params))
    run_partitions(run, [_partition(run, this, day, bucket, params, count_tokens) for bucket in buckets])


def _partition(
    run: Run, this: Stage, day: dt.date, bucket: int, params: PassageParams, count_tokens: CountTokens
) -> Partition:

    def compute(groups: list[str]) -> dict[str, pa.Table]:
        turns, documents = turns_of(run, bucket, day, groups), documents_of(run, bucket, day, groups)
        drafts = pa.concat_tables(
            [segment_conversations(turns, count_tokens), segment_documents(documents, params, count_tokens)]
        )
        return versioned(run, this, bucket, day, groups, drafts)

    def plan() -> list[Group]:
        return touched_groups(run, bucket, day)

    return Partition(this, day, bucket, (history(run, bucket, day),), plan, compute)


def versioned(
    run: Run, this: Stage, bucket: int, day: dt.date, groups: list[str], drafts: pa.Table
) -> dict[str, pa.Table]:
    """Drafts against history -> memory_units and operations, each with the group its rows belong to."""
    before, ended = earlier_versions(run, this.name, bucket, day, groups)
    units, operations = new_versions(drafts, before, ended, day=day, now=run.now, policy=f"{this.name}@{this.version}")
    group_of = dict(zip(before["unit_id"].to_pylist(), group_column(before).to_pylist(), strict=True))
    owners = [group_of[unit_id] for unit_id in operations["unit_id"].to_pylist()]
    return {
        "memory_units": units.append_column(GROUP, group_column(units)),
        "operations": operations.append_column(GROUP, pa.array(owners, pa.string())),
    }


if __name__ == "__main__":
    from jobs import alone

    raise SystemExit(alone.main("segment"))

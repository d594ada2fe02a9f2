"""Bisection: which groups of a shard make its stage function fail, so that they can be refused and the shard goes on without them.

log2(groups) rounds of probes for each culprit, halves of one round side by side on the engine; a probe computes and throws away. A
failure that no probe repeats was the surroundings' (a lost machine): the shard is made once more as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jobs.engines.engine import Engine, Failed
from schemas.errors import EngraphError

if TYPE_CHECKING:
    from jobs.engines.partitions import Group, Made, ShardMaker, Work

REFUSED_AT_MOST = 10
REFUSED_SHARE = 0.01
"""More culprits than these in one shard are no poisoned records: the stage or the surroundings are at fault."""


def isolate(
    engine: Engine, maker: ShardMaker, failing: Sequence[tuple[Work, Failed]]
) -> Iterator[tuple[Work, Made]]:
    """Make the shards that failed, each without its poisoned groups.

    Raises:
        EngraphError: too many groups of a shard fail, or it fails without them too.
    """
    for work, failure in failing:
        again = replace(work, refused=_poisoned(engine, maker, work, failure))
        for _, made in engine.map(maker, [again]):
            if isinstance(made, Failed):
                raise _stage_failed(maker, work, made, len(again.refused))
            yield again, made


@dataclass(frozen=True)
class _Probe:
    maker: ShardMaker
    partition: int

    def __call__(self, groups: Sequence[Group]) -> None:
        self.maker.probe(self.partition, groups)


def _poisoned(engine: Engine, maker: ShardMaker, work: Work, failure: Failed) -> dict[str, str]:
    refused: dict[str, str] = {}
    suspects: list[Sequence[Group]] = [work.groups]
    limit = max(REFUSED_AT_MOST, int(REFUSED_SHARE * len(work.groups)))
    while suspects:
        halves = [half for groups in suspects for half in _halves(groups)]
        suspects = []
        for number, outcome in engine.map(_Probe(maker, work.partition), halves):
            if not isinstance(outcome, Failed):
                continue
            if len(halves[number]) > 1:
                suspects.append(halves[number])
            else:
                refused[halves[number][0].id] = outcome.error
        if len(refused) + len(suspects) > limit:
            raise _stage_failed(maker, work, failure, len(refused) + len(suspects))
    return refused


def _halves(groups: Sequence[Group]) -> list[Sequence[Group]]:
    middle = len(groups) // 2
    return [groups[:middle], groups[middle:]] if middle else [groups]


def _stage_failed(maker: ShardMaker, work: Work, failure: Failed, culprits: int) -> EngraphError:
    partition = maker.partitions[work.partition]
    error = EngraphError(
        f"stage {partition.stage.name} fails on day {partition.day} bucket {partition.bucket}, on {culprits} or more of "
        f"{len(work.groups)} conversations or documents: {failure.error}. That many are no poisoned records: look at the "
        "error (--debug shows where); what is finished is kept, so run again once it is mended"
    )
    error.add_note(failure.trace)
    return error

"""Bisection: which items make a function fail or kill its process, so that they can be refused and the rest goes on without them.

log2(n) rounds of probes for each culprit, the halves of one round side by side on the engine; a probe computes and throws away. A
failure that no probe repeats was the surroundings' (a lost machine): then there are no culprits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from jobs.engines.engine import Engine, Failed
from schemas.errors import EngraphError

T = TypeVar("T")
CULPRITS_AT_MOST = 10
CULPRITS_SHARE = 0.01
"""More culprits than these are no poisoned records: the function or its surroundings are at fault."""


def culprits(
    engine: Engine, probe: Callable[[Sequence[T]], None], items: Sequence[T], failure: Failed, what: str
) -> list[tuple[T, Failed]]:
    """The items that `probe` fails on, each alone, given that it failed on all of them with `failure`.

    Raises:
        EngraphError: too many of them fail; `what` says what was attempted on what.
    """
    found: list[tuple[T, Failed]] = []
    suspects: list[Sequence[T]] = [items]
    limit = max(CULPRITS_AT_MOST, int(CULPRITS_SHARE * len(items)))
    while suspects:
        halves = [half for some in suspects for half in _halves(some)]
        suspects = []
        for number, outcome in engine.map(probe, halves):
            if isinstance(outcome, Failed) and len(halves[number]) > 1:
                suspects.append(halves[number])
            elif isinstance(outcome, Failed):
                found.append((halves[number][0], outcome))
        if len(found) + len(suspects) > limit:
            raise too_many(failure, what, f"{len(found) + len(suspects)} or more of {len(items)}")
    return found


def too_many(failure: Failed, what: str, how_many: str) -> EngraphError:
    """The error of a function that fails on more than a few items."""
    error = EngraphError(
        f"{what} fails on {how_many}: {failure.error}. That is no poisoned record: look at the error (--debug shows where); "
        "what is finished is kept, so run again once it is mended"
    )
    error.add_note(failure.trace)
    return error


def _halves(items: Sequence[T]) -> list[Sequence[T]]:
    middle = len(items) // 2
    return [items[:middle], items[middle:]] if middle else [items]

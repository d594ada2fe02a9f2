"""What an engine is: a place where stage functions run, and the two ways to run them there.

`map` calls a function on every item; `group` is a map, a shuffle by an integer key, and a call on what came together under each
key. Calls and items go to other processes by cloudpickle and say where data lies (addresses); tables move only in the shuffle.
Everything else about a stage (what is stale, which shards there are, what they are called) is engine-free and lies in `partitions`.

Two kinds of trouble are told apart. What the surroundings cause (a full disk, a missing model, a damaged store) ends the run with
its own message. What an item causes (an exception of a stage function, a process that dies of it, again and again) becomes a
`Failed` result, so that one poisoned record never costs the others.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TypeVar

import pyarrow as pa

from schemas.errors import EngraphError

T = TypeVar("T")
R = TypeVar("R")
Piece = tuple[int, str, pa.Table]
"""What a shuffle moves: a key, a kind, and rows of that kind."""

SURROUNDINGS = (EngraphError, OSError, ImportError, KeyboardInterrupt)


@dataclass(frozen=True)
class Failed:
    """An item whose call did not return: the error in one line, and whether it killed the process it ran in."""

    error: str
    died: bool = False
    trace: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failed:
        return cls(one_line(error), trace="".join(traceback.format_exception(error)))


class Pieces(Protocol):
    """What came together under one key of a shuffle, by kind."""

    def kinds(self) -> list[str]: ...

    def read(self, kind: str) -> pa.Table: ...


def ignore(done: int) -> None:
    """A `progress` for those who do not ask."""


class Engine(Protocol):
    """`name` is what the ledger says; `partitions_at_once` how many partitions of a day are worth planning together; `joins`
    whether its shuffles spread over machines, so that a namespace too large for one of them is worth taking apart."""

    name: str
    partitions_at_once: int
    joins: bool

    def map(self, call: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R | Failed]]:
        """(item's number, its result), as they come. Raises what the surroundings caused."""
        ...

    def group(
        self,
        spread: Callable[[T], Iterable[Piece]],
        items: Sequence[T],
        gather: Callable[[int, Pieces], R],
        progress: Callable[[int], None] = ignore,
    ) -> Iterator[R]:
        """One result for each key; `progress` hears how many items are spread, where the engine knows.

        Raises what the surroundings caused, `ItemFailed` for what an item did.
        """
        ...

    def __enter__(self) -> Engine: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ItemFailed(EngraphError):
    """A shuffle broke because of one of its items; `map` over the same items finds out which."""


def attempt(call: Callable[[T], R], item: T) -> R | Failed | bytes:
    """The result of a call, `Failed` where the item is to blame, the pickled error where the surroundings are.

    For engines in other processes: what they send back must not end their own job.
    """
    try:
        return call(item)
    except SURROUNDINGS as error:
        return _pickled(error)
    except Exception as error:  # any bug that one record can hit: it is reported with the record, never swallowed
        return Failed.of(error)


def unwrap(result: R | Failed | bytes) -> R | Failed:
    """The other end of `attempt`: raises the error of the surroundings here."""
    if isinstance(result, bytes):
        raise pickle.loads(result)
    return result


def one_line(error: BaseException) -> str:
    """`ValueError: the first line of the message`."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:500]


def _pickled(error: BaseException) -> bytes:
    try:
        return pickle.dumps(error)
    except Exception:  # an error that holds a lock or a socket: its words must do
        return pickle.dumps(EngraphError(one_line(error)))

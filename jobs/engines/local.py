"""The local engine: stage functions run in this process, one after the other. Needs neither Java nor Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType

from jobs.engines.engine import SURROUNDINGS, Failed, ItemFailed, Piece, Pieces, R, T, one_line
from jobs.engines.spool import Spool


class LocalEngine:
    """Shuffles go through local disk, so that memory does not follow the corpus."""

    name = "local"
    partitions_at_once = 1

    def map(self, call: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R | Failed]]:
        for number, item in enumerate(items):
            try:
                result: R | Failed = call(item)
            except SURROUNDINGS:
                raise
            except Exception as error:  # one record's fault: the caller isolates and quarantines it
                result = Failed.of(error)
            yield number, result

    def group(
        self, spread: Callable[[T], Iterable[Piece]], items: Sequence[T], gather: Callable[[int, Pieces], R]
    ) -> Iterator[R]:
        with Spool() as spool:
            for item in items:
                try:
                    for key, kind, rows in spread(item):
                        spool.add(key, kind, rows)
                except SURROUNDINGS:
                    raise
                except Exception as error:
                    raise ItemFailed(one_line(error)) from error
            for key in spool.keys():
                yield gather(key, spool.under(key))

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

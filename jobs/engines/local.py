"""The local engine: stage functions run in this process, one after the other. Needs neither Java nor Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType

from jobs.embed_shards import Embedded, TextShard, texts_of, write_vectors
from jobs.engines.embedding_pool import EmbeddingPool
from jobs.engines.engine import SURROUNDINGS, Failed, ItemFailed, Piece, Pieces, R, T, ignore, one_line
from jobs.engines.spool import Spool
from jobs.store.lake import Lake
from pipelines.embedding import EncoderId


class LocalEngine:
    """Shuffles go through local disk, so that memory does not follow the corpus."""

    name = "local"
    partitions_at_once = 1
    joins = False

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
        self,
        spread: Callable[[T], Iterable[Piece]],
        items: Sequence[T],
        gather: Callable[[int, Pieces], R],
        progress: Callable[[int], None] = ignore,
    ) -> Iterator[R]:
        with Spool() as spool:
            for number, item in enumerate(items):
                try:
                    for key, kind, rows in spread(item):
                        spool.add(key, kind, rows)
                except SURROUNDINGS:
                    raise
                except Exception as error:
                    raise ItemFailed(one_line(error)) from error
                progress(number + 1)
            for key in spool.all_keys():
                yield gather(key, spool.under(key))

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class LocalEmbedder:
    """Embeds on the cores or the GPU of this machine: this process reads and writes, an `EmbeddingPool` encodes."""

    name = "local"

    def __init__(self, id: EncoderId, workers: int | None = None) -> None:
        self._pool = EmbeddingPool(id, workers)

    def embed(self, lake: Lake, shards: Sequence[TextShard]) -> Iterator[tuple[int, Embedded]]:
        tables = self._pool.embed(texts_of(lake, shard) for shard in shards)
        for number, shard in enumerate(shards):
            try:
                vectors = next(tables)
            except SURROUNDINGS:
                raise
            except Exception as error:
                raise ItemFailed(one_line(error)) from error
            yield number, write_vectors(lake, shard, vectors)

    def __enter__(self) -> LocalEmbedder:
        self._pool.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.__exit__(kind, error, trace)

"""The Spark engine: stage functions in `mapInArrow`, shuffles as `groupBy(key).applyInArrow`.

A call is broadcast once and unpickled once in each Python worker; items are row numbers of a range with one partition each, so that
Spark retries, spreads and speculates on single items. Results come back pickled; an exception inside a call is a result as well, so
that only a process that dies breaks a Spark job. Then the items are halved until the one that kills is known.

Start-up is 8 to 15 s and 0.5 GB for the driver's JVM. The one thing to know: Python workers take their interpreter from
`PYSPARK_PYTHON`, so it is set to this one; a cluster's executors need the same Python and packages (`doctor` compares them).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark import cloudpickle
from pyspark.errors import PySparkException
from pyspark.sql.pandas.types import from_arrow_schema

from jobs.engines import spark_session
from jobs.engines.engine import Failed, ItemFailed, Piece, Pieces, R, T, attempt, ignore, unwrap
from jobs.engines.spool import Spool
from jobs.store.lake import Lake
from schemas.errors import EngraphError
from schemas.manifest import Fileset
from schemas.settings import SparkSettings
from schemas.tables import TABLES

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import DataFrame, SparkSession

PARTITIONS_AT_MOST = 10_000
TROUBLE = -(1 << 31)
"""The shuffle's key of what went wrong while spreading."""
DIED = ("exited unexpectedly", "ExecutorLostFailure", "OutOfMemoryError", "Connection reset", "EOFException")


class SparkEngine:
    """Stage functions on a Spark session that lives as long as this context."""

    name = "spark"
    partitions_at_once = 1 << 20
    joins = True

    def __init__(self, settings: SparkSettings) -> None:
        self.settings = settings
        self._session: SparkSession | None = None

    @property
    def spark(self) -> SparkSession:
        """The session. Raises `EngraphError` before the context is entered."""
        if self._session is None:
            raise EngraphError("the Spark engine is not started: enter it with `with`")
        return self._session

    def map(self, call: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R | Failed]]:
        yield from self._map(call, items, list(range(len(items))))

    def _map(self, call: Callable[[T], R], items: Sequence[T], numbers: list[int]) -> Iterator[tuple[int, R | Failed]]:
        if not numbers:
            return
        work = self._broadcast((call, [items[n] for n in numbers]))

        def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            wanted, some = _unpickled(work)
            for batch in batches:
                for row in batch.column(0).to_pylist():
                    yield _batch(row, "", pickle.dumps(attempt(wanted, some[row])))

        try:
            with _reaching_driver():
                frame = self._range(len(numbers)).mapInArrow(run, "key long, kind string, payload binary")
                results = self._collect(frame)
        except _WorkersDied as death:
            yield from self._halved(call, items, numbers, death)
            return
        finally:
            _forget(work)
        for row, _, payload in results:
            yield numbers[row], unwrap(pickle.loads(payload))

    def _halved(
        self, call: Callable[[T], R], items: Sequence[T], numbers: list[int], death: _WorkersDied
    ) -> Iterator[tuple[int, R | Failed]]:
        if len(numbers) == 1:
            yield numbers[0], Failed(str(death), died=True)
            return
        middle = len(numbers) // 2
        yield from self._map(call, items, numbers[:middle])
        yield from self._map(call, items, numbers[middle:])

    def group(
        self,
        spread: Callable[[T], Iterable[Piece]],
        items: Sequence[T],
        gather: Callable[[int, Pieces], R],
        progress: Callable[[int], None] = ignore,
    ) -> Iterator[R]:
        if not items:
            return
        work, ending = self._broadcast((spread, list(items))), self._broadcast(gather)

        def scatter(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            wanted, some = _unpickled(work)
            for batch in batches:
                for row in batch.column(0).to_pylist():
                    yield from _spread(wanted, some[row])

        def collect(key: tuple[pa.Scalar, ...], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            with Spool() as spool:
                number = key[0].as_py()
                for batch in batches:
                    for kind, payload in zip(batch["kind"].to_pylist(), batch["payload"], strict=True):
                        if number == TROUBLE:
                            yield _batch(TROUBLE, kind, payload.as_py())
                        else:
                            spool.add(number, kind, _from_ipc(payload.as_buffer()))
                if number != TROUBLE:
                    gathered = attempt(partial(_unpickled(ending), number), spool.under(number))
                    yield _batch(number, "", pickle.dumps(gathered))

        schema = "key long, kind string, payload binary"
        try:
            with _reaching_driver():
                spreads = self._range(len(items)).mapInArrow(scatter, schema)
                results = self._collect(spreads.groupBy("key").applyInArrow(collect, schema))
        except _WorkersDied as death:
            raise ItemFailed(str(death)) from death
        finally:
            _forget(work, ending)
        outcomes: list[Any] = [unwrap(pickle.loads(payload)) for _, _, payload in results]
        for outcome in outcomes:
            if isinstance(outcome, Failed):
                raise ItemFailed(outcome.error)
        progress(len(items))
        yield from outcomes

    def table(self, lake: Lake, name: str, filesets: Sequence[Fileset], columns: Sequence[str]) -> DataFrame:
        """Rows of filesets as a DataFrame, read by the workers through the store's own filesystem, a file a task."""
        files = lake.files(filesets)
        schema = pa.schema([TABLES[name].schema.field(column) for column in columns])
        work = self._broadcast((lake, files))

        def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            lake, files = _unpickled(work)
            for batch in batches:
                for row in batch.column(0).to_pylist():
                    whole = pa.BufferReader(lake.fs.cat_file(files[row]))
                    for found in pq.ParquetFile(whole).iter_batches(columns=list(columns)):
                        yield found.select(columns).cast(schema)

        return self._range(len(files)).mapInArrow(read, from_arrow_schema(schema))

    def _broadcast(self, value: object) -> Broadcast:
        with _reaching_driver():
            return self.spark.sparkContext.broadcast(cloudpickle.dumps(value))

    def _range(self, n: int) -> DataFrame:
        return self.spark.range(0, n, 1, numPartitions=max(1, min(n, PARTITIONS_AT_MOST)))

    def _collect(self, frame: DataFrame) -> list[tuple[int, str, bytes]]:
        try:
            return [(row.key, row.kind, bytes(row.payload)) for row in frame.collect()]
        except (Py4JJavaError, PySparkException) as error:
            text = str(error)
            if any(word in text for word in DIED):
                raise _WorkersDied(reason(text)) from error
            raise EngraphError(f"Spark gave up: {reason(text)}; run again, or with --debug for all of it") from error

    def __enter__(self) -> SparkEngine:
        self._session = spark_session.start(self.settings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            spark_session.stop(session)


@contextmanager
def _reaching_driver() -> Iterator[None]:
    """Says so where the JVM of Spark's driver does not answer any more."""
    try:
        yield
    except Py4JJavaError:
        raise
    except (Py4JError, ConnectionError) as error:
        raise EngraphError("Spark's driver process is gone (killed, or out of memory): run again") from error


def _forget(*broadcasts: Broadcast) -> None:
    """Give back what executors hold of them; where the driver is gone, so are they, and that is told already."""
    with suppress(Py4JError, ConnectionError):
        for broadcast in broadcasts:
            broadcast.unpersist()


class _WorkersDied(Exception):
    """A Spark job that failed because processes died, more often than Spark tries."""


def reason(text: str) -> str:
    """The line of a Java stack trace that says why."""
    lines = [line.strip() for line in text.splitlines()]
    told = [line for line in lines if any(w in line for w in (*DIED, "Most recent failure", "Error:", "Exception:"))]
    return (told or lines or ["unknown"])[-1 if not told else 0][:400]


def _spread(spread: Callable[[Any], Iterable[Piece]], item: Any) -> Iterator[pa.RecordBatch]:
    """An item's pieces as rows; what goes wrong is a row of its own."""
    pieces = iter(spread(item))
    while True:
        piece = attempt(_next, pieces)
        if piece is None:
            return
        if isinstance(piece, Failed | bytes):
            yield _batch(TROUBLE, "", pickle.dumps(piece))
            return
        key, kind, rows = piece
        yield _batch(key, kind, _to_ipc(rows))


def _next(pieces: Iterator[Piece]) -> Piece | None:
    return next(pieces, None)


_unpickled_last: dict[Any, Any] = {}


def _unpickled(broadcast: Any) -> Any:
    """A broadcast call, unpickled once in each worker process; the last few are kept."""
    key = id(broadcast)  # one object for each broadcast in each worker, kept below so that its id is not used again
    if key not in _unpickled_last:
        while len(_unpickled_last) >= 2:
            _unpickled_last.pop(next(iter(_unpickled_last)))
        _unpickled_last[key] = (broadcast, cloudpickle.loads(broadcast.value))
    return _unpickled_last[key][1]


def _batch(key: int, kind: str, payload: bytes) -> pa.RecordBatch:
    columns = [pa.array([key], pa.int64()), pa.array([kind], pa.string()), pa.array([payload], pa.binary())]
    return pa.RecordBatch.from_arrays(columns, ["key", "kind", "payload"])


def _to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _from_ipc(buffer: pa.Buffer) -> pa.Table:
    return pa.ipc.open_stream(buffer).read_all()

"""The Ray engine: stage functions as Ray tasks, embedding as a Ray Data pipeline.

A call is put into the object store once and unpickled once in each worker process; an item is a task, so that Ray retries and
spreads single items, a few ahead of what is taken (back-pressure). A task whose process dies again and again is that item's
failure. Shuffles are Spark's.

Embedding on GPUs streams: tasks read shards of texts by address, actors encode them (one per GPU or share of one), tasks write the
vectors; blocks pass as Arrow tables through the object store, whose size holds the readers back. On cores a task does all three.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any

from jobs.engines import ray_session  # before Ray, which reads its environment when it is imported

# isort: split
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError, WorkerCrashedError
from ray.util.annotations import RayDeprecationWarning

from jobs.embed_shards import Embedded, TextShard, encode_all, texts_of, write_vectors
from jobs.engines.engine import Failed, ItemFailed, Piece, Pieces, R, T, attempt, ignore, one_line, unwrap
from jobs.store.lake import Lake
from pipelines.embedding import EncoderId
from schemas.errors import EngraphError
from schemas.manifest import Shard
from schemas.settings import RaySettings

RETRIES = 3
AHEAD = 2  # tasks in flight for each core
DEATHS = (WorkerCrashedError, OutOfMemoryError, RayActorError)
NUMBER = "shard_number"
Rows = Callable[[pa.Table], pa.Table]
BLOCK_TEXTS = 2_048  # small shards travel together: a block costs Ray Data some 50 ms whatever is in it
BLOCKS_PER_ENCODER = 4  # the last ones finish together


class RayEngine:
    """Stage functions on a Ray cluster that is joined (or started) for as long as this context."""

    name = "ray"
    partitions_at_once = 1 << 20
    joins = False

    def __init__(self, settings: RaySettings) -> None:
        self.settings = settings

    def map(self, call: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R | Failed]]:
        blob = ray.put(ray.cloudpickle.dumps(call))
        task = _call.options(max_retries=RETRIES, num_cpus=self.settings.cpus_per_worker, scheduling_strategy="SPREAD")
        waiting = deque(enumerate(items))
        running: dict[Any, int] = {}
        width = max(1, AHEAD * self.cores())
        while waiting or running:
            while waiting and len(running) < width:
                number, item = waiting.popleft()
                running[task.remote([blob], item)] = number
            done, _ = ray.wait(list(running), num_returns=1, timeout=None)
            for reference in done:
                yield running.pop(reference), self._result(reference)

    def _result(self, reference: Any) -> Any:
        try:
            return unwrap(ray.get(reference))
        except DEATHS as death:
            return Failed(f"its process died {RETRIES + 1} times: {one_line(death)}", died=True)
        except RayTaskError as error:
            raise EngraphError(
                f"a Ray worker cannot run a stage: {one_line(error)}; `engraph doctor` compares them"
            ) from error
        except RayError as error:
            raise EngraphError(f"Ray gave up: {one_line(error)}; what is finished is kept, run again") from error

    def group(
        self,
        spread: Callable[[T], Iterable[Piece]],
        items: Sequence[T],
        gather: Callable[[int, Pieces], R],
        progress: Callable[[int], None] = ignore,
    ) -> Iterator[R]:
        raise NotImplementedError("shuffles run on Spark")

    def cores(self) -> int:
        """Cores of the cluster, now."""
        return int(ray.cluster_resources().get("CPU", 1))

    def __enter__(self) -> RayEngine:
        ray_session.start(self.settings)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ray_session.stop()


_kept: dict[str, Any] = {}


@ray.remote
def _call(blob: list, item: Any) -> Any:
    """Run a call on an item. The call is unpickled once in each process; the last two are kept."""
    (reference,) = blob
    key = reference.hex()
    if key not in _kept:
        while len(_kept) >= 2:
            _kept.pop(next(iter(_kept)))
        _kept[key] = ray.cloudpickle.loads(ray.get(reference))
    return attempt(_kept[key], item)


class RayEmbedder:
    """Embeds through Ray Data. `workers`: encoders at once; by default one per GPU, or per core where there is none."""

    name = "ray"

    def __init__(self, engine: RayEngine, id: EncoderId, workers: int | None = None) -> None:
        self.engine, self.id, self.workers = engine, id, workers

    def embed(self, lake: Lake, shards: Sequence[TextShard]) -> Iterator[tuple[int, Embedded]]:
        if not shards:
            return
        try:
            for row in self._stream(lake, shards).iter_rows():
                shard = shards[row[NUMBER]]
                yield row[NUMBER], Embedded(shard, Shard.model_validate_json(row["mark"]), row["encoded"])
        except RayError as error:
            raise _cause(error) from error

    def _stream(self, lake: Lake, shards: Sequence[TextShard]) -> ray.data.Dataset:
        """Numbers of shards -> texts -> vectors -> what was written."""
        encoders = self._encoders()
        blocks = _packed(shards, encoders)
        numbers = ray.data.from_arrow([pa.table({NUMBER: block}) for block in blocks])
        with warnings.catch_warnings():  # how often a task is tried can be said in no other way before Ray 2.64
            warnings.simplefilter("ignore", RayDeprecationWarning)
            if self._gpus():
                return self._on_gpus(numbers, _reader(lake, shards), _writer(lake, shards), min(encoders, len(blocks)))
            return numbers.map_batches(
                _all_at_once(lake, shards, self.id),
                batch_format="pyarrow",
                compute=TaskPoolStrategy(size=min(encoders, len(blocks))),
                num_cpus=self.engine.settings.cpus_per_worker,
                max_retries=RETRIES,
            )

    def _gpus(self) -> float:
        return float(ray.cluster_resources().get("GPU", 0))

    def _encoders(self) -> int:
        """Encoders at once: one per GPU (or share of one), else one per core."""
        on_gpus = int(self._gpus() / self.engine.settings.gpus_per_encoder)
        return self.workers or max(1, on_gpus or self.engine.cores())

    def _on_gpus(self, numbers: ray.data.Dataset, read: Rows, write: Rows, encoders: int) -> ray.data.Dataset:
        """Reading and writing run beside the encoders and claim no core: a claim on one that encoders hold is never met."""
        beside: dict[str, Any] = {"compute": TaskPoolStrategy(size=max(2, self.engine.cores())), "num_cpus": 0}
        texts = numbers.map_batches(read, batch_format="pyarrow", max_retries=RETRIES, **beside)
        vectors = texts.map_batches(
            _EncoderActor,
            fn_constructor_args=(self.id,),
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=encoders),
            num_gpus=self.engine.settings.gpus_per_encoder,
            num_cpus=self.engine.settings.cpus_per_worker,
            max_restarts=RETRIES,
            max_task_retries=RETRIES,
        )
        return vectors.map_batches(write, batch_format="pyarrow", max_retries=RETRIES, **beside)

    def __enter__(self) -> RayEmbedder:
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def _packed(shards: Sequence[TextShard], encoders: int) -> list[list[int]]:
    """Numbers of shards by block: about `BLOCK_TEXTS` texts each, fewer where encoders would wait for work."""
    wanted = min(BLOCK_TEXTS, -(-sum(shard.texts for shard in shards) // (BLOCKS_PER_ENCODER * encoders)))
    blocks: list[list[int]] = []
    held = wanted
    for number, shard in enumerate(shards):
        if held >= wanted:
            blocks.append([])
            held = 0
        blocks[-1].append(number)
        held += shard.texts
    return blocks


def _reader(lake: Lake, shards: Sequence[TextShard]) -> Rows:
    """Numbers of shards to their texts. A shard without texts passes as a row of nulls: what was copied gets written."""

    def read(block: pa.Table) -> pa.Table:
        parts = []
        for number in block[NUMBER].to_pylist():
            texts = texts_of(lake, shards[number])
            parts.append(_numbered(texts if texts.num_rows else _nulls(texts.schema), number))
        return pa.concat_tables(parts)

    return read


def _writer(lake: Lake, shards: Sequence[TextShard]) -> Rows:
    """Vectors of one shard or more to files; passes on their marks."""

    def write(block: pa.Table) -> pa.Table:
        found = []
        for number in pc.unique(block[NUMBER]).to_pylist():
            vectors = block.filter(pc.equal(block[NUMBER], number)).drop_columns([NUMBER])
            done = write_vectors(lake, shards[number], vectors.filter(pc.is_valid(vectors["content_hash"])))
            found.append({NUMBER: number, "mark": done.mark.model_dump_json(), "encoded": done.encoded})
        return pa.Table.from_pylist(found)

    return write


def _all_at_once(lake: Lake, shards: Sequence[TextShard], id: EncoderId) -> Rows:
    """Numbers of shards to what was written, in one task: on cores there is nothing to overlap, and a process that keeps its
    model from stage to stage saves the 4 s and 0.5 GB of every other."""
    read, write = _reader(lake, shards), _writer(lake, shards)

    def embed(block: pa.Table) -> pa.Table:
        return write(_encode_block(read(block), id))

    return embed


class _EncoderActor:
    """An encoder that keeps its model, and its GPU, for one stage."""

    def __init__(self, id: EncoderId) -> None:
        self.id = id

    def __call__(self, block: pa.Table) -> pa.Table:
        return _encode_block(block, self.id)


def _encode_block(block: pa.Table, id: EncoderId) -> pa.Table:
    """Texts to vectors, shard by shard: a shard's batches are its own, so that how blocks are cut changes no bit."""
    numbers = pc.unique(block[NUMBER]).to_pylist()
    known = block.filter(pc.is_valid(block["content_hash"]))
    texts = (known.filter(pc.equal(known[NUMBER], number)).drop_columns([NUMBER]) for number in numbers)
    found = zip(numbers, encode_all(id, texts), strict=True)
    return pa.concat_tables([_numbered(v if v.num_rows else _nulls(v.schema), number) for number, v in found])


def _numbered(rows: pa.Table, number: int) -> pa.Table:
    return rows.append_column(NUMBER, pa.array([number] * rows.num_rows, pa.int64()))


def _nulls(schema: pa.Schema) -> pa.Table:
    return pa.table({field.name: pa.nulls(1, field.type) for field in schema})


def _cause(error: RayError) -> EngraphError:
    """What broke the stream: a text (then the shards left are looked at one by one), or the surroundings."""
    inner = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(inner, EngraphError | OSError):
        return EngraphError(one_line(inner))
    if isinstance(error, (RayTaskError, *DEATHS)):
        return ItemFailed(one_line(inner))
    return EngraphError(f"Ray gave up: {one_line(error)}; what is finished is kept, run again")

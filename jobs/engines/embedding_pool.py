"""Embedding on the cores of one machine: whole shards in, whole shards out, in order, with equal bits however it runs.

Two ways, chosen by cost alone. In process: `Encoder` with one thread per worker; no start-up, one copy of the model.
Worker processes, one thread each: 4 s and 0.5 GB each to start, but no interpreter lock between them. On two cores both
give the same rate, so processes are started only for more than `CORES_IN_PROCESS` workers and enough texts. Neither
changes a bit: a shard's batches depend on the shard alone and each is computed on one core.

A worker is `python -m jobs.engines.embedding_pool NAME`, spoken to over pipes in Arrow IPC. Being no multiprocessing child it
never imports the parent's `__main__`, so console scripts, pytest, notebooks and unguarded scripts all may start it.

Memory stays what the first shards took: oneDNN keeps the code of few shapes (of 1,024 by default: 180 MB for windows of all
lengths), and glibc gives back after each shard what activations of ever other sizes have left in pieces. An ingest of 3,000 turns
peaked at 830 MB instead of 1,280, at the same rate.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType

import pyarrow as pa

from pipelines.cores import usable_cores
from pipelines.embedding import Encoder, EncoderId, embed_shards, embed_texts
from schemas.errors import EngraphError

CORES_IN_PROCESS = 4  # the interpreter is held some 3 % of a batch's time: below this, threads lose nothing
TEXTS_WORTH_PROCESSES = 1500  # what one core embeds while a worker process starts
ROOT = Path(__file__).resolve().parents[2]
# read at the first forward; batches come sorted by length, so few shapes are in use at a time
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")


class EmbeddingPool:
    """A context manager that embeds shards `[content_hash, text]` into tables `embeddings`.

    `workers`: cores to use, all of them by default. `processes`: None lets the cost decide, True and False force it.
    """

    def __init__(self, id: EncoderId, workers: int | None = None, *, processes: bool | None = None) -> None:
        self.id = id
        self.workers = workers or usable_cores()
        self._processes = processes
        self._encoder: Encoder | None = None
        self._started: list[_Worker] = []

    def __enter__(self) -> EmbeddingPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._encoder = None

    def embed(self, shards: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """One table `embeddings` per shard, in order; shards are drawn as they are needed (a few ahead).

        Raises what `embed_texts` raises, and `EngraphError` when a worker process dies.
        """
        shards = iter(shards)
        first = self._first(shards)
        shards = chain(first, shards)
        if self._worth_processes(sum(t.num_rows for t in first), len(first)):
            yield from self._in_processes(shards)
        else:
            if self._encoder is None and first:
                self._encoder = Encoder.load(self.id, threads=self.workers)
            assert self._encoder is not None or not first
            for vectors in embed_shards(shards, encoder=self._encoder) if self._encoder else ():
                yield vectors
                _give_back_memory()

    def pids(self) -> list[int]:
        """Process ids of the workers that have been started."""
        return [worker.process.pid for worker in self._started]

    def _first(self, shards: Iterator[pa.Table]) -> list[pa.Table]:
        """Shards from the front until it is known whether processes are worth starting."""
        first: list[pa.Table] = []
        for shard in shards:
            first.append(shard)
            if sum(t.num_rows for t in first) >= TEXTS_WORTH_PROCESSES and len(first) > 1:
                break
        return first

    def _worth_processes(self, texts: int, shards: int) -> bool:
        if self._processes is not None:
            return self._processes
        if self._started:
            return True
        many = self.workers > CORES_IN_PROCESS and texts >= TEXTS_WORTH_PROCESSES and shards > 1
        return many and not _has_cuda()

    def _in_processes(self, shards: Iterator[pa.Table]) -> Iterator[pa.Table]:
        while len(self._started) < self.workers:
            self._started.append(_Worker(self.id))
        idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._started:
            idle.put(worker)

        def embed_shard(shard: pa.Table) -> pa.Table:
            worker = idle.get()
            try:
                return worker.embed(shard)
            finally:
                idle.put(worker)

        ahead: deque[Future[pa.Table]] = deque()
        callers = ThreadPoolExecutor(self.workers)
        try:
            for shard in shards:
                ahead.append(callers.submit(embed_shard, shard))
                if len(ahead) > 2 * self.workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        except BaseException:  # a dead worker, Ctrl-C, a caller that stops early: pipes may be mid-message
            for worker in self._started:
                worker.process.kill()
            raise
        finally:
            callers.shutdown(cancel_futures=True)
            self._stop_if_killed()

    def _stop_if_killed(self) -> None:
        """After an error the workers are gone; the next `embed` starts new ones."""
        if any(worker.process.poll() is not None for worker in self._started):
            self._stop()

    def _stop(self) -> None:
        for worker in self._started:
            worker.stop()
        self._started = []


class _Worker:
    """The parent's end of one worker process."""

    def __init__(self, id: EncoderId) -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jobs.engines.embedding_pool", id.name, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdin and self.process.stdout
        self._to = Connection(os.dup(self.process.stdin.fileno()), readable=False)
        self._from = Connection(os.dup(self.process.stdout.fileno()), writable=False)
        self.process.stdin.close()
        self.process.stdout.close()

    def embed(self, shard: pa.Table) -> pa.Table:
        """Send one shard, wait for its table. Raises the worker's own error, or `EngraphError` if it died."""
        try:
            self._to.send_bytes(_to_ipc(shard))
            failed = self._from.recv_bytes() == b"error"
            answer = self._from.recv_bytes()
        except (EOFError, OSError) as error:
            raise EngraphError(self._obituary()) from error
        if failed:
            raise pickle.loads(answer)
        return _from_ipc(answer)

    def stop(self) -> None:
        """End the process, whatever it is doing. It writes no files, so nothing can be left half done."""
        self.process.kill()
        self.process.wait()
        self._to.close()
        self._from.close()

    def _obituary(self) -> str:
        code = self.process.wait(timeout=60)
        why = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return (
            f"an embedding worker (pid {self.process.pid}) ended {why}: its traceback is above, if it left one; SIGKILL "
            "means mostly that memory ran out, so run with fewer workers (0.7 GB each). Shards done are kept: run again"
        )


def _give_back_memory() -> None:
    """Return freed memory to the system where the C library knows how (glibc); takes milliseconds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _has_cuda() -> bool:
    import torch  # one process feeds one GPU: more would only divide its memory

    return torch.cuda.is_available()


def _to_ipc(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue())


def _from_ipc(message: bytes) -> pa.Table:
    return pa.ipc.open_stream(message).read_all()


def _exit_with_parent(parent: int) -> None:
    """End this process within a second of its parent's death, also in the middle of a shard."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _serve(id: EncoderId, requests: Connection, replies: Connection) -> None:
    """Answer shards until the parent closes the pipe."""
    encoder = Encoder.load(id, threads=1, device="cpu")
    while True:
        try:
            shard = _from_ipc(requests.recv_bytes())
        except EOFError:
            return
        try:
            status, answer = b"ok", _to_ipc(embed_texts(shard, encoder=encoder))
        except (ValueError, EngraphError) as error:
            status, answer = b"error", memoryview(pickle.dumps(error))
        replies.send_bytes(status)
        replies.send_bytes(answer)
        _give_back_memory()


def main(arguments: list[str]) -> None:
    """Run as one worker: `python -m jobs.engines.embedding_pool all-MiniLM-L6-v2@bf16 PARENT_PID`."""
    name, parent = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides
    threading.Thread(target=_exit_with_parent, args=(int(parent),), daemon=True).start()
    replies = Connection(os.dup(1), readable=False)
    os.dup2(2, 1)  # what libraries print must not fall into the replies
    _serve(EncoderId.parse(name), Connection(os.dup(0), writable=False), replies)


if __name__ == "__main__":
    main(sys.argv[1:])

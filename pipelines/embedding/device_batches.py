"""Batches through a card: one thread tokenises and pads ahead, copies and kernels are queued, results stay until a shard is done.

Everything the card does is asynchronous, so while it computes a shard the next one is tokenised, padded and queued behind it, and
the caller may spend its time on the one before: a shard is handed out only when its successor is queued. When memory runs out a
batch is halved, and so is the budget from then on; a single window that still does not fit is computed on the CPU, so no shard is
ever lost to it. The same code runs on any torch device; on "cpu" it is merely synchronous. The one thing to know: batches, and
with them the bits of a vector (some 1e-3 in bf16), depend on the shard and on the budget, not on the shards beside it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import torch

from pipelines.embedding.forward import DeviceForward
from pipelines.embedding.host_batch import HostBatch, Padding, padded_length
from pipelines.embedding.token_budget import calibrate, fits, power_of_two
from pipelines.embedding.windows import bucketed_batches
from pipelines.embedding.work import Work


class Shard(Protocol):
    """A list of texts after tokenising, as `windows_of` orders it."""

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each window, special tokens included, descending."""
        ...

    def batch(self, rows: range) -> tuple[list[np.ndarray], Sequence[str]]:
        """Token ids of some windows, special tokens included, and the windows as text where the model takes text."""
        ...


S = TypeVar("S", bound=Shard)
T = TypeVar("T")
Progress = Callable[[int, int], object]


class DeviceBatches:
    """A model on a device with its budget; None lets the first use calibrate it (a second or two)."""

    def __init__(self, forward: DeviceForward, device: torch.device, window: int, budget: int | None = None) -> None:
        self.forward = forward
        self.device = device
        self.window = window
        self._budget = budget
        self._on_cpu: DeviceForward | None = None

    @property
    def budget(self) -> int:
        """Padded tokens a batch; calibrated at first, halved whenever memory ran out."""
        if self._budget is None:
            self._budget = calibrate(self.forward, self.device, self.window)
        return self._budget

    def encode(
        self, lists: Iterable[T], tokenise: Callable[[T], S], progress: Progress = lambda done, total: None
    ) -> Iterator[tuple[S, np.ndarray, Work]]:
        """Each list as its shard, the unit vectors f32 [windows, dim] of its windows, and what they cost; in order.

        `tokenise` runs in the producer's thread, `lists` are drawn in the caller's, two ahead. `progress` counts windows queued.
        """
        remaining = iter(lists)
        producer = ThreadPoolExecutor(1, thread_name_prefix="engraph-pad")
        try:
            job, flying = self._next(remaining, tokenise, producer), None
            while job is not None:
                shard = job.result()
                lengths = [padded_length(n) for n in shard.lengths]
                batches = deque(producer.submit(self._pad, shard, b) for b in bucketed_batches(lengths, self.budget))
                job = self._next(remaining, tokenise, producer)
                launched = shard, self._launch(shard, batches, progress)
                if flying is not None:
                    yield flying[0], *flying[1].land()
                flying = launched
            if flying is not None:
                yield flying[0], *flying[1].land()
        finally:
            producer.shutdown(cancel_futures=True)

    def _next(self, lists: Iterator[T], tokenise: Callable[[T], S], producer: ThreadPoolExecutor) -> Future[S] | None:
        for item in lists:
            return producer.submit(tokenise, item)
        return None

    def _pad(self, shard: Shard, rows: range) -> HostBatch:
        return Padding(self.forward.pad, self.window, self.device.type == "cuda").batch(rows, *shard.batch(rows))

    def _launch(self, shard: Shard, batches: deque[Future[HostBatch]], progress: Progress) -> Flight:
        """Queue all batches of a shard; they are popped as they go, so that their memory is free again."""
        flight, total = Flight(self.device, len(shard.lengths), self.forward.dim), len(shard.lengths)
        while batches:
            waiting = [batches.popleft().result()]
            while waiting:
                batch = waiting.pop()
                if batch.padded > self.budget and len(batch.rows) > 1:
                    waiting += reversed(batch.halves())
                elif fits(partial(flight.add, batch, self.forward)):
                    progress(batch.rows.stop, total)
                elif len(batch.rows) > 1:
                    self._budget = power_of_two(batch.padded - 1)
                    waiting.append(batch)
                else:
                    flight.add(batch, self._spare())
                    progress(batch.rows.stop, total)
        flight.depart()
        return flight

    def _spare(self) -> DeviceForward:
        """The same model on the CPU, for a window that the card has no room for."""
        if self._on_cpu is None:
            self._on_cpu = self.forward.on_cpu()
        return self._on_cpu


class Flight:
    """One shard on the device: where its vectors gather, and what they cost."""

    def __init__(self, device: torch.device, windows: int, dim: int) -> None:
        self._work = Work()
        self._spans: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._cuda = device.type == "cuda"
        self._vectors = torch.empty((0, dim))

        def room() -> None:
            self._vectors = torch.empty((windows, dim), device=device)

        if not fits(room):  # the batches' results are then copied one by one
            self._vectors = torch.empty((windows, dim))

    def add(self, batch: HostBatch, forward: DeviceForward) -> None:
        """Queue one batch. Raises RuntimeError (see `is_out_of_memory`) with nothing counted."""
        begun, span = time.perf_counter(), self._span()
        self._vectors[batch.rows.start : batch.rows.stop].copy_(forward.vectors(batch))
        if span:
            span[1].record()
            self._spans.append(span)
        tokens = int(batch.lengths.sum())
        self._work += Work(len(batch.rows), tokens, batch.padded, 0.0 if self._cuda else time.perf_counter() - begun)

    def depart(self) -> None:
        """Queue the one copy of all vectors to the host."""
        if self._cuda and self._vectors.is_cuda:
            host = torch.empty(self._vectors.shape, pin_memory=True)
            self._vectors = host.copy_(self._vectors, non_blocking=True)
        self._landed = torch.cuda.Event() if self._cuda else None
        if self._landed:
            self._landed.record()

    def land(self) -> tuple[np.ndarray, Work]:
        """Wait for the vectors: f32 [windows, dim] on the host, and the work they took."""
        if self._landed:
            self._landed.synchronize()
        seconds = sum(start.elapsed_time(end) for start, end in self._spans) / 1000
        return self._vectors.numpy(), self._work + Work(seconds=seconds)

    def _span(self) -> tuple[torch.cuda.Event, torch.cuda.Event] | None:
        """Marks on the card's own time line around a batch, the first set."""
        if not self._cuda:
            return None
        span = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        span[0].record()
        return span

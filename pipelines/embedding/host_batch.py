"""One batch of windows on its way to a device: padded tokens in memory that the device can fetch by itself.

Tokens travel as int32 and without a mask (lengths say the same): a quarter of the bytes of two int64 arrays. On CUDA they lie in
pinned memory, from which copies need no waiting; torch keeps and reuses such blocks. Rows are padded to a multiple of 8 tokens,
the tile of the tensor cores, unless the model has no position for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

MULTIPLE = 8


@dataclass(frozen=True)
class HostBatch:
    """Windows `rows` of a shard, longest first: `tokens` int32 [b, width], `lengths` int32 [b], `texts` where they are wanted."""

    rows: range
    tokens: torch.Tensor
    lengths: torch.Tensor
    texts: Sequence[str] = ()

    @property
    def padded(self) -> int:
        """Tokens to compute, padding included."""
        return self.tokens.numel()

    def halves(self) -> tuple[HostBatch, HostBatch]:
        """Two batches of half the windows each, the second as narrow as its longest window. Needs two windows."""
        middle = len(self.rows) // 2
        width = min(padded_length(int(self.lengths[middle])), self.tokens.shape[1])
        first = HostBatch(self.rows[:middle], self.tokens[:middle], self.lengths[:middle], self.texts[:middle])
        second = self.tokens[middle:, :width].contiguous()
        return first, HostBatch(self.rows[middle:], second, self.lengths[middle:], self.texts[middle:])


def padded_length(tokens: int) -> int:
    """`tokens` rounded up to a multiple of `MULTIPLE`."""
    return -(-tokens // MULTIPLE) * MULTIPLE


@dataclass(frozen=True)
class Padding:
    """How a model wants its batches: its padding token, the longest row its positions allow, pinned memory or not."""

    token: int
    longest: int
    pinned: bool

    def batch(self, rows: range, ids: Sequence[np.ndarray], texts: Sequence[str]) -> HostBatch:
        """A batch of token `ids` (special tokens included), longest first."""
        lengths = np.fromiter(map(len, ids), np.int32, len(ids))
        longest = int(lengths.max())
        width = max(longest, min(padded_length(longest), self.longest))
        tokens = np.full((len(ids), width), self.token, np.int32)
        tokens[np.arange(width) < lengths[:, None]] = np.concatenate(ids)
        filled, long = torch.from_numpy(tokens), torch.from_numpy(lengths)
        if self.pinned:
            filled, long = filled.pin_memory(), long.pin_memory()
        return HostBatch(rows, filled, long, texts)


def made_up_batch(budget: int, window: int) -> HostBatch:
    """About `budget` padded tokens of full windows (at least one window), for measuring; token 1 is in every vocabulary."""
    width = max(1, min(window, budget))
    count = max(1, budget // width)
    tokens, lengths = torch.ones((count, width), dtype=torch.int32), torch.full((count,), width, dtype=torch.int32)
    return HostBatch(range(count), tokens, lengths, ["a " * width] * count)

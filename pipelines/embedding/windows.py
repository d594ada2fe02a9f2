"""From token ids to batches: long texts into windows, equal windows once, windows by length into batches.

A text beyond the model's window is split into the fewest consecutive windows, as equal in length as possible, on token
boundaries. Windows are then sorted by length and content and packed until a batch holds `budget` padded tokens: hardly
any padding, and activations that stay in cache. The order depends on the *set* of windows alone, so permuting or
repeating texts changes no bit. O(n log n); nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Windows:
    """The distinct windows of a list of texts, longest first.

    `ids`: token ids of each distinct window. `first`: (text, start, end) in tokens where it occurs first.
    `text`, `window`, `weight`: int64 [m], one entry per occurrence: which text, which distinct window, its token count.
    `n_windows`: int16 [n], occurrences per text.
    """

    ids: list[np.ndarray]
    first: list[tuple[int, int, int]]
    text: np.ndarray
    window: np.ndarray
    weight: np.ndarray
    n_windows: np.ndarray


def split_bounds(n_tokens: int, room: int) -> list[int]:
    """Boundaries of the fewest windows of at most `room` tokens, lengths differing by at most one: [0, ..., n_tokens]."""
    pieces = max(1, -(-n_tokens // room))
    return [n_tokens * i // pieces for i in range(pieces + 1)]


def windows_of(token_ids: Sequence[np.ndarray], room: int) -> Windows:
    """Split every text's tokens at `room`, and name equal windows once."""
    found: dict[bytes, tuple[int, int, int]] = {}
    occurrences: list[tuple[int, bytes, int]] = []
    for text, ids in enumerate(token_ids):
        for start, end in pairwise(split_bounds(len(ids), room)):
            key = ids[start:end].tobytes()
            found.setdefault(key, (text, start, end))
            occurrences.append((text, key, max(1, end - start)))
    keys = sorted(found, key=lambda k: (-len(k), k))
    number = {key: i for i, key in enumerate(keys)}
    of_text = np.array([text for text, _, _ in occurrences], dtype=np.int64)
    return Windows(
        ids=[np.frombuffer(key, dtype=np.int32) for key in keys],
        first=[found[key] for key in keys],
        text=of_text,
        window=np.array([number[key] for _, key, _ in occurrences], dtype=np.int64),
        weight=np.array([weight for _, _, weight in occurrences], dtype=np.int64),
        n_windows=np.bincount(of_text, minlength=len(token_ids)).astype(np.int16),
    )


def batches_of(lengths: Sequence[int], budget: int) -> list[range]:
    """Consecutive ranges over `lengths` (descending), each of windows of one length and at most `budget` tokens, or one window.

    Without padding a window has the same bits whatever it shares a batch with, in bf16 too (but for AMX, see `encoder`); padding
    moved cosines by up to 0.002.
    So which day a text was first embedded on, and beside what, changes nothing that rests on its vector.
    """
    batches, start = [], 0
    for i in range(1, len(lengths) + 1):
        if i == len(lengths) or lengths[i] != lengths[start] or (i + 1 - start) * lengths[start] > budget:
            batches.append(range(start, i))
            start = i
    return batches


def bucketed_batches(lengths: Sequence[int], budget: int, fill: int = 16_384, narrowest: float = 0.8) -> list[range]:
    """As `batches_of`, for devices with large budgets: a batch also ends once it holds `fill` padded tokens and the next window
    is shorter than `narrowest` of its longest.

    Without that rule a shard of 2,048 windows of 3 to 256 tokens would be one batch, half of it padding; 16,384 tokens should
    keep a card busy longer than it takes to queue them (an estimate from its arithmetic, not a measurement).
    """
    batches, start = [], 0
    for i in range(1, len(lengths) + 1):
        end = i == len(lengths) or (i + 1 - start) * lengths[start] > budget
        if end or ((i - start) * lengths[start] >= fill and lengths[i] < narrowest * lengths[start]):
            batches.append(range(start, i))
            start = i
    return batches


def mean_of_windows(vectors: np.ndarray, windows: Windows) -> np.ndarray:
    """f32 [n_texts, dim]: mean of each text's unit window vectors weighted by token count, at unit length again."""
    out = np.zeros((len(windows.n_windows), vectors.shape[1]), dtype=np.float32)
    single = windows.n_windows[windows.text] == 1
    out[windows.text[single]] = vectors[windows.window[single]]  # most texts: copied, not rounded again
    long, row = np.unique(windows.text[~single], return_inverse=True)
    sums = np.zeros((len(long), vectors.shape[1]), dtype=np.float64)
    np.add.at(sums, row, vectors[windows.window[~single]] * windows.weight[~single, None].astype(np.float64))
    out[long] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return out

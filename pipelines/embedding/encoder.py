"""`Encoder`: texts of any length to unit vectors, several times as fast as `SentenceTransformer.encode` on CPU cores.

Windows of like length share small batches (1,024 padded tokens stay in a core's cache), and `threads` batches run at
once, each on *one* core: torch's own threading of a batch gave 811 sentences/s on two cores, this 1,020. As no batch is split
over cores (but for `encode_one`), the bits of a vector do not depend on `threads`, and the same set of texts in any order gives
the same bits. Nor do they depend on what is encoded beside a text, except on a CPU with AMX, whose kernels add up in an order that
depends on the rows of a batch: by up to 1e-3 in bf16. They are several times as fast (`engraph bench embed`, with
ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment and without).

On a card `device_batches` takes over: batches as large as its memory allows, the next list tokenised meanwhile (`encode_lists`).
There the batches, and with them the last bits, also depend on the budget, so on the card's free memory: vectors of two cards, or
of a card and the CPU, are expected to agree to some 1e-3 in bf16, not to the bit (never yet measured on a card).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pipelines.embedding.encoder_id import EncoderId
from pipelines.embedding.model_folder import model_folder, read_layout
from pipelines.embedding.split import CORES, split
from pipelines.embedding.tokens import Tokens, read_tokenizer
from pipelines.embedding.windows import Windows, batches_of, mean_of_windows, windows_of
from pipelines.embedding.work import Work
from schemas.errors import EngraphError

if TYPE_CHECKING:
    from pipelines.embedding.device_batches import DeviceBatches
    from pipelines.embedding.forward import Forward

TOKENS_PER_BATCH = 1024  # of a core; a card's are in `token_budget`
Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Encoded:
    """`vectors` f32 [n, dim] unit norm; `n_tokens` int32 [n], special tokens not counted; `n_windows` int16 [n]; what it cost."""

    vectors: np.ndarray
    n_tokens: np.ndarray
    n_windows: np.ndarray
    work: Work = field(default_factory=Work, compare=False)


@dataclass(frozen=True)
class Tokenised:
    """A list of texts as distinct windows, longest first, and how to get at them; what `DeviceBatches` calls a shard."""

    texts: Sequence[str]
    n_tokens: np.ndarray
    windows: Windows
    lengths: list[int]
    tokens: Tokens
    takes_text: bool

    def batch(self, rows: range) -> tuple[list[np.ndarray], Sequence[str]]:
        """Token ids of some windows with special tokens, int64, and their characters for models that take text."""
        ids = [np.concatenate([self.tokens.prefix, self.windows.ids[i], self.tokens.suffix]) for i in rows]
        return [i.astype(np.int64) for i in ids], [self._text(i) for i in rows] if self.takes_text else ()

    def _text(self, i: int) -> str:
        text, start, end = self.windows.first[i]
        if self.windows.n_windows[text] == 1:
            return self.texts[text]
        offsets = self.tokens.token_offsets(self.texts[text])
        return self.texts[text][offsets[start, 0] : offsets[end - 1, 1]]


class Encoder:
    """A loaded model. Memory: the weights once (45 MB for the default in bf16) and some MB per thread."""

    def __init__(
        self,
        id: EncoderId,
        tokens: Tokens,
        forward: Forward,
        *,
        threads: int,
        device: str,
        batches: DeviceBatches | None = None,
    ) -> None:
        """With `batches`, texts are computed through them instead of one batch a core."""
        self.id = id
        self.tokens = tokens
        self.dim = forward.dim
        self.device = device
        self.work = Work()
        self._forward = forward
        self._takes_text = forward.takes_text
        self._threads = threads
        self._batches = batches

    @classmethod
    def load(cls, id: EncoderId, *, threads: int = 1, device: str = "auto") -> Encoder:
        """Load model and tokenizer of `id`; 3 to 4 s with torch's import. `threads` batches run at once on the CPU.

        `device`: "auto" (CUDA where there is one), "cpu", "cuda". Raises `UsageError` when the model cannot be found.
        """
        from pipelines.embedding.forward import choose_device, load_forward  # torch: only those who encode pay for it

        folder = model_folder(id.model)
        where = choose_device(device)
        forward, tokens = load_forward(folder, read_layout(folder), id.precision, where), read_tokenizer(folder)
        if where.type == "cpu":
            return cls(id, tokens, forward, threads=threads, device=where.type)
        from pipelines.embedding.device_batches import DeviceBatches

        window = tokens.max_tokens + len(tokens.prefix) + len(tokens.suffix)
        return cls(id, tokens, forward, threads=1, device=where.type, batches=DeviceBatches(forward, where, window))

    @property
    def max_tokens(self) -> int:
        """Tokens of text in one window, special tokens not counted."""
        return self.tokens.max_tokens

    def count_tokens(self, texts: Sequence[str]) -> np.ndarray:
        """int32 [n], special tokens not counted."""
        return self.tokens.count_tokens(texts)

    def token_offsets(self, text: str) -> np.ndarray:
        """int32 [n, 2]: start and end of each token in characters."""
        return self.tokens.token_offsets(text)

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> Encoded:
        """Unit vectors of `texts`; the same list gives the same bits. `progress(done, total)` counts distinct windows.

        `work` of the result says what it cost; `Encoder.work` is the sum over all results so far.

        A text longer than the window is encoded in `n_windows` pieces, its vector their token-weighted mean. Raises
        ValueError for an empty text, `EngraphError` when the model gives a vector that is not finite.
        """
        if self._batches is not None:
            return next(self.encode_lists([texts], progress=progress))
        shard = self._tokenised(texts)
        return self._encoded(shard, *self._on_cores(shard, progress))

    def encode_one(self, text: str) -> np.ndarray:
        """Unit vector f32 [dim] of one text that somebody waits for: its batch is split over the cores; while one is
        split others have a core each, as in a forked child. The last bits may depend on `threads`. Raises as `encode` does."""
        cores = min(self._threads, CORES)
        if self._batches is None and cores > 1:
            found = split(cores, lambda: self._in_turn([text]))
            if found is not None:
                return found.vectors[0]
        return self.encode([text]).vectors[0]

    def _in_turn(self, texts: Sequence[str]) -> Encoded:
        """One batch after the other, each on all cores that torch has here."""
        shard = self._tokenised(texts)
        done = [self._computed(shard, batch) for batch in batches_of(shard.lengths, TOKENS_PER_BATCH)]
        return self._encoded(
            shard, np.concatenate([found for found, _ in done]), sum((cost for _, cost in done), Work())
        )

    def encode_lists(self, lists: Iterable[Sequence[str]], *, progress: Progress | None = None) -> Iterator[Encoded]:
        """`encode` of each list, in order and to the same bits; on a card the lists overlap, so that it never waits for one.

        Lists are drawn up to two ahead of what is handed out.
        """
        if self._batches is None:
            yield from (self.encode(texts, progress=progress) for texts in lists)
            return
        for found in self._batches.encode(lists, self._tokenised, progress or (lambda done, total: None)):
            yield self._encoded(*found)

    def _tokenised(self, texts: Sequence[str]) -> Tokenised:
        for i, text in enumerate(texts):
            if not text.strip():
                raise ValueError(f"text {i} of {len(texts)} is empty: leave out texts without words before embedding")
        token_ids = self.tokens.token_ids(texts)
        windows = windows_of(token_ids, self.max_tokens)
        special = len(self.tokens.prefix) + len(self.tokens.suffix)
        lengths = [len(ids) + special for ids in windows.ids]
        n_tokens = np.fromiter(map(len, token_ids), dtype=np.int32, count=len(texts))
        return Tokenised(texts, n_tokens, windows, lengths, self.tokens, self._takes_text)

    def _encoded(self, shard: Tokenised, vectors: np.ndarray, work: Work) -> Encoded:
        self._refuse_not_finite(vectors, shard.windows, shard.texts)
        self.work += work
        return Encoded(mean_of_windows(vectors, shard.windows), shard.n_tokens, shard.windows.n_windows, work)

    def _on_cores(self, shard: Tokenised, progress: Progress | None) -> tuple[np.ndarray, Work]:
        """Vectors of all windows, a batch a core."""
        import torch

        batches = batches_of(shard.lengths, TOKENS_PER_BATCH)
        vectors, work = np.empty((len(shard.lengths), self.dim), dtype=np.float32), Work()
        callers_threads = torch.get_num_threads()
        # Each batch on one core: the setting is made per thread, and torch also keeps it as a default to restore.
        pool = ThreadPoolExecutor(self._threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            done = pool.map(partial(self._computed, shard), batches)
            for batch, (found, cost) in zip(batches, done, strict=True):
                vectors[batch.start : batch.stop] = found
                work += cost
                if progress:
                    progress(batch.stop, len(shard.lengths))
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(callers_threads)
        return vectors, work

    def _computed(self, shard: Tokenised, batch: range) -> tuple[np.ndarray, Work]:
        begun = time.perf_counter()
        vectors = self._forward(*shard.batch(batch))
        lengths = shard.lengths[batch.start : batch.stop]
        work = Work(len(batch), sum(lengths), len(batch) * lengths[0], time.perf_counter() - begun)
        return vectors, work

    def _refuse_not_finite(self, vectors: np.ndarray, windows: Windows, texts: Sequence[str]) -> None:
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if bad.size:
            text = windows.first[int(bad[0])][0]
            raise EngraphError(
                f"{self.id.name} gave {bad.size} vectors that are not finite, the first for text {text}, "
                f"{texts[text][:80]!r}: encode with precision f32, or check the model's files"
            )

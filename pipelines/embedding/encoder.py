"""`Encoder`: texts of any length to unit vectors, several times as fast as `SentenceTransformer.encode` on CPU cores.

Windows of like length share small batches (1,024 padded tokens stay in a core's cache), and `threads` batches run at
once, each on *one* core: torch's own threading of a batch gave 811 sentences/s on two cores, this 1,020. As no batch
is ever split over cores, the bits of a vector do not depend on `threads`. They do depend on the list of texts given
(its batches), by some 1e-3 in bf16; the same set of texts in any order gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipelines.embedding.encoder_id import EncoderId
from pipelines.embedding.model_folder import model_folder, read_layout
from pipelines.embedding.tokens import Tokens, read_tokenizer
from pipelines.embedding.windows import Windows, batches_of, mean_of_windows, windows_of
from schemas.errors import EngraphError

if TYPE_CHECKING:
    from pipelines.embedding.forward import Forward

TOKENS_PER_BATCH = {"cpu": 1024, "cuda": 65536}
Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Encoded:
    """`vectors` f32 [n, dim] unit norm; `n_tokens` int32 [n], special tokens not counted; `n_windows` int16 [n]."""

    vectors: np.ndarray
    n_tokens: np.ndarray
    n_windows: np.ndarray


class Encoder:
    """A loaded model. Memory: the weights once (45 MB for the default in bf16) and some MB per thread."""

    def __init__(self, id: EncoderId, tokens: Tokens, forward: Forward, *, threads: int, device: str) -> None:
        self.id = id
        self.tokens = tokens
        self.dim = forward.dim
        self.device = device
        self._forward = forward
        self._takes_text = forward.takes_text
        self._threads = threads

    @classmethod
    def load(cls, id: EncoderId, *, threads: int = 1, device: str = "auto") -> Encoder:
        """Load model and tokenizer of `id`; 3 to 4 s with torch's import. `threads` batches run at once on the CPU.

        `device`: "auto" (CUDA where there is one), "cpu", "cuda". Raises `UsageError` when the model cannot be found.
        """
        from pipelines.embedding.forward import choose_device, load_forward  # torch: only those who encode pay for it

        folder = model_folder(id.model)
        where = choose_device(device)
        forward = load_forward(folder, read_layout(folder), id.precision, where)
        on_cpu = where.type == "cpu"
        return cls(id, read_tokenizer(folder), forward, threads=threads if on_cpu else 1, device=where.type)

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

        A text longer than the window is encoded in `n_windows` pieces, its vector their token-weighted mean. Raises
        ValueError for an empty text, `EngraphError` when the model gives a vector that is not finite.
        """
        for i, text in enumerate(texts):
            if not text.strip():
                raise ValueError(f"text {i} of {len(texts)} is empty: leave out texts without words before embedding")
        token_ids = self.tokens.token_ids(texts)
        windows = windows_of(token_ids, self.max_tokens)
        vectors = self._encode_windows(texts, windows, progress)
        self._refuse_not_finite(vectors, windows, texts)
        return Encoded(
            vectors=mean_of_windows(vectors, windows),
            n_tokens=np.fromiter(map(len, token_ids), dtype=np.int32, count=len(texts)),
            n_windows=windows.n_windows,
        )

    def _encode_windows(self, texts: Sequence[str], windows: Windows, progress: Progress | None) -> np.ndarray:
        import torch

        special = len(self.tokens.prefix) + len(self.tokens.suffix)
        lengths = [len(ids) + special for ids in windows.ids]
        batches = batches_of(lengths, TOKENS_PER_BATCH[self.device])
        vectors = np.empty((len(lengths), self.dim), dtype=np.float32)

        def encode_batch(batch: range) -> np.ndarray:
            ids = [self._with_special_tokens(windows.ids[i]) for i in batch]
            return self._forward(ids, [self._window_text(texts, windows, i) for i in batch] if self._takes_text else ())

        callers_threads = torch.get_num_threads()
        # Each batch on one core: the setting is made per thread, and torch also keeps it as a default to restore.
        pool = ThreadPoolExecutor(self._threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            for batch, found in zip(batches, pool.map(encode_batch, batches), strict=True):
                vectors[batch.start : batch.stop] = found
                if progress:
                    progress(batch.stop, len(lengths))
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(callers_threads)
        return vectors

    def _with_special_tokens(self, ids: np.ndarray) -> np.ndarray:
        return np.concatenate([self.tokens.prefix, ids, self.tokens.suffix]).astype(np.int64)

    def _window_text(self, texts: Sequence[str], windows: Windows, i: int) -> str:
        """The characters of one window, for models that take text instead of tokens."""
        text, start, end = windows.first[i]
        if windows.n_windows[text] == 1:
            return texts[text]
        offsets = self.token_offsets(texts[text])
        return texts[text][offsets[start, 0] : offsets[end - 1, 1]]

    def _refuse_not_finite(self, vectors: np.ndarray, windows: Windows, texts: Sequence[str]) -> None:
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if bad.size:
            text = windows.first[int(bad[0])][0]
            raise EngraphError(
                f"{self.id.name} gave {bad.size} vectors that are not finite, the first for text {text}, "
                f"{texts[text][:80]!r}: encode with precision f32, or check the model's files"
            )

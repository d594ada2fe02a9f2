"""Counting and cutting texts in the encoder's own tokens, without torch and without the model's weights.

The Rust `tokenizers` library reads the model's `tokenizer.json` (0.1 s); truncation and padding stored there are
switched off, so counts are of the whole text. 40,000 short texts a second on one core, batches in parallel.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from pipelines.embedding.encoder_id import EncoderId
from pipelines.embedding.model_folder import model_folder, read_layout

NO_LIMIT = 1 << 30
TEXTS_AT_ONCE = 2048  # the library's results weigh some 100 bytes a token: never hold a whole shard's
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Tokens:
    """A model's tokenizer. `prefix` and `suffix` are the special tokens that the model wants around every window."""

    tokenizer: Tokenizer
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    max_tokens: int
    """Tokens of text that fit into one window, special tokens not counted: `count_tokens(t) <= max_tokens` = 1 window."""

    def token_ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """int32 token ids of each text, without special tokens, untruncated."""
        found: list[np.ndarray] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = [_encodable(t) for t in texts[start : start + TEXTS_AT_ONCE]]
            for e in self.tokenizer.encode_batch_fast(part, add_special_tokens=False):
                found.append(np.asarray(e.ids, dtype=np.int32))
        return found

    def count_tokens(self, texts: Sequence[str]) -> np.ndarray:
        """int32 [n]: tokens of each text, special tokens not counted."""
        return np.fromiter((len(ids) for ids in self.token_ids(texts)), dtype=np.int32, count=len(texts))

    def token_offsets(self, text: str) -> np.ndarray:
        """int32 [n, 2]: start and end of each token, in characters of `text`."""
        offsets = self.tokenizer.encode(_encodable(text), add_special_tokens=False).offsets
        return np.asarray(offsets, dtype=np.int32).reshape(-1, 2)


@dataclass(frozen=True)
class TokenCounter:
    """Counts the tokens of texts. Small to send to another process: the tokenizer is loaded where it is first called."""

    id: EncoderId

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        return _loaded(self.id).count_tokens(texts)


@lru_cache(maxsize=2)
def _loaded(id: EncoderId) -> Tokens:
    return load_tokenizer(id)


def load_tokenizer(id: EncoderId) -> Tokens:
    """The tokenizer of `id`. Raises `UsageError` when the model cannot be found."""
    return read_tokenizer(model_folder(id.model, weights=False))


def read_tokenizer(folder: Path) -> Tokens:
    """The tokenizer that lies in a model folder."""
    layout = read_layout(folder)
    tokenizer = _fast_tokenizer(layout.transformer)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    probe = tokenizer.encode("a")
    body = [i for i, special in enumerate(probe.special_tokens_mask) if not special]
    prefix, suffix = tuple(probe.ids[: body[0]]), tuple(probe.ids[body[-1] + 1 :])
    room = NO_LIMIT if layout.window is None else layout.window - len(prefix) - len(suffix)
    return Tokens(tokenizer, prefix, suffix, room)


def _fast_tokenizer(folder: Path) -> Tokenizer:
    if (folder / "tokenizer.json").exists():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    from transformers import AutoTokenizer  # converts an older vocabulary; takes a second to import

    return AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer


def _encodable(text: str) -> str:
    """Lone surrogates are not Unicode; replaced one for one, so that offsets stay true."""
    return text if text.isascii() else LONE_SURROGATE.sub("\ufffd", text)

"""One batch of windows to vectors: the model's own transformers forward, then mean or cls pooling in f32.

The forward is transformers' own. A hand-written BERT over packed tokens (no padding, fused qkv, prepacked oneDNN
weights with fused GELU, attention as plain f32 products) was measured and won 15 % at best, nearly all of it from a
private torch operator: not worth a second model implementation. bf16 weights are the f32 ones rounded once.

`ExoticModel` leaves everything but batching to SentenceTransformer, for layouts that `model_folder` does not read.
This is the one module of the package that imports torch; load it late.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from pipelines.embedding.encoder_id import Precision
from pipelines.embedding.model_folder import Layout

DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}


class Forward(Protocol):
    """What `Encoder` asks of a model."""

    dim: int
    takes_text: bool

    def __call__(self, ids: Sequence[np.ndarray], texts: Sequence[str]) -> np.ndarray:
        """Token ids with special tokens, and the same windows as text if it `takes_text` -> f32 [n, dim], unit norm."""
        ...


class PooledTransformer:
    """A transformers encoder with mean or cls pooling. Thread-safe: weights are only read."""

    takes_text = False

    def __init__(self, layout: Layout, precision: Precision, device: torch.device) -> None:
        transformers_logging.disable_progress_bar()  # else every worker draws a bar for its weights
        self.model = AutoModel.from_pretrained(layout.transformer, dtype=DTYPES[precision], local_files_only=True)
        self.model.eval().to(device)
        self.pooling = layout.pooling
        self.device = device
        self.dim = int(self.model.config.hidden_size)
        self.pad = self.model.config.pad_token_id or 0

    def __call__(self, ids: Sequence[np.ndarray], texts: Sequence[str]) -> np.ndarray:
        tokens, mask = self._padded(ids)
        with torch.inference_mode():
            hidden = self.model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
            if self.pooling == "cls":
                pooled = hidden[:, 0]
            else:
                kept = mask.unsqueeze(-1)
                pooled = (hidden * kept).sum(1) / kept.sum(1)
            return torch.nn.functional.normalize(pooled).cpu().numpy()

    def _padded(self, ids: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = np.array([len(i) for i in ids])
        mask = np.arange(lengths.max()) < lengths[:, None]
        tokens = np.full(mask.shape, self.pad, dtype=np.int64)
        tokens[mask] = np.concatenate(ids)
        return torch.from_numpy(tokens).to(self.device), torch.from_numpy(mask.astype(np.int64)).to(self.device)


class ExoticModel:
    """Any other sentence-transformers model, through its own `encode` (prompts, dense layers, other poolings)."""

    takes_text = True

    def __init__(self, folder: Path, precision: Precision, device: torch.device) -> None:
        from sentence_transformers import SentenceTransformer  # three more seconds, only where it is needed

        transformers_logging.disable_progress_bar()
        arguments = {"dtype": DTYPES[precision]}
        self.model = SentenceTransformer(str(folder), device=str(device), model_kwargs=arguments, local_files_only=True)
        self.dim = len(self.model.encode(["a"], show_progress_bar=False)[0])

    def __call__(self, ids: Sequence[np.ndarray], texts: Sequence[str]) -> np.ndarray:
        vectors = self.model.encode(
            list(texts),
            batch_size=len(texts),
            convert_to_numpy=True,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32)


def load_forward(folder: Path, layout: Layout, precision: Precision, device: torch.device) -> Forward:
    """The forward that a folder's layout asks for."""
    if layout.pooling == "exotic":
        return ExoticModel(folder, precision, device)
    return PooledTransformer(layout, precision, device)


def choose_device(device: str) -> torch.device:
    """`auto` is CUDA where there is a device, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)

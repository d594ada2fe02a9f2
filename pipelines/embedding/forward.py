"""One batch of windows to vectors: the model's own transformers forward, then mean or cls pooling in f32.

The forward is transformers' own. A hand-written BERT over packed tokens (no padding, fused qkv, prepacked oneDNN
weights with fused GELU, attention as plain f32 products) was measured and won 15 % at best, nearly all of it from a
private torch operator: not worth a second model implementation. bf16 weights are the f32 ones rounded once.

`ExoticModel` leaves everything but batching to SentenceTransformer, for layouts that `model_folder` does not read.
It and the modules of the card path (`device_batches`, `token_budget`, `host_batch`) import torch: load them late.
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
from pipelines.embedding.host_batch import HostBatch
from pipelines.embedding.model_folder import Layout

DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}


class Forward(Protocol):
    """What `Encoder` asks of a model."""

    dim: int
    takes_text: bool

    def __call__(self, ids: Sequence[np.ndarray], texts: Sequence[str]) -> np.ndarray:
        """Token ids with special tokens, and the same windows as text if it `takes_text` -> f32 [n, dim], unit norm."""
        ...


class DeviceForward(Forward, Protocol):
    """What `DeviceBatches` asks besides: results stay on the device, and how much memory they need there."""

    pad: int

    def vectors(self, batch: HostBatch) -> torch.Tensor:
        """Unit vectors f32 [n, dim] of a batch, on the device; queued, not waited for."""
        ...

    def bytes_per_token(self, window: int) -> float:
        """A generous estimate of what one padded token takes while a batch of windows of `window` tokens is computed."""
        ...

    def on_cpu(self) -> DeviceForward:
        """The same model on the CPU; loads it again."""
        ...


class PooledTransformer:
    """A transformers encoder with mean or cls pooling. Thread-safe: weights are only read."""

    takes_text = False

    def __init__(self, layout: Layout, precision: Precision, device: torch.device) -> None:
        transformers_logging.disable_progress_bar()  # else every worker draws a bar for its weights
        self.model = AutoModel.from_pretrained(layout.transformer, dtype=DTYPES[precision], local_files_only=True)
        self.model.eval().to(device)
        self.layout, self.precision = layout, precision
        self.pooling = layout.pooling
        self.device = device
        self.dim = int(self.model.config.hidden_size)
        self.pad = self.model.config.pad_token_id or 0

    def __call__(self, ids: Sequence[np.ndarray], texts: Sequence[str]) -> np.ndarray:
        return self._pooled(*self._padded(ids)).cpu().numpy()

    def vectors(self, batch: HostBatch) -> torch.Tensor:
        tokens = batch.tokens.to(self.device, non_blocking=True).long()
        lengths = batch.lengths.to(self.device, non_blocking=True)
        mask = torch.arange(tokens.shape[1], device=self.device) < lengths[:, None]
        return self._pooled(tokens, mask.long())

    def bytes_per_token(self, window: int) -> float:
        """Query, key, value, residual and both sides of the feed-forward layer in the model's type, the pooling in f32, and
        attention scores where no fused kernel takes the mask."""
        config = self.model.config
        inner = getattr(config, "intermediate_size", None) or 4 * self.dim
        heads = getattr(config, "num_attention_heads", None) or max(1, self.dim // 64)
        return self.model.dtype.itemsize * (8 * self.dim + 3 * inner + 2 * heads * window) + 12 * self.dim

    def on_cpu(self) -> PooledTransformer:
        return PooledTransformer(self.layout, self.precision, torch.device("cpu"))

    def _pooled(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            hidden = self.model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
            if self.pooling == "cls":
                pooled = hidden[:, 0]
            else:
                kept = mask.unsqueeze(-1)
                pooled = (hidden * kept).sum(1) / kept.sum(1)
            return torch.nn.functional.normalize(pooled)

    def _padded(self, ids: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = np.array([len(i) for i in ids])
        mask = np.arange(lengths.max()) < lengths[:, None]
        tokens = np.full(mask.shape, self.pad, dtype=np.int64)
        tokens[mask] = np.concatenate(ids)
        return torch.from_numpy(tokens).to(self.device), torch.from_numpy(mask.astype(np.int64)).to(self.device)


class ExoticModel:
    """Any other sentence-transformers model, through its own `encode` (prompts, dense layers, other poolings)."""

    takes_text = True
    pad = 0  # its own tokenizer pads; ours only counts

    def __init__(self, folder: Path, precision: Precision, device: torch.device) -> None:
        from sentence_transformers import SentenceTransformer  # three more seconds, only where it is needed

        transformers_logging.disable_progress_bar()
        arguments = {"dtype": DTYPES[precision]}
        self.folder, self.precision = folder, precision
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

    def vectors(self, batch: HostBatch) -> torch.Tensor:
        found = self.model.encode(
            list(batch.texts),
            batch_size=len(batch.texts),
            convert_to_tensor=True,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return found.float()

    def bytes_per_token(self, window: int) -> float:
        """That of a transformer as wide as its vectors, in f32."""
        return 4 * (8 * self.dim + 12 * self.dim + 2 * max(1, self.dim // 64) * window)

    def on_cpu(self) -> ExoticModel:
        return ExoticModel(self.folder, self.precision, torch.device("cpu"))


def load_forward(folder: Path, layout: Layout, precision: Precision, device: torch.device) -> DeviceForward:
    """The forward that a folder's layout asks for."""
    if layout.pooling == "exotic":
        return ExoticModel(folder, precision, device)
    return PooledTransformer(layout, precision, device)


def choose_device(device: str) -> torch.device:
    """`auto` is CUDA where there is a device, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)

"""Texts to unit vectors with any sentence-transformers model, on CPU cores or a GPU.

Importing this package loads neither torch nor a model: `load_tokenizer` counts and cuts with the tokenizer alone
(0.1 s), `Encoder.load` brings torch in (seconds).
"""

from pipelines.embedding.encoder import Encoded, Encoder
from pipelines.embedding.encoder_id import DEFAULT_MODEL, EncoderId, Precision, resolve_encoder
from pipelines.embedding.stage import embed_texts
from pipelines.embedding.stream import embed_shards
from pipelines.embedding.tokens import TokenCounter, Tokens, load_tokenizer

__all__ = [
    "DEFAULT_MODEL",
    "Encoded",
    "Encoder",
    "EncoderId",
    "Precision",
    "TokenCounter",
    "Tokens",
    "embed_shards",
    "embed_texts",
    "load_tokenizer",
    "resolve_encoder",
]

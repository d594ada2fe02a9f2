"""Readable, stable identifiers and the hashes behind them.

An id is a path: `<namespace>/<source path>[#kind[-n]]`, the namespace not repeated where the source path already begins
with it. Hashes are BLAKE2b (RFC 7693), truncated: 128 bits name a text, 64 bits are the integer key that ANN needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np


def qualify(namespace: str, path: str) -> str:
    """`conv-26` + `D3:12` -> `conv-26/D3:12`; a path that begins with the namespace is left as it is."""
    if path == namespace or path.startswith(namespace + "/") or path.startswith(namespace + "#"):
        return path
    return f"{namespace}/{path}"


def derived_id(parent_id: str, kind: str, number: int | None = None) -> str:
    """`conv-26/session_3` + `summary` -> `conv-26/session_3#summary`; numbered kinds count from 1."""
    return f"{parent_id}#{kind}" if number is None else f"{parent_id}#{kind}-{number}"


def content_hash(text: str) -> str:
    """128-bit hash of a text, 32 hex digits. Two units with the same text share one embedding through it."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def record_hash(*parts: object) -> str:
    """128-bit hash of the fields that identify a delivered record (text, speaker, time ...)."""
    joined = "\x1f".join("" if p is None else str(p) for p in parts)
    return content_hash(joined)


def unit_key(unit_id: str) -> int:
    """Signed 64-bit key of a unit id, never negative (ANN pads with -1)."""
    digest = hashlib.blake2b(unit_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def unit_keys(unit_ids: Iterable[str]) -> np.ndarray:
    """`unit_key` of many ids -> int64 [n]."""
    return np.fromiter((unit_key(u) for u in unit_ids), dtype=np.int64)


def bucket_of(namespace: str, buckets: int) -> int:
    """The bucket of a namespace, 0 <= bucket < buckets. Fixed for the life of a store."""
    digest = hashlib.blake2b(namespace.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % buckets


def hash_bucket(content_hash_hex: str, buckets: int) -> int:
    """The bucket of a text: embeddings are shared between namespaces, so they are spread by content, not by namespace."""
    return int(content_hash_hex[:8], 16) % buckets

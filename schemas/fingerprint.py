"""Fingerprints: the one rule behind caching, resume, backfill and staleness.

A fingerprint hashes what decides a result: the stage's name and version, its identity parameters, its inputs' fingerprints.
Batch size, engine, worker count and paths never enter. An output whose fingerprint exists is done.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
from typing import Any


def canonical(value: Any) -> Any:
    """The JSON form that is hashed: dataclasses become objects, sets and tuples sorted or plain lists.

    Raises:
        TypeError: a value whose text could differ between processes, so that nothing would ever be up to date.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: canonical(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): canonical(v) for k, v in sorted(value.items())}
    if isinstance(value, (set, frozenset)):
        return sorted(canonical(v) for v in value)
    if isinstance(value, (list, tuple)):
        return [canonical(v) for v in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, dt.date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot be part of a fingerprint: give text, numbers, dates or dataclasses")


def fingerprint(*parts: Any) -> str:
    """32 hex digits (128 bits) that change when any part changes."""
    text = json.dumps([canonical(p) for p in parts], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

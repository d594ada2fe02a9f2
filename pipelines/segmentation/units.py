"""A memory unit before it has a version: what segmentation and extraction produce, as an Arrow table.

`draft_units` is the one place where units are put together, so that ids, hashes and keys agree everywhere. The lifecycle
(`pipelines.lifecycle`) later gives each draft its version by comparing it with what the store already holds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from schemas.ids import content_hash, unit_key
from schemas.tables import TABLES

CountTokens = Callable[[list[str]], np.ndarray]

VERSION_COLUMNS = ("version", "valid_to", "recorded_at", "day")
DRAFT_SCHEMA = pa.schema([f for f in TABLES["memory_units"].schema if f.name not in VERSION_COLUMNS])


def no_token_count(texts: list[str]) -> np.ndarray:
    """For callers that do not need lengths: zero means not counted."""
    return np.zeros(len(texts), np.int32)


def span(ref: str, start: int, end: int) -> dict:
    """Characters [start, end) of a source."""
    return {"ref": ref, "start": start, "end": end}


def draft_units(rows: list[dict], count_tokens: CountTokens = no_token_count) -> pa.Table:
    """Complete rows (unit_id, namespace, granularity, text, source_spans, ...) into drafts.

    Defaults: memory_type episodic, quotes true, trust 1, ordinal 0, no parent. Rows need `event_time` and `extractor`.
    """
    if not rows:
        return DRAFT_SCHEMA.empty_table()
    defaults = {
        "parent_id": None,
        "session_id": None,
        "document_id": None,
        "ordinal": 0,
        "memory_type": "episodic",
        "quotes": True,
        "zone": None,
        "trust": 1.0,
    }
    lengths = count_tokens([r["text"] for r in rows])
    full = [
        defaults
        | row
        | {"unit_key": unit_key(row["unit_id"]), "content_hash": content_hash(row["text"]), "n_tokens": int(n)}
        for row, n in zip(rows, lengths, strict=True)
    ]
    return pa.Table.from_pylist(full, schema=DRAFT_SCHEMA)

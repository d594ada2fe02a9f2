"""Stores of one test each, on a local folder and in memory, and tables that are true to their schemas."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.store.lake import Lake
from schemas.ids import content_hash, unit_key
from schemas.manifest import Fileset, Shard
from schemas.tables import TABLES

DAY = dt.date(2026, 3, 1)
NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
Groups = dict[str, tuple[str, int, int]]


@pytest.fixture
def local_lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "store")


@pytest.fixture(params=["folder", "memory"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lake]:
    """A new store: below a folder, and on a filesystem that is no folder."""
    if request.param == "folder":
        yield Lake(tmp_path / "store")
        return
    made = Lake(f"memory://{uuid.uuid4().hex}/store")
    yield made
    if made.fs.exists(made.root):
        made.fs.rm(made.root, recursive=True)


@pytest.fixture
def make() -> type[Make]:
    """`make.assignments("a")`, `make.write(lake, make.fileset(), table)` ...: small true tables and filesets."""
    return Make


class Make:
    """Builders of tables, filesets and rows."""

    DAY, NOW = DAY, NOW

    @staticmethod
    def assignments(*ids: str) -> pa.Table:
        """A small table: one row per id."""
        rows = [{"unit_id": i, "cluster_id": "c", "level": 0, "namespace": "n", "day": DAY} for i in ids]
        return TABLES["assignments"].from_rows(rows)

    @staticmethod
    def fileset(
        table: str = "assignments", fingerprint: str = "f" * 32, *, stage: str = "cluster", day: dt.date = DAY
    ) -> Fileset:
        return Fileset(table, stage, day, 0, fingerprint)

    @staticmethod
    def write(lake: Lake, address: Fileset, *tables: pa.Table, params: dict | None = None) -> list[Shard]:
        """A complete fileset, one shard per table."""
        shards = [lake.write_shard(address, i, len(tables), table, {}) for i, table in enumerate(tables)]
        lake.write_manifest(address, shards, version=1, params=params or {}, inputs=[])
        return shards

    @staticmethod
    def embeddings(vectors: dict[str, list[float]], encoder: str = "toy@f32") -> pa.Table:
        """Rows of `embeddings` for text -> vector."""
        dim = len(next(iter(vectors.values())))
        flat = pa.array(np.array(list(vectors.values()), np.float32).ravel())
        n = len(vectors)
        return pa.table(
            {
                "content_hash": [content_hash(t) for t in vectors],
                "encoder": [encoder] * n,
                "vector": pa.FixedSizeListArray.from_arrays(flat, dim),
                "n_tokens": pa.array([1] * n, pa.int32()),
                "n_windows": pa.array([1] * n, pa.int16()),
            }
        )

    @staticmethod
    def unit(unit_id: str, version: int = 1, **fields: object) -> dict:
        """A row of `memory_units`."""
        text = str(fields.get("text", unit_id))
        row = {
            "unit_id": unit_id,
            "unit_key": unit_key(unit_id),
            "version": version,
            "namespace": "n",
            "granularity": "turn",
            "memory_type": "episodic",
            "text": text,
            "content_hash": content_hash(text),
            "parent_id": None,
            "session_id": "n/s",
            "document_id": None,
            "ordinal": 0,
            "source_spans": [{"ref": unit_id, "start": 0, "end": len(text)}],
            "quotes": True,
            "event_time": NOW,
            "zone": None,
            "time_source": "turn",
            "valid_to": None,
            "recorded_at": NOW,
            "extractor": "test@1",
            "trust": 1.0,
            "n_tokens": 0,
            "day": DAY,
        }
        return row | fields

    @staticmethod
    def operation(kind: str, unit_id: str, version: int, *, at: dt.datetime = NOW, day: dt.date = DAY) -> dict:
        """A row of `operations`."""
        return {
            "operation_id": content_hash(f"{kind} {unit_id} {version}"),
            "operation": kind,
            "unit_id": unit_id,
            "version": version,
            "reason": "a test",
            "policy": "test@1",
            "at": at,
            "namespace": "n",
            "day": day,
        }

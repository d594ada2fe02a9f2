"""The ledger: append-only records about the store (runs, evaluations), outside snapshots and every test of equality.

An append is one new Parquet file, so that appending needs no lock and works on a bucket.
"""

from __future__ import annotations

import uuid

import pyarrow as pa
import pyarrow.dataset as ds

from jobs.store.lake import Lake, to_parquet
from schemas.tables import TABLES


def append(lake: Lake, table: str, rows: list[dict]) -> None:
    """Add rows to a ledger table."""
    if rows:
        payload = to_parquet(TABLES[table].from_rows(rows))
        stamp = max(r.get("started_at") or r["at"] for r in rows)
        lake.write_atomic(f"ledger/{table}/{stamp:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:12]}.parquet", payload)


def files(lake: Lake, table: str) -> list[str]:
    return [lake.path(f"ledger/{table}/{n}") for n in lake.names(f"ledger/{table}") if n.endswith(".parquet")]


def read(lake: Lake, table: str) -> pa.Table:
    """All rows of a ledger table."""
    found = files(lake, table)
    if not found:
        return TABLES[table].empty()
    return ds.dataset(found, schema=TABLES[table].schema, format="parquet", filesystem=lake.fs).to_table()

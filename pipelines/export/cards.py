"""The README beside an export: what the files are and how to read them."""

from __future__ import annotations

from collections.abc import Mapping

VECTORS = """# Vectors of a memory

Units and their vectors in `vectors.parquet`, one row a unit, snapshot {snapshot} of an Engraph store.

| column | type | is |
|---|---|---|
| `id` | string | the unit's id, stable from snapshot to snapshot |
| `key` | int64 | 64-bit hash of the id, for stores that want numbers |
| `vector` | fixed_size_list<float>[{dim}] | unit norm: inner product = cosine |
| `text` | string | what was embedded |
| `namespace` | string | user, agent, tenant or corpus |
| `granularity` | string | turn, session, sentence, passage, fact ... |
| `session_id`, `document_id`, `parent_id` | string | where it belongs; null where it has none |
| `source_refs` | list<string> | ids that the source itself gave |
| `event_time` | timestamp | when it was said or happened (UTC) |
| `metadata` | string | namespace, granularity, ids, refs and time again, as one JSON object, as many vector stores take it |

Encoder `{encoder}`; queries must be encoded with the same one. The file's own metadata says so too (`engraph.encoder`,
`engraph.dim`, `engraph.metric`, `engraph.snapshot`).

```python
import pyarrow.parquet as pq

for batch in pq.ParquetFile("vectors.parquet").iter_batches(1000):
    rows = batch.to_pylist()  # [{{"id": ..., "vector": [...], "metadata": "{{...}}"}}, ...]: upsert them
```
"""

DATASET = """---
pretty_name: Engraph memory
configs:
{configs}
---

# A memory as a dataset

Snapshot {snapshot} of an Engraph store, encoder `{encoder}`. Each table is a configuration with one split, `train`:

```python
from datasets import load_dataset

units = load_dataset("PATH OF THIS FOLDER", "memory_units", split="train")
```

| configuration | rows | one row is |
|---|---:|---|
{rows}
"""


def vectors_card(*, snapshot: int, encoder: str, dim: int) -> str:
    """README of `export vectors`."""
    return VECTORS.format(snapshot=snapshot, encoder=encoder, dim=dim)


def dataset_card(tables: Mapping[str, tuple[int, str]], *, snapshot: int, encoder: str) -> str:
    """README of `export hf`: tables by name, with their rows and what one row is. The first is the default configuration."""
    configs = []
    for number, name in enumerate(tables):
        configs += [f"- config_name: {name}", "  data_files:", "  - split: train", f"    path: {name}/*.parquet"]
        configs += ["  default: true"] if number == 0 else []
    rows = "\n".join(f"| `{name}` | {n:,} | {what} |" for name, (n, what) in tables.items())
    return DATASET.format(configs="\n".join(configs), snapshot=snapshot, encoder=encoder, rows=rows)

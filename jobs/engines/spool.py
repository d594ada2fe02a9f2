"""Rows that wait on local disk for their key to be complete: the shuffle of one machine."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

SPOOL_BYTES = 64_000_000


class Spool:
    """Tables by (key, kind). A context manager: its folder goes with it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="engraph-spool-")
        self._waiting: dict[tuple[int, str], list[pa.Table]] = defaultdict(list)
        self._files: dict[tuple[int, str], list[Path]] = defaultdict(list)
        self._held = 0

    def add(self, key: int, kind: str, rows: pa.Table) -> None:
        self._waiting[key, kind].append(rows)
        self._held += rows.nbytes
        if self._held >= SPOOL_BYTES:
            self._flush()

    def all_keys(self) -> list[int]:
        """All keys, ascending."""
        return sorted({key for key, _ in (*self._waiting, *self._files)})

    def under(self, key: int) -> Under:
        return Under(self, key)

    def kinds(self, key: int) -> list[str]:
        return sorted({kind for k, kind in (*self._waiting, *self._files) if k == key})

    def read(self, key: int, kind: str) -> pa.Table:
        """All rows of a kind under a key, in the order they came."""
        return pa.concat_tables([*map(pq.read_table, self._files[key, kind]), *self._waiting[key, kind]])

    def _flush(self) -> None:
        for (key, kind), tables in self._waiting.items():
            file = Path(self._folder.name) / f"{len(self._files)}-{key}-{len(self._files[key, kind])}.parquet"
            pq.write_table(pa.concat_tables(tables), file)
            self._files[key, kind].append(file)
        self._waiting.clear()
        self._held = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()


class Under:
    """One key of a spool."""

    def __init__(self, spool: Spool, key: int) -> None:
        self._spool, self._key = spool, key

    def kinds(self) -> list[str]:
        return self._spool.kinds(self._key)

    def read(self, kind: str) -> pa.Table:
        return self._spool.read(self._key, kind)

"""The ledger: append-only records about the store (runs, evaluations), outside snapshots and every test of equality.

An append is one new Parquet file, so that appending needs no lock and works on a bucket. A year of nights leaves thousands of them;
`merge` gathers those of a month that has ended into one:

    list-<hash>.json      written first: the files that `merged-<hash>.parquet` replaces
    merged-<hash>.parquet the same rows, written in one step: from here on readers skip what its list names
    ...                   a day later the replaced files go, another day later the list

So a reader sees every row once whenever it looks and wherever a merge was killed, and one that looked before has a day to read on.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.dataset as ds

from jobs.store.immutable_files import ImmutableFiles
from jobs.store.lake import Lake, to_parquet
from schemas.tables import TABLES

GRACE = dt.timedelta(hours=24)
"""How long a reader may go on with the files it has listed; as long as a pin lives."""


def append(lake: Lake, table: str, rows: list[dict]) -> None:
    """Add rows to a ledger table."""
    if rows:
        payload = to_parquet(TABLES[table].from_rows(rows))
        stamp = max(r.get("started_at") or r["at"] for r in rows)
        lake.write_atomic(f"ledger/{table}/{stamp:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:12]}.parquet", payload)


def files(lake: Lake, table: str) -> list[str]:
    """Full paths of the files that together hold every row once."""
    return [lake.path(f"ledger/{table}/{name}") for name in _look(lake, table).standing]


def read(lake: Lake, table: str) -> pa.Table:
    """All rows of a ledger table."""
    return _read(lake, table, files(lake, table))


def dataset(lake: Lake, table: str) -> ds.Dataset:
    """All rows of a ledger table, read when they are asked for."""
    paths = files(lake, table)
    if not paths:
        return ds.dataset(TABLES[table].empty())
    return _dataset(lake, table, paths)


def drop(lake: Lake, table: str, gone: Callable[[dict], bool]) -> int:
    """Rewrite a table without some of its rows, file by file; how many went. Call it under the writer's lock."""
    removed = 0
    for name in _look(lake, table).names:
        rows = _read(lake, table, [lake.path(f"ledger/{table}/{name}")])
        kept = [row for row in rows.to_pylist() if not gone(row)]
        if len(kept) < rows.num_rows:
            removed += rows.num_rows - len(kept)
            lake.write_atomic(f"ledger/{table}/{name}", to_parquet(TABLES[table].from_rows(kept)))
    return removed


def _read(lake: Lake, table: str, paths: list[str]) -> pa.Table:
    if not paths:
        return TABLES[table].empty()
    return _dataset(lake, table, paths).to_table()


def _dataset(lake: Lake, table: str, paths: list[str]) -> ds.Dataset:
    fs = lake.fs if lake.local else ImmutableFiles(lake.fs)  # of this reading: `drop` may write them anew
    return ds.dataset(paths, schema=TABLES[table].schema, format="parquet", filesystem=fs)


@dataclass
class _Seen:
    """One listing of a table's folder: its Parquet files, and the merges that count (those whose file is in the same listing)."""

    names: list[str]
    lists: dict[str, dict] = field(default_factory=dict)

    @property
    def replaced(self) -> set[str]:
        return {name for found in self.lists.values() for name in found["replaces"]}

    @property
    def standing(self) -> list[str]:
        gone = self.replaced
        return [n for n in self.names if n not in gone]


def _look(lake: Lake, table: str) -> _Seen:
    listed = lake.names(f"ledger/{table}")
    seen = _Seen([n for n in listed if n.endswith(".parquet") and not n.startswith(".")])
    there = set(seen.names)
    for name in listed:
        if name.startswith("list-") and name.endswith(".json") and _merged(name) in there:
            found = lake.find_bytes(f"ledger/{table}/{name}")
            if found is not None:  # removed meanwhile: then what it replaced had gone a day before this listing
                seen.lists[name] = json.loads(found)
    return seen


def _merged(list_name: str) -> str:
    return f"merged-{list_name.removeprefix('list-').removesuffix('.json')}.parquet"


@dataclass(frozen=True)
class Merge:
    """What `merge` did, or would do, to one table: files that became one, per month, and replaced files that were removed."""

    table: str
    months: dict[str, int]
    removed: int

    def to_json(self) -> dict:
        return {"table": self.table, "months": self.months, "removed": self.removed}


def merge(lake: Lake, table: str, *, now: dt.datetime, dry_run: bool = False) -> Merge:
    """One file for each month before `now`'s, and the end of what earlier merges replaced. Call it under the writer's lock."""
    seen = _look(lake, table)
    months: dict[str, list[str]] = {}
    for name in seen.standing:
        if (month := name.removeprefix("merged-")[:6]) < f"{now:%Y%m}":
            months.setdefault(month, []).append(name)
    wanted = {month: names for month, names in sorted(months.items()) if len(names) > 1}
    removed = _remove_replaced(lake, table, seen, now, dry_run)
    if not dry_run:
        for month, names in wanted.items():
            _merge_month(lake, table, seen, month, names, now)
    return Merge(table, {month: len(names) for month, names in wanted.items()}, removed)


def _merge_month(lake: Lake, table: str, seen: _Seen, month: str, names: list[str], now: dt.datetime) -> None:
    stem = f"{month}-{hashlib.blake2b(json.dumps(names).encode(), digest_size=8).hexdigest()}"
    earlier = [n for list_, found in seen.lists.items() if _merged(list_) in names for n in found["replaces"]]
    rows = _read(lake, table, [lake.path(f"ledger/{table}/{n}") for n in names])
    claim = {"replaces": sorted({*names, *earlier}), "at": now.isoformat()}
    lake.write_atomic(f"ledger/{table}/list-{stem}.json", json.dumps(claim).encode())
    lake.write_atomic(f"ledger/{table}/merged-{stem}.parquet", to_parquet(rows))


def _remove_replaced(lake: Lake, table: str, seen: _Seen, now: dt.datetime, dry_run: bool) -> int:
    """Replaced files a day after their merge; a list a day after its files; lists of merges that never came to be at once."""
    there, removed = set(seen.names), 0
    for list_, found in sorted(seen.lists.items()):
        age = now - dt.datetime.fromisoformat(found["at"])
        left = sorted(there & set(found["replaces"]))
        if age < GRACE:
            continue
        removed += len(left)
        if dry_run:
            continue
        if not left:
            lake.remove(f"ledger/{table}/{list_}")
            continue
        # first: a run that is killed among the files must not take the list away a moment after them
        lake.write_atomic(f"ledger/{table}/{list_}", json.dumps(found | {"at": now.isoformat()}).encode())
        for name in left:
            lake.remove(f"ledger/{table}/{name}")
    if not dry_run:
        for name in lake.names(f"ledger/{table}"):
            if name.startswith("list-") and _merged(name) not in there:
                lake.remove(f"ledger/{table}/{name}")
    return removed

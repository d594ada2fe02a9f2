"""Manifests and snapshots: the files that say which other files exist.

A fileset is one stage's output for one table and partition: an immutable folder of Parquet shards, complete when its
`manifest.json` is there. A snapshot names one fileset per table, stage and partition, and one index shard per bucket.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, Field

FORMAT = 1


@dataclass(frozen=True, order=True)
class Fileset:
    """The address of one stage's output for one table and partition."""

    table: str
    stage: str
    day: dt.date
    bucket: int
    fingerprint: str

    @property
    def folder(self) -> str:
        return f"lake/{self.table}/day={self.day.isoformat()}/bucket={self.bucket:02d}/{self.fingerprint}"


class Shard(BaseModel):
    """One atomic file. `groups` maps each conversation or document in it to (hash of what it was made from, first row, end row);
    `refused` those that the stage cannot take to the error."""

    number: int
    of: int
    file: str | None
    rows: int
    bytes: int
    checksum: str
    groups: dict[str, tuple[str, int, int]] = Field(default_factory=dict)
    refused: dict[str, str] = Field(default_factory=dict)


class Manifest(BaseModel):
    """The completion mark of a fileset, written last: what it holds, what it was made from, how to check it."""

    format: int = FORMAT
    table: str
    stage: str
    stage_version: int
    params: dict
    day: dt.date
    bucket: int
    fingerprint: str
    inputs: list[str]
    rows: int
    shards: list[Shard]

    @property
    def refused(self) -> dict[str, str]:
        """Conversations and documents (or texts, or namespaces) that the stage could not take, with the error."""
        return {id_: error for shard in self.shards for id_, error in shard.refused.items()}


class Catalogue:
    """Which fileset stands for each (table, stage, day, bucket). A draft while stages run; frozen inside a snapshot.

    Kept by table and bucket, because stages ask for the history of their own bucket: a night costs what it touches, not the year.
    """

    def __init__(self) -> None:
        self._by_bucket: dict[tuple[str, int], dict[tuple[dt.date, str], str]] = {}

    def put(self, fileset: Fileset) -> None:
        self._by_bucket.setdefault((fileset.table, fileset.bucket), {})[fileset.day, fileset.stage] = (
            fileset.fingerprint
        )

    def drop(self, table: str, stage: str, day: dt.date, bucket: int) -> None:
        self._by_bucket.get((table, bucket), {}).pop((day, stage), None)

    def get(self, table: str, stage: str, day: dt.date, bucket: int) -> Fileset | None:
        fp = self._by_bucket.get((table, bucket), {}).get((day, stage))
        return Fileset(table, stage, day, bucket, fp) if fp else None

    def select(
        self,
        table: str,
        *,
        stage: str | None = None,
        bucket: int | None = None,
        day: dt.date | None = None,
        before: dt.date | None = None,
        until: dt.date | None = None,
    ) -> list[Fileset]:
        """Filesets of a table in (day, bucket, stage) order; `before` excludes, `until` includes its day."""
        found = [
            Fileset(t, s, d, b, fp)
            for t, b in ([(table, bucket)] if bucket is not None else self.buckets_of(table))
            for (d, s), fp in self._by_bucket.get((t, b), {}).items()
            if (stage is None or s == stage)
            and (day is None or d == day)
            and (before is None or d < before)
            and (until is None or d <= until)
        ]
        return sorted(found, key=lambda f: (f.day, f.bucket, f.stage))

    def buckets_of(self, table: str) -> list[tuple[str, int]]:
        return sorted(key for key in self._by_bucket if key[0] == table)

    def days(self) -> list[dt.date]:
        """All days that have something, ascending."""
        return sorted({day for entries in self._by_bucket.values() for day, _ in entries})

    def copy(self) -> Catalogue:
        return Catalogue.from_json(self.to_json())

    def __iter__(self) -> Iterator[Fileset]:
        return iter(
            sorted(
                Fileset(t, s, d, b, fp) for (t, b), entries in self._by_bucket.items() for (d, s), fp in entries.items()
            )
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Catalogue) and list(self) == list(other)

    def to_json(self) -> dict:
        """Nested by table, stage, day, bucket: a year of nights stays readable and small."""
        tree: dict = {}
        for f in self:
            days = tree.setdefault(f.table, {}).setdefault(f.stage, {})
            days.setdefault(f.day.isoformat(), {})[str(f.bucket)] = f.fingerprint
        return tree

    @classmethod
    def from_json(cls, tree: dict) -> Catalogue:
        catalogue = cls()
        for table, stages in tree.items():
            for stage, days in stages.items():
                for day, buckets in days.items():
                    for bucket, fp in buckets.items():
                        catalogue.put(Fileset(table, stage, dt.date.fromisoformat(day), int(bucket), fp))
        return catalogue


class Gate(BaseModel):
    """One condition that a snapshot had to meet before it was published."""

    name: str
    passed: bool
    value: float | None = None
    threshold: float | None = None
    detail: str = ""


class Erasure(BaseModel):
    """What a snapshot forgot: the keyed hash of it, and rows that the files of its parent had and its own have not, by table."""

    subject: str
    what: str
    removed: dict[str, int]


class DatabaseFile(BaseModel):
    """The DuckDB file of a snapshot: what its bytes must be."""

    bytes: int
    checksum: str


class Snapshot(BaseModel):
    """One version of the whole store.

    `flow_run` is the address of the Prefect run that published it, `reason` what somebody gave for it; `redone` counts how often a
    stage was asked for anew on a day (`2026-03-01/extract`), which is part of its fingerprint there. `erased` says what it forgot.
    """

    format: int = FORMAT
    number: int
    parent: int | None
    created_at: dt.datetime
    run_id: str
    encoder: str
    identity: str
    filesets: dict
    index: dict[str, str]
    rows: dict[str, int]
    gates: list[Gate] = Field(default_factory=list)
    restored_from: int | None = None
    forced: str | None = None
    reason: str | None = None
    flow_run: str | None = None
    redone: dict[str, int] = Field(default_factory=dict)
    erased: Erasure | None = None
    duckdb: DatabaseFile | None = None

    def catalogue(self) -> Catalogue:
        return Catalogue.from_json(self.filesets)


class StoreInfo(BaseModel):
    """What is fixed when a store is made."""

    format: int = FORMAT
    buckets: int
    created_at: dt.datetime

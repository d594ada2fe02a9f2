"""The local engine: runs one stage over one partition, shard by shard, redoing only what changed.

A stage's output has a fingerprint made of its identity and its inputs. Where that output is complete there is nothing to do.
Otherwise the groups of the partition (conversations, documents) are cut into shards by identity; a group whose input is the same
as in the last published output of this partition is copied, the rest is computed. Memory follows the shard, not the partition.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from jobs.run import Run, StageReport
from schemas.fingerprint import canonical, fingerprint
from schemas.manifest import Fileset, Shard
from schemas.tables import TABLES

SHARD_ROWS = 20_000
GROUP = "group_id"


@dataclass(frozen=True)
class Stage:
    """A stage's identity. `params` is a frozen dataclass; resources are not part of it."""

    name: str
    version: int
    tables: tuple[str, ...]
    params: object = None

    def fingerprint(self, inputs: Sequence[str]) -> str:
        return fingerprint(self.name, self.version, self.params, sorted(inputs))


@dataclass(frozen=True)
class Group:
    """One conversation or document of a partition: the hash of everything its output depends on, and its size."""

    id: str
    hash: str
    rows: int


Compute = Callable[[list[str]], dict[str, pa.Table]]
"""From group ids to one table per output; each has the extra column `group_id`."""


def run_partition(
    run: Run,
    stage: Stage,
    day: dt.date,
    bucket: int,
    *,
    inputs: Sequence[str],
    plan: Callable[[], list[Group]],
    compute: Compute,
) -> None:
    """Bring a stage's output for one partition up to date and enter it into the run's catalogue."""
    fp = stage.fingerprint(inputs)
    filesets = [Fileset(table, stage.name, day, bucket, fp) for table in stage.tables]
    with run.timed(stage.name, day=day, bucket=bucket, fingerprint=fp) as piece:
        if not all(run.lake.complete(f) for f in filesets):
            _make(run, stage, filesets, plan(), compute, inputs, piece)
    for fileset in filesets:
        run.catalogue.put(fileset)


def _make(
    run: Run, stage: Stage, filesets: list[Fileset], groups: list[Group], compute: Compute, inputs, piece
) -> None:
    previous = _Previous(run, stage, filesets)
    shards = cut_shards(groups)
    total = sum(g.rows for g in groups)
    done = 0
    marks: list[list[Shard]] = [[] for _ in filesets]
    for number, members in enumerate(shards):
        found = [mark for f in filesets if (mark := run.lake.shard_mark(f, number, len(shards)))]
        if len(found) < len(filesets):
            tables = _make_shard(stage, members, compute, previous, piece)
            found = [
                run.lake.write_shard(f, number, len(shards), *_lay_out(f.table, tables[f.table], members))
                for f in filesets
            ]
        for kept, mark in zip(marks, found, strict=True):
            kept.append(mark)
        done += sum(g.rows for g in members)
        run.progress(stage.name, done, total)
    for fileset, kept in zip(filesets, marks, strict=True):
        run.lake.write_manifest(
            fileset, kept, version=stage.version, params=canonical(stage.params) or {}, inputs=sorted(inputs)
        )


def cut_shards(groups: list[Group], rows: int = SHARD_ROWS) -> list[list[Group]]:
    """Shards of about `rows` rows, whole groups in id order: membership depends on the partition's input only."""
    shards: list[list[Group]] = []
    size = rows
    for group in sorted(groups, key=lambda g: g.id):
        if size >= rows:
            shards.append([])
            size = 0
        shards[-1].append(group)
        size += group.rows
    return shards or [[]]


def _make_shard(
    stage: Stage, members: list[Group], compute: Compute, previous: _Previous, piece: StageReport
) -> dict[str, pa.Table]:
    fresh = [g for g in members if not previous.has(g)]
    parts = previous.rows([g for g in members if previous.has(g)])
    if fresh:
        made = compute([g.id for g in fresh])
        for table in stage.tables:
            parts[table].append(made[table])
        piece.skipped = False
        piece.rows_in += sum(g.rows for g in fresh)
        piece.rows_out += sum(made[t].num_rows for t in stage.tables)
    return {table: pa.concat_tables(found) if found else None for table, found in parts.items()}


def _lay_out(name: str, table: pa.Table | None, members: list[Group]) -> tuple[pa.Table, dict]:
    """Rows in group order without the group column, and where each group's rows lie."""
    if table is None or not table.num_rows:
        return TABLES[name].empty(), {g.id: (g.hash, 0, 0) for g in members}
    table = table.take(pc.sort_indices(table, [(GROUP, "ascending")]))
    counts = dict(zip(*(c.to_pylist() for c in pc.value_counts(table[GROUP]).flatten()), strict=True))
    ranges, at = {}, 0
    for group in members:
        end = at + counts.get(group.id, 0)
        ranges[group.id] = (group.hash, at, end)
        at = end
    return table.drop_columns([GROUP]), ranges


class _Previous:
    """What the parent snapshot holds for the same stage and partition, by group; empty where the stage itself changed."""

    def __init__(self, run: Run, stage: Stage, filesets: list[Fileset]) -> None:
        self.lake, self.tables = run.lake, stage.tables
        self.filesets: dict[str, Fileset] = {}
        self.where: dict[str, dict[str, tuple[Shard, int, int]]] = {}
        self.hashes: dict[str, str] = {}
        found = [run.parent.get(f.table, stage.name, f.day, f.bucket) for f in filesets]
        old = [f for f in found if f is not None and run.lake.complete(f)]
        if len(old) < len(filesets):
            return
        for fileset in old:
            manifest = run.lake.manifest(fileset)
            if (manifest.stage_version, manifest.params) != (stage.version, canonical(stage.params) or {}):
                self.hashes = {}
                return
            self.filesets[fileset.table] = fileset
            self.where[fileset.table] = {
                gid: (shard, a, b) for shard in manifest.shards for gid, (_, a, b) in shard.groups.items()
            }
            self.hashes = {gid: h for shard in manifest.shards for gid, (h, _, _) in shard.groups.items()}

    def has(self, group: Group) -> bool:
        return self.hashes.get(group.id) == group.hash

    def rows(self, groups: list[Group]) -> dict[str, list[pa.Table]]:
        """The groups' rows by table, with their group column, reading each old shard once."""
        out: dict[str, list[pa.Table]] = {table: [] for table in self.tables}
        for table in self.tables if groups else ():
            opened: dict[int, pa.Table] = {}
            for group in groups:
                shard, a, b = self.where[table][group.id]
                if a == b:
                    continue
                if shard.number not in opened:
                    opened[shard.number] = self.lake.read_shard(self.filesets[table], shard)
                piece = opened[shard.number].slice(a, b - a)
                out[table].append(piece.append_column(GROUP, pa.array([group.id] * piece.num_rows)))
        return out

"""One stage over partitions, shard by shard, on any engine, redoing only what changed.

A stage's output has a fingerprint made of its identity and its inputs. Where that output is complete there is nothing to do.
Otherwise the groups of the partition (conversations, documents) are cut into shards by identity; a group whose input is the same
as in the last published output of this partition is copied, the rest is computed. Memory follows the shard, not the partition.

A group that the stage function fails on, or that kills the process it runs in, is found by bisection and refused: it is named with
its error in the shard's mark, and its records go to `quarantine` while the shard goes on without it.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from jobs.engines.engine import Engine, Failed
from jobs.engines.isolate import culprits, too_many
from jobs.quarantine import quarantine_refused
from jobs.run import Run, StageReport
from schemas.fingerprint import canonical, fingerprint
from schemas.manifest import Fileset, Shard
from schemas.tables import TABLES

SHARD_ROWS = 20_000
JOINED_FROM_ROWS = 2_000_000
"""A shard of more rows is one group that is larger than a machine should hold: where the engine joins, it is taken apart."""
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


@dataclass(frozen=True)
class Partition:
    """What a stage has to do for one day and bucket. `plan` and `compute` run where the engine runs them.

    `joined` gives what `compute` does by shuffles of the engine instead of one call, for shards of `joined_from` rows or more.
    `redone` is how often the stage was asked for anew on this day: content that stands is then computed again, not copied.
    """

    stage: Stage
    day: dt.date
    bucket: int
    inputs: tuple[str, ...]
    plan: Callable[[], list[Group]] = field(compare=False)
    compute: Compute = field(compare=False)
    joined: Callable[[Engine, list[str]], dict[str, pa.Table]] | None = field(default=None, compare=False)
    joined_from: int = JOINED_FROM_ROWS
    redone: int = 0

    @property
    def params(self) -> dict:
        """What the manifest says of how this was made: the stage's parameters, and how often somebody asked for it anew."""
        return (canonical(self.stage.params) or {}) | ({"redone": self.redone} if self.redone else {})

    def filesets(self) -> list[Fileset]:
        fp = self.stage.fingerprint(self.inputs)
        fp = fingerprint(fp, self.redone) if self.redone else fp
        return [Fileset(table, self.stage.name, self.day, self.bucket, fp) for table in self.stage.tables]


@dataclass(frozen=True)
class Work:
    """One shard to be made: its partition's place in the list, its number, its groups, and those that are refused."""

    partition: int
    number: int
    of: int
    groups: tuple[Group, ...]
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """What became of a shard: one mark per table, and what was computed for it."""

    marks: list[Shard]
    rows_in: int = 0
    rows_out: int = 0
    seconds: float = 0.0
    computed: bool = False


def run_partitions(run: Run, partitions: Sequence[Partition]) -> None:
    """Bring a stage's output for partitions of one day up to date and enter it into the run's catalogue.

    Raises:
        EngraphError: so many groups fail that the stage is to blame, or the surroundings.
    """
    at_once = run.engine(partitions[0].stage.name).partitions_at_once if partitions else 1
    partitions = [replace(p, redone=run.times_redone(p.stage.name, p.day)) for p in partitions]
    for start in range(0, len(partitions), at_once):
        some = list(partitions[start : start + at_once])
        _bring_up_to_date(run, some)
        for partition in some:
            for fileset in partition.filesets():
                run.catalogue.put(fileset)
            quarantine_refused(run, partition)


def _bring_up_to_date(run: Run, partitions: list[Partition]) -> None:
    stage = partitions[0].stage.name
    stale = [p for p in partitions if not all(run.lake.complete(f) for f in p.filesets())]
    with run.timed_partitions(stage, len(partitions)) as log:
        reports = {id(p): log.open(p.day, p.bucket, p.filesets()[0].fingerprint) for p in stale}
        engine = run.engine(stage)
        works = list(_planned(engine, stale))
        total = sum(g.rows for w in works for g in w.groups)
        done, finished = 0, _Finished(run, stale, works)
        for work, made in _made(engine, ShardMaker(run, stale), works):
            finished.add(work, made, reports[id(stale[work.partition])])
            done += sum(g.rows for g in work.groups)
            run.progress(stage, done, total)


def _planned(engine: Engine, partitions: list[Partition]) -> Iterator[Work]:
    """Every partition's shards. Planning reads the partition, so it is the engine's work too."""
    for number, groups in engine.map(_Planner(partitions), range(len(partitions))):
        if isinstance(groups, Failed):
            raise RuntimeError(f"planning {partitions[number].stage.name} failed: {groups.error}")
        shards = cut_shards(groups)
        for n, members in enumerate(shards):
            yield Work(number, n, len(shards), tuple(members))


@dataclass(frozen=True)
class _Planner:
    partitions: list[Partition]

    def __call__(self, number: int) -> list[Group]:
        return self.partitions[number].plan()


def _made(engine: Engine, maker: ShardMaker, works: list[Work]) -> Iterator[tuple[Work, Made]]:
    """Every shard, made; those that fail once more without the groups that make them fail."""
    failing: list[tuple[Work, Failed]] = []
    large = [w for w in works if engine.joins and maker.is_large(w)]
    small = [w for w in works if not (engine.joins and maker.is_large(w))]
    for number, made in engine.map(maker, small):
        if isinstance(made, Failed):
            failing.append((small[number], made))
        else:
            yield small[number], made
    for work in large:
        yield work, maker.joined(engine, work)
    for work, failure in failing:
        again = replace(work, refused=_poisoned(engine, maker, work, failure))
        for _, made in engine.map(maker, [again]):
            if isinstance(made, Failed):
                raise too_many(made, maker.describe(work), "what is left of its shard")
            yield again, made


def _poisoned(engine: Engine, maker: ShardMaker, work: Work, failure: Failed) -> dict[str, str]:
    """The groups of a shard that the stage cannot take, with the error."""
    probe = partial(maker.probe, work.partition)
    found = culprits(engine, probe, work.groups, failure, maker.describe(work))
    return {group.id: failed.error for group, failed in found}


class _Finished:
    """Gathers marks; writes a partition's manifests when its last shard is there."""

    def __init__(self, run: Run, partitions: list[Partition], works: list[Work]) -> None:
        self.run, self.partitions = run, partitions
        self.marks: list[dict[int, list[Shard]]] = [{} for _ in partitions]

    def add(self, work: Work, made: Made, report: StageReport) -> None:
        marks = self.marks[work.partition]
        marks[work.number] = made.marks
        report.rows_in += made.rows_in
        report.rows_out += made.rows_out
        report.rows_quarantined += len(work.refused)
        report.seconds += made.seconds
        report.skipped = report.skipped and not made.computed
        if len(marks) == work.of:
            report.finished = True
            self._complete(self.partitions[work.partition], [marks[n] for n in range(work.of)])

    def _complete(self, partition: Partition, marks: list[list[Shard]]) -> None:
        stage = partition.stage
        for i, fileset in enumerate(partition.filesets()):
            self.run.lake.write_manifest(
                fileset,
                [shard[i] for shard in marks],
                version=stage.version,
                params=partition.params,
                inputs=sorted(partition.inputs),
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


class ShardMaker:
    """Makes shards where the engine runs it: reads by address, calls the stage function, writes one file per table and its mark.

    A shard that any attempt finished is not made again: its marks are the result.
    """

    def __init__(self, run: Run, partitions: list[Partition]) -> None:
        self.run, self.partitions = run, partitions
        self._previous: dict[int, _Previous] = {}

    def __call__(self, work: Work) -> Made:
        return self._make(work, self.partitions[work.partition].compute)

    def is_large(self, work: Work) -> bool:
        partition = self.partitions[work.partition]
        return partition.joined is not None and sum(g.rows for g in work.groups) >= partition.joined_from

    def joined(self, engine: Engine, work: Work) -> Made:
        """Make a large shard from here, by the engine's shuffles."""
        partition = self.partitions[work.partition]
        assert partition.joined is not None
        return self._make(work, partial(partition.joined, engine))

    def _make(self, work: Work, compute: Compute) -> Made:
        begun = time.perf_counter()
        filesets = self.partitions[work.partition].filesets()
        found = [mark for f in filesets if (mark := self.run.lake.shard_mark(f, work.number, work.of))]
        if len(found) == len(filesets):
            return Made(found)
        fresh, tables = self._tables(work, compute)
        marks = [
            self.run.lake.write_shard(f, work.number, work.of, *_lay_out(f.table, tables[f.table], work))
            for f in filesets
        ]
        rows = sum(m.rows for m in marks) if fresh else 0
        return Made(marks, sum(g.rows for g in fresh), rows, time.perf_counter() - begun, bool(fresh))

    def probe(self, partition: int, groups: Sequence[Group]) -> None:
        """Compute some groups and throw the outcome away, to see whether they can be computed."""
        if groups:
            self.partitions[partition].compute([g.id for g in groups])

    def describe(self, work: Work) -> str:
        """For messages: which stage on which partition."""
        partition = self.partitions[work.partition]
        return f"stage {partition.stage.name} on day {partition.day} bucket {partition.bucket}"

    def _tables(self, work: Work, compute: Compute) -> tuple[list[Group], dict[str, pa.Table | None]]:
        partition = self.partitions[work.partition]
        previous = self._previous.setdefault(work.partition, _Previous(self.run, partition))
        fresh = [g for g in work.groups if not previous.has(g) and g.id not in work.refused]
        parts = previous.rows([g for g in work.groups if previous.has(g) and g.id not in work.refused])
        if fresh:
            made = compute([g.id for g in fresh])
            for table in partition.stage.tables:
                parts[table].append(made[table])
        return fresh, {table: pa.concat_tables(found) if found else None for table, found in parts.items()}


def _lay_out(name: str, table: pa.Table | None, work: Work) -> tuple[pa.Table, dict, dict]:
    """Rows in group order without the group column, where each group's rows lie, and which groups are refused."""
    members = [g for g in work.groups if g.id not in work.refused]
    if table is None or not table.num_rows:
        return TABLES[name].empty(), {g.id: (g.hash, 0, 0) for g in members}, work.refused
    table = table.take(pc.sort_indices(table, [(GROUP, "ascending")]))
    counts = dict(zip(*(c.to_pylist() for c in pc.value_counts(table[GROUP]).flatten()), strict=True))
    ranges, at = {}, 0
    for group in members:
        end = at + counts.get(group.id, 0)
        ranges[group.id] = (group.hash, at, end)
        at = end
    return table.drop_columns([GROUP]), ranges, work.refused


class _Previous:
    """What the parent snapshot holds for the same stage and partition, by group; empty where the stage itself changed."""

    def __init__(self, run: Run, partition: Partition) -> None:
        stage = partition.stage
        self.lake, self.tables = run.lake, stage.tables
        self.filesets: dict[str, Fileset] = {}
        self.where: dict[str, dict[str, tuple[Shard, int, int]]] = {}
        self.hashes: dict[str, str] = {}
        found = [run.parent.get(f.table, stage.name, f.day, f.bucket) for f in partition.filesets()]
        old = [f for f in found if f is not None and run.lake.complete(f)]
        if len(old) < len(found):
            return
        for fileset in old:
            manifest = run.lake.manifest(fileset)
            if (manifest.stage_version, manifest.params) != (stage.version, partition.params):
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

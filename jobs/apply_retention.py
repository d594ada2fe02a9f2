"""Retention: current memory_units older than a rule of the settings allows -> operations ARCHIVE, by day of the run and bucket.

Archived units stay in `memory_units_history` and leave the views and the index. Stages do not look at these operations (see
`pipelines.lifecycle.retention`), so a night after retention computes what it would have computed without. `settle_archive` keeps
the operations true to their units whenever those are written anew: the same content stays archived, other content is current
until a rule asks for it.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.groups import current_units
from jobs.run import Run
from pipelines.lifecycle import live
from pipelines.lifecycle.retention import COLUMNS, RETENTION, archive, archive_id, content, cutoff, describe, due
from schemas.errors import UsageError
from schemas.fingerprint import fingerprint
from schemas.manifest import Fileset
from schemas.settings import Retention
from schemas.table import GRANULARITIES

VERSION = 1


def apply_retention(run: Run, rules: Sequence[Retention], *, dry_run: bool = False) -> list[dict]:
    """Archive in the draft what the rules ask for; returns, for each rule, units by namespace and granularity.

    Raises:
        UsageError: a rule names a granularity that there is not.
    """
    check(rules)
    found: Counter[tuple[str, str, str]] = Counter()
    with run.timed(RETENTION, day=run.now.date()) as piece:
        for bucket, units in _due(run, rules) if rules else ():
            found.update(zip(*(units[c].to_pylist() for c in ("rule", "namespace", "granularity")), strict=True))
            if not dry_run:
                _archive(run, bucket, units)
        piece.rows_in = piece.rows_out = sum(found.values())
        piece.skipped = dry_run or not found
    return [_of_rule(rule, found) for rule in rules]


def check(rules: Sequence[Retention]) -> None:
    """Raises `UsageError` for a rule that could never apply."""
    for rule in rules:
        unknown = sorted(set(rule.granularity) - set(GRANULARITIES))
        if unknown:
            raise UsageError(
                f"[[retention]] for namespace {rule.namespace} names the granularity {unknown[0]!r}: there are "
                f"{', '.join(GRANULARITIES)}"
            )


def _of_rule(rule: Retention, found: Counter[tuple[str, str, str]]) -> dict:
    units = [
        {"namespace": namespace, "granularity": granularity, "units": n}
        for (name, namespace, granularity), n in sorted(found.items())
        if name == describe(rule)
    ]
    return {"rule": describe(rule), "units": sum(u["units"] for u in units), "of": units}


def _due(run: Run, rules: Sequence[Retention]) -> Iterator[tuple[int, pa.Table]]:
    """(bucket, units that have to go) for each bucket that has some."""
    old = ds.field("event_time") < pa.scalar(max(cutoff(rule, run.now) for rule in rules), pa.timestamp("us", tz="UTC"))
    for _, bucket in run.catalogue.buckets_of("memory_units"):
        units = due(current_units(run, bucket, where=old, columns=COLUMNS), rules, run.now)
        if units.num_rows:
            yield bucket, units


def _archive(run: Run, bucket: int, units: pa.Table) -> None:
    day = run.now.astimezone(dt.UTC).date()
    reasons = [f"older than its retention allows: {rule}" for rule in units["rule"].to_pylist()]
    held = run.lake.read("operations", run.catalogue.select("operations", stage=RETENTION, bucket=bucket, day=day))
    _put(run, day, bucket, pa.concat_tables([held, archive(units, reasons, day=day, now=run.now)]))


def _put(run: Run, day: dt.date, bucket: int, operations: pa.Table) -> None:
    """Make `operations` what the draft says of retention in one partition, by content."""
    if not operations.num_rows:
        run.catalogue.drop("operations", RETENTION, day, bucket)
        return
    operations = operations.sort_by("operation_id")
    fp = fingerprint(RETENTION, VERSION, operations["operation_id"].to_pylist())
    fileset = Fileset("operations", RETENTION, day, bucket, fp)
    if not run.lake.complete(fileset):
        shard = run.lake.write_shard(fileset, 0, 1, operations, {})
        run.lake.write_manifest(fileset, [shard], version=VERSION, params={}, inputs=[])
    run.catalogue.put(fileset)


def settle_archive(run: Run) -> None:
    """Make the draft's retention true to its units in every bucket whose units are not the parent's.

    An operation whose version is gone, or says something else now, goes; a new version that says what was archived before (only its
    place in the session moved) is archived too.
    """
    for bucket in sorted({f.bucket for f in run.catalogue.select("operations", stage=RETENTION)}):
        before, after = (c.select("memory_units", bucket=bucket) for c in (run.parent, run.catalogue))
        if before != after:
            _settle(run, bucket)


def _settle(run: Run, bucket: int) -> None:
    filesets = run.catalogue.select("operations", stage=RETENTION, bucket=bucket)
    held = run.lake.read("operations", filesets)
    mine = ds.field("unit_id").isin(pc.unique(held["unit_id"].combine_chunks()))
    units = run.lake.read(
        "memory_units", run.catalogue.select("memory_units", bucket=bucket), columns=[*COLUMNS, "day"], where=mine
    )
    rows = {archive_id(row): row for row in units.to_pylist()}
    true = [id_ in rows for id_ in held["operation_id"].to_pylist()]
    kept = held.filter(pa.array(true, pa.bool_()))
    said = zip(kept["operation_id"].to_pylist(), kept["reason"].to_pylist(), strict=True)
    reasons = {(rows[id_]["unit_id"], *content(rows[id_])): reason for id_, reason in said}
    others = [f for f in run.catalogue.select("operations", bucket=bucket) if f.stage != RETENTION]
    ends = pa.concat_tables([kept, run.lake.read("operations", others, where=mine)])
    again = [r for r in live(units, ends).to_pylist() if (r["unit_id"], *content(r)) in reasons]
    days = {f.day for f in filesets} if not all(true) else set()
    for day in sorted(days | {r["day"] for r in again}):
        moved = [r for r in again if r["day"] == day]
        table = pa.Table.from_pylist(moved, schema=units.schema)
        carried = archive(table, [reasons[r["unit_id"], *content(r)] for r in moved], day=day, now=run.now)
        _put(run, day, bucket, pa.concat_tables([kept.filter(pc.equal(kept["day"], day)), carried]))

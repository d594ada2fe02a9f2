"""The unit of work inside a partition: the sessions and documents that a day touched, with all that is known of them by then.

Every stage after `read` works on whole sessions and documents. A session that continues on a later day is touched again on
that day, with its earlier turns read from the history of its bucket.
"""

from __future__ import annotations

import datetime as dt

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from jobs.engines.partitions import Group
from jobs.quarantine import refused_by
from jobs.run import Run
from pipelines.lifecycle import RETENTION, live
from pipelines.segmentation.conversations import in_order
from schemas.fingerprint import fingerprint
from schemas.manifest import Fileset


def history(run: Run, bucket: int, day: dt.date) -> str:
    """One hash over all source records of a bucket up to and including `day`."""
    filesets = run.catalogue.select("turns", bucket=bucket, until=day)
    filesets += run.catalogue.select("documents", bucket=bucket, until=day)
    return fingerprint([(f.table, f.day, f.fingerprint) for f in filesets])


def touched_groups(run: Run, bucket: int, day: dt.date) -> list[Group]:
    """Sessions and documents with records of `day`, each with the hash of all its records up to that day.

    Replaced records count too: what they yielded decides which units the later ones supersede.
    """
    groups = []
    for table, group, key in (("turns", "session_id", "turn_id"), ("documents", "document_id", "document_id")):
        today = run.catalogue.select(table, bucket=bucket, day=day)
        ids = pc.unique(run.lake.read(table, today, columns=[group])[group].combine_chunks())
        until = run.catalogue.select(table, bucket=bucket, until=day)
        columns = list(dict.fromkeys((group, key, "record_hash", "day")))
        rows = pl.DataFrame(run.lake.read(table, until, columns=columns, where=ds.field(group).isin(ids)))
        by_group = rows.sort(key, "day").group_by(group, maintain_order=True)
        frame = by_group.agg(pl.col("day"), pl.col("record_hash"), pl.n_unique(key).alias("records"))
        groups += [
            Group(id_, fingerprint(days, hashes), records)
            for id_, days, hashes, records in frame.select(group, "day", "record_hash", "records").iter_rows()
        ]
    return groups


def segmented_groups(run: Run, bucket: int, day: dt.date) -> list[Group]:
    """The touched groups without those that `segment` could not take."""
    refused = refused_by(run, "segment", "memory_units", bucket, day)
    return [g for g in touched_groups(run, bucket, day) if g.id not in refused]


def latest(rows: pa.Table, key: str) -> pa.Table:
    """The last row of each key; rows come in day order, so a correction stands."""
    frame = pl.DataFrame(rows)
    return frame.unique(key, keep="last", maintain_order=True).to_arrow().cast(rows.schema)


def turns_of(run: Run, bucket: int, day: dt.date, sessions: list[str]) -> pa.Table:
    """All turns of `sessions` up to `day`, in order."""
    where = ds.field("session_id").isin(sessions)
    rows = run.lake.read("turns", run.catalogue.select("turns", bucket=bucket, until=day), where=where)
    return in_order(_since_first_day(latest(rows, "turn_id"), rows))


def _since_first_day(turns: pa.Table, history: pa.Table) -> pa.Table:
    """The turns with the day of their first arrival, so that a corrected turn keeps its place in the session."""
    first = history.group_by("turn_id").aggregate([("day", "min")])
    days = dict(zip(first["turn_id"].to_pylist(), first["day_min"].to_pylist(), strict=True))
    column = pa.array([days[turn_id] for turn_id in turns["turn_id"].to_pylist()], pa.date32())
    return turns.set_column(turns.column_names.index("day"), "day", column)


def documents_of(run: Run, bucket: int, day: dt.date, documents: list[str]) -> pa.Table:
    """The newest text of each of `documents` up to `day`."""
    where = ds.field("document_id").isin(documents)
    rows = run.lake.read("documents", run.catalogue.select("documents", bucket=bucket, until=day), where=where)
    return latest(rows, "document_id")


def of_groups(groups: list[str]) -> ds.Expression:
    """The filter for units of some sessions or documents."""
    return ds.field("session_id").isin(groups) | ds.field("document_id").isin(groups)


def earlier_versions(run: Run, stage: str, bucket: int, day: dt.date, groups: list[str]) -> tuple[pa.Table, pa.Table]:
    """What `stage` made of `groups` on earlier days: (memory_units, operations on them)."""
    filesets = run.catalogue.select("memory_units", stage=stage, bucket=bucket, before=day)
    units = run.lake.read("memory_units", filesets, where=of_groups(groups))
    if not units.num_rows:
        return units, run.lake.read("operations", [])
    ends = _ends(run.catalogue.select("operations", bucket=bucket, before=day))
    mine = ds.field("unit_id").isin(pc.unique(units["unit_id"].combine_chunks()))
    return units, run.lake.read("operations", ends, where=mine)


def live_units(
    run: Run,
    bucket: int,
    *,
    until: dt.date,
    where: ds.Expression | None = None,
    columns: list[str] | None = None,
    stage: str | None = None,
) -> pa.Table:
    """Units of a bucket that their sources yield on `until`, archived by retention or not, in (day, stage, file) order."""
    filesets = run.catalogue.select("memory_units", bucket=bucket, until=until, stage=stage)
    units = run.lake.read("memory_units", filesets, where=where, columns=columns)
    ends = _ends(run.catalogue.select("operations", bucket=bucket, until=until))
    return live(units, run.lake.read("operations", ends))


def current_units(
    run: Run, bucket: int, *, where: ds.Expression | None = None, columns: list[str] | None = None
) -> pa.Table:
    """Units of a bucket as the view and the index have them: what no operation ended, those of retention included."""
    units = run.lake.read(
        "memory_units", run.catalogue.select("memory_units", bucket=bucket), where=where, columns=columns
    )
    return live(units, run.lake.read("operations", run.catalogue.select("operations", bucket=bucket)))


def _ends(operations: list[Fileset]) -> list[Fileset]:
    """Operations that stages look at: nothing is computed otherwise because a unit was archived by retention."""
    return [f for f in operations if f.stage != RETENTION]


def group_column(units: pa.Table) -> pa.ChunkedArray:
    """The session or document each unit belongs to."""
    return pc.coalesce(units["session_id"], units["document_id"])

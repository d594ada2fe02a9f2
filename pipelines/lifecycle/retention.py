"""Time to live: which current units a list of rules archives, and the operations that say so.

Retention lies over the life of units like a sheet: stages compute as if there were none, so that nothing is ever computed otherwise
because something was archived; the index and the views look at units through it. An operation names a version by its content
(`archive_id`): it holds for this text at this time, and for nothing else that may once carry the same number.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from fnmatch import fnmatchcase

import polars as pl
import pyarrow as pa

from schemas.ids import record_hash
from schemas.settings import Retention
from schemas.tables import TABLES

RETENTION = "retention"
POLICY = "retention@1"
COLUMNS = ["unit_id", "version", "namespace", "granularity", "content_hash", "event_time"]


def cutoff(rule: Retention, now: dt.datetime) -> dt.datetime:
    """Units whose time lies before it go. It moves at midnight (UTC), so that a second run on one day finds nothing."""
    return dt.datetime.combine(now.astimezone(dt.UTC).date(), dt.time(), dt.UTC) - dt.timedelta(days=rule.days)


def describe(rule: Retention) -> str:
    """A rule in words, as it stands in `operations.reason`."""
    return f"namespace {rule.namespace}, granularity {', '.join(rule.granularity) or 'any'}, {rule.days} days"


def due(units: pa.Table, rules: Sequence[Retention], now: dt.datetime) -> pa.Table:
    """The rows of `units` (COLUMNS) that are too old, with the first rule that says so as the column `rule`."""
    frame = pl.DataFrame(units).with_columns(rule=pl.lit(None, pl.String))
    for rule in rules:
        names = [n for n in frame["namespace"].unique().to_list() if fnmatchcase(n, rule.namespace)]
        hit = pl.col("namespace").is_in(names) & (pl.col("event_time") < cutoff(rule, now)) & pl.col("rule").is_null()
        if rule.granularity:
            hit = hit & pl.col("granularity").is_in(rule.granularity)
        frame = frame.with_columns(rule=pl.when(hit).then(pl.lit(describe(rule), pl.String)).otherwise(pl.col("rule")))
    found = frame.filter(pl.col("rule").is_not_null()).to_arrow()
    return found.cast(units.schema.append(pa.field("rule", pa.string())))


def archive(units: pa.Table, reasons: Sequence[str], *, day: dt.date, now: dt.datetime) -> pa.Table:
    """One ARCHIVE of `day` for each unit (COLUMNS)."""
    rows = [
        {
            "operation_id": archive_id(unit),
            "operation": "ARCHIVE",
            "unit_id": unit["unit_id"],
            "version": unit["version"],
            "reason": reason,
            "policy": POLICY,
            "at": now,
            "namespace": unit["namespace"],
            "day": day,
        }
        for unit, reason in zip(units.to_pylist(), reasons, strict=True)
    ]
    return TABLES["operations"].from_rows(rows)


def archive_id(unit: dict) -> str:
    """The operation that archives a version of a unit: by its content, not only by its number."""
    return record_hash(POLICY, unit["unit_id"], unit["version"], *content(unit))


def content(unit: dict) -> tuple[str, str]:
    """What makes two versions of a unit the same to a rule: text and time."""
    return unit["content_hash"], unit["event_time"].astimezone(dt.UTC).isoformat()

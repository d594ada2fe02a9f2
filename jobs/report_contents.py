"""Reads what a report shows from one snapshot and the ledger: counts and samples by SQL, vectors from the mapped shards.

Costs a scan of the unit table's narrow columns and of the mentions; texts are read only of the units that are shown.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import fields, replace

import duckdb
import numpy as np

from jobs.day_grid import STAGES, day_grid
from jobs.report_graph import communities, timelines
from jobs.report_index import index_figures
from jobs.store import ledger, snapshots, views
from jobs.store.lake import Lake
from jobs.store.reader import Store, open_store
from pipelines.recall import RecallShard
from pipelines.report import Contents
from pipelines.report.cluster_map import DOTS
from pipelines.report.contents import (
    RECALL,
    Cell,
    Day,
    Granularity,
    Measured,
    Namespace,
    Refused,
    RunCost,
    Sample,
    StageCost,
    Vectors,
    Version,
)
from schemas.errors import StoreError
from schemas.manifest import Snapshot
from schemas.settings import Settings

NAMESPACES, DAYS, VERSIONS, RUNS, REASONS, SAMPLES = 40, 62, 60, 30, 40, 320
SHOWN_TEXT = 900
MAPPED = ("turn", "passage")
LIVE = """
    CREATE OR REPLACE TEMP TABLE live AS
    SELECT unit_id, version, namespace, granularity, session_id, document_id, event_time, n_tokens, day FROM memory_units
"""


def contents(settings: Settings, *, now: dt.datetime, snapshot: int | None = None) -> Contents:
    """All that a report of a store shows; of a store without a snapshot what the ledger knows.

    Raises:
        StoreError: there is no store, or no such snapshot.
    """
    lake = Lake(settings.store)
    snapshots.open_store(lake)
    chosen = snapshots.load(lake, snapshot) if snapshot is not None else snapshots.current(lake)
    page = replace(
        Contents(store=lake.url, made_at=now),
        bytes=lake.size(),
        stages=list(STAGES),
        days=_days(lake, chosen, settings, now),
        versions=_versions(lake),
        evaluations=_evaluations(lake),
        usd_per_cpu_hour=settings.prices.usd_per_cpu_hour,
        **_costs(lake),
    )
    if chosen is None:
        return page
    with open_store(settings.store, snapshot=chosen.number) as store:
        return _of_snapshot(store, page)


def _of_snapshot(store: Store, page: Contents) -> Contents:
    con = views.connect(store.lake, store.catalogue)
    con.execute(LIVE)
    shards, problem = _shards(store)
    names, n_namespaces = _namespaces(con)
    refused, n_refused = _refused(con)
    return replace(
        page,
        snapshot=_version(store.snapshot),
        encoder=store.snapshot.encoder,
        gates=store.snapshot.gates,
        n_units=views.scalar(con, "SELECT count(*) FROM live"),
        granularities=_granularities(con),
        namespaces=names,
        n_namespaces=n_namespaces,
        arrivals=con.execute("SELECT day, count(*) FROM live GROUP BY day ORDER BY day").fetchall(),
        index=index_figures(shards),
        index_problem=problem,
        communities=communities(con),
        timelines=timelines(con),
        vectors=_vectors(shards),
        refused=refused,
        n_refused=n_refused,
        samples=_samples(con),
    )


def _shards(store: Store) -> tuple[list[RecallShard], str]:
    """The shards, or none and why: a damaged index is something to report."""
    try:
        return store.recall_with(None).shards, ""
    except StoreError as problem:
        return [], str(problem)


def _version(s: Snapshot) -> Version:
    notes = [f"restored from {s.restored_from}" if s.restored_from else "", f"forced: {s.forced}" if s.forced else ""]
    note = "; ".join(n for n in [*notes, s.reason or ""] if n)
    return Version(s.number, s.created_at, s.rows, sum(not g.passed for g in s.gates), note)


def _versions(lake: Lake) -> list[Version]:
    return [_version(snapshots.load(lake, n)) for n in snapshots.numbers(lake)[-VERSIONS:]]


def _days(lake: Lake, chosen: Snapshot | None, settings: Settings, now: dt.datetime) -> list[Day]:
    rows = day_grid(lake, chosen, settings, now=now)[::-1][:DAYS]
    return [Day(r.day, {stage: Cell(c.state, c.rows) for stage, c in r.cells.items()}, r.why) for r in rows]


def _evaluations(lake: Lake) -> list[Measured]:
    rows = ledger.read(lake, "evaluations").to_pylist()
    names = [field.name for field in fields(Measured) if field.name != "ranking"]
    return [Measured(**{name: row[name] for name in names}, ranking=row.get("ranking") or RECALL) for row in rows]


def _costs(lake: Lake) -> dict:
    con = duckdb.connect()
    con.register("runs", ledger.read(lake, "runs"))
    by_stage = con.execute("""
        SELECT stage, count(*), sum(seconds), sum(rows_out)::BIGINT, sum(tokens_in)::BIGINT, sum(tokens_out)::BIGINT, sum(usd)
        FROM runs GROUP BY stage ORDER BY sum(seconds) DESC, stage
    """).fetchall()
    by_run = con.execute(
        """
        SELECT run_id, min(started_at AT TIME ZONE 'UTC'), count(*), count(*) FILTER (status = 'failed'), sum(seconds), sum(usd)
        FROM runs GROUP BY run_id ORDER BY 2 DESC LIMIT ?
        """,
        [RUNS],
    ).fetchall()
    return {"stage_costs": [StageCost(*row) for row in by_stage], "run_costs": [RunCost(*row) for row in by_run]}


def _granularities(con: duckdb.DuckDBPyConnection) -> list[Granularity]:
    sql = "SELECT granularity, count(*), median(n_tokens)::INT FROM live GROUP BY 1 ORDER BY 2 DESC, 1"
    return [Granularity(*row) for row in con.execute(sql).fetchall()]


def _namespaces(con: duckdb.DuckDBPyConnection) -> tuple[list[Namespace], int]:
    """The largest, and how many there are."""
    sql = """
        SELECT namespace, count(*), count(DISTINCT session_id), count(DISTINCT document_id),
               min(event_time) FILTER (granularity <> 'fact'), max(event_time) FILTER (granularity <> 'fact')
        FROM live GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?
    """
    found = [Namespace(*row) for row in con.execute(sql, [NAMESPACES]).fetchall()]
    return found, views.scalar(con, "SELECT count(DISTINCT namespace) FROM live")


def _refused(con: duckdb.DuckDBPyConnection) -> tuple[list[Refused], int]:
    sql = """
        SELECT stage, reason, count(*), min(source_ref) FROM quarantine GROUP BY 1, 2 ORDER BY 3 DESC, 2 LIMIT ?
    """
    found = [Refused(*row) for row in con.execute(sql, [REASONS]).fetchall()]
    return found, views.scalar(con, "SELECT count(*) FROM quarantine")


def _samples(con: duckdb.DuckDBPyConnection) -> list[Sample]:
    """Equally many units of each granularity, always the same ones; namespaces take turns."""
    kinds = max(views.scalar(con, "SELECT count(DISTINCT granularity) FROM live"), 1)
    sql = """
        WITH dealt AS (
            SELECT unit_id, version, granularity, md5(unit_id) AS draw,
                   row_number() OVER (PARTITION BY granularity, namespace ORDER BY md5(unit_id)) AS turn
            FROM live
        ), chosen AS (
            SELECT * FROM dealt QUALIFY row_number() OVER (PARTITION BY granularity ORDER BY turn, draw) <= ?
        )
        SELECT u.unit_id, u.namespace, u.granularity, u.text, u.source_spans, u.event_time
        FROM memory_units_all u SEMI JOIN chosen c ON u.unit_id = c.unit_id AND u.version = c.version
        ORDER BY md5(u.unit_id)
    """
    rows = con.execute(sql, [max(SAMPLES // kinds, 1)]).fetchall()
    return [Sample(id_, n, g, _shown(text), _refs(spans), at) for id_, n, g, text, spans, at in rows]


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_TEXT else f"{text[:SHOWN_TEXT].rstrip()} …"


def _refs(spans: list[dict]) -> list[str]:
    """Sources in words: `ref [start, end)`; of many the first three."""
    said = [f"{s['ref']} [{s['start']}–{s['end']}]" for s in spans[:3]]
    return [*said, f"and {len(spans) - 3} more"] if len(spans) > 3 else said


def _vectors(shards: list[RecallShard]) -> Vectors | None:
    """Units of the granularities that answer, evenly over the shards."""
    ranges = [(shard, a, b) for shard in shards for g in MAPPED for a, b in shard.slices(g, None)]
    of = sum(b - a for _, a, b in ranges)
    if not of:
        return None
    texts: list[str] = []
    namespaces: list[str] = []
    rows = []
    for shard, a, b in ranges:
        share = min(b - a, max(1, round(DOTS * (b - a) / of)))
        chosen = np.unique(np.linspace(a, b - 1, share).astype(int))
        units = shard.units.select(["text", "namespace"]).take(chosen)
        texts += units["text"].to_pylist()
        namespaces += units["namespace"].to_pylist()
        rows.append(np.asarray(shard.vectors[chosen], np.float32))
    return Vectors(texts, namespaces, np.concatenate(rows), of)

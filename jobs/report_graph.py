"""Reads the entity graph for a report: who is mentioned with whom, and the timelines of the most mentioned.

Both look at units that were said or written, not at what was derived from them. The self-join of mentions is held to the
entities that can be drawn, and to units with few of them, so that it stays linear in the mentions.
"""

from __future__ import annotations

import datetime as dt

import duckdb
import numpy as np

from jobs.store.views import CURRENT
from pipelines.report import Node, Picture, draw
from pipelines.report.contents import Fact, Timeline

ENTITIES = 3_000
MENTIONS = 3
"""An entity with fewer is noise in a picture of communities."""
EVERYWHERE = 0.08
"""Share of a namespace's units from which on an entity tells communities apart no more: the speakers of a conversation."""
TOGETHER = 12
"""Entities of one unit that are paired; lists of fifty names say little about any two."""
VAGUE = "related to"
"""The predicate of entities that merely stand together; facts that say more come first."""
DATED = ("date", "quantity")
TIMELINES, FACTS = 8, 14


def mentioned(con: duckdb.DuckDBPyConnection) -> None:
    """Make the temporary table of current mentions, dates and quantities left out. Needs the table `live`."""
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE mentioned AS
        SELECT m.unit_id, m.entity_id, u.namespace FROM ({CURRENT["mentions"].format(units="live")}) m
        JOIN live u ON m.unit_id = u.unit_id WHERE m.kind NOT IN {DATED}
        """
    )


def communities(con: duckdb.DuckDBPyConnection) -> Picture | None:
    """The picture of who belongs together; None without a graph. Needs the temporary table `live`."""
    mentioned(con)
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE drawn AS
        WITH counts AS (SELECT entity_id, namespace, count(*) AS n FROM mentioned GROUP BY ALL),
        sizes AS (SELECT namespace, count(DISTINCT unit_id) AS units FROM mentioned GROUP BY ALL)
        SELECT e.entity_id, e.name, e.kind, e.namespace, n, n > greatest(? * units, 12) AS everywhere
        FROM counts JOIN sizes USING (namespace) JOIN entities e USING (entity_id) WHERE n >= ?
        ORDER BY n DESC, e.entity_id LIMIT ?
        """,
        [EVERYWHERE, MENTIONS, ENTITIES],
    )
    rows = con.execute(
        "SELECT entity_id, name, kind, namespace, n FROM drawn WHERE NOT everywhere ORDER BY n DESC, entity_id"
    ).fetchall()
    if not rows:
        return None
    pairs = con.execute(
        """
        WITH few AS (
            SELECT unit_id, entity_id FROM mentioned SEMI JOIN (FROM drawn WHERE NOT everywhere) USING (entity_id)
            QUALIFY row_number() OVER (PARTITION BY unit_id ORDER BY entity_id) <= ?
        )
        SELECT a.entity_id, b.entity_id, count(*) FROM few a JOIN few b ON a.unit_id = b.unit_id AND a.entity_id < b.entity_id
        GROUP BY 1, 2 ORDER BY 1, 2
        """,
        [TOGETHER],
    ).fetchall()
    number = {row[0]: i for i, row in enumerate(rows)}
    edges = np.array([(number[a], number[b]) for a, b, _ in pairs], int).reshape(-1, 2)
    counts = np.array([n for _, _, n in pairs], float)
    left_out = con.execute("SELECT DISTINCT name FROM drawn WHERE everywhere ORDER BY name LIMIT 12").fetchall()
    return draw([Node(*row[1:]) for row in rows], edges, counts, [name for (name,) in left_out])


def timelines(con: duckdb.DuckDBPyConnection) -> list[Timeline]:
    """The entities with the most mentions, at most two of a namespace first. Needs `communities` to have been asked."""
    rows = con.execute(
        """
        WITH ranked AS (SELECT *, row_number() OVER (PARTITION BY namespace ORDER BY n DESC, entity_id) AS place FROM drawn)
        SELECT entity_id, name, kind, namespace, n FROM ranked ORDER BY place > 2, n DESC, entity_id LIMIT ?
        """,
        [TIMELINES],
    ).fetchall()
    return [timeline(con, *row) for row in rows]


def timeline(con: duckdb.DuckDBPyConnection, entity_id: str, name: str, kind: str, namespace: str, n: int) -> Timeline:
    """One entity: mentions by day, month or year, whichever can be read, and facts over its time. Needs `mentioned`."""
    first, last = con.execute(
        "SELECT min(event_time), max(event_time) FROM mentioned JOIN live USING (unit_id) WHERE entity_id = ?",
        [entity_id],
    ).fetchone() or (None, None)
    step = _step(first, last)
    counts = con.execute(
        f"""
        WITH said AS (
            SELECT date_trunc('{step}', event_time)::DATE AS bin, count(*) AS n
            FROM mentioned JOIN live USING (unit_id) WHERE entity_id = ? GROUP BY 1
        )
        SELECT t::DATE, coalesce(n, 0) FROM generate_series((SELECT min(bin) FROM said), (SELECT max(bin) FROM said),
            INTERVAL '1 {step}') g(t) LEFT JOIN said ON said.bin = t::DATE ORDER BY 1
        """,
        [entity_id],
    ).fetchall()
    return Timeline(entity_id, name, kind, namespace, n, counts, step, facts(con, entity_id, FACTS))


def facts(con: duckdb.DuckDBPyConnection, entity_id: str, limit: int) -> list[Fact]:
    """Facts about an entity, evenly over its time, in order of time; each says where it was said."""
    rows = con.execute(
        f"""
        WITH about AS (
            SELECT t.event_time, s.name AS subject, t.predicate, o.name AS object, u.source_spans[1].ref AS ref,
                   t.triple_id
            FROM ({CURRENT["triples"].format(units="live")}) t
            JOIN entities s ON t.subject_id = s.entity_id JOIN entities o ON t.object_id = o.entity_id
            JOIN memory_units_all u ON u.unit_id = t.unit_id AND u.version = t.unit_version
            WHERE t.subject_id = $1 OR t.object_id = $1
            QUALIFY t.predicate <> '{VAGUE}' OR count(*) FILTER (t.predicate <> '{VAGUE}') OVER () < $2 / 2
        ), placed AS (
            SELECT *, row_number() OVER (ORDER BY event_time, triple_id) - 1 AS place, count(*) OVER () AS n FROM about
        )
        SELECT event_time, subject, predicate, object, ref FROM placed
        WHERE n <= $2 OR floor(place * $2 / n) > floor((place - 1) * $2 / n) ORDER BY place
        """,
        [entity_id, limit],
    ).fetchall()
    return [Fact(*row) for row in rows]


def _step(first: dt.datetime | None, last: dt.datetime | None) -> str:
    if first is None or last is None or (last - first).days <= 45:
        return "day"
    return "month" if (last - first).days <= 365 * 5 else "year"

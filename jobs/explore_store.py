"""What the explorer shows of a store: answers with their reasons, units with their links, entities through time, two snapshots.

The newest snapshot is looked up at every question, so that a night's work is seen without a restart. Opened ones are kept (three at
most, each pinned while it is) and asked one question at a time: it serves a person, not a crowd.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import duckdb

from jobs import report_graph
from jobs.report_contents import LIVE, contents
from jobs.store import snapshots, views
from jobs.store.lake import Lake
from jobs.store.reader import Store, open_store
from pipelines.recall import Answer, Query
from pipelines.report import render
from pipelines.report.contents import Timeline
from schemas.errors import UsageError
from schemas.settings import Settings

KEPT = 3
LINKS, MENTIONING, FOUND = 60, 40, 60


@dataclass(frozen=True)
class Link:
    """An edge of a unit, seen from it: `other` is a unit or an entity."""

    relation: str
    outward: bool
    weight: float
    other: str
    text: str
    granularity: str | None


@dataclass(frozen=True)
class UnitView:
    """One unit with everything that hangs on it."""

    row: dict[str, Any]
    versions: list[dict[str, Any]]
    links: list[Link]
    derived: list[dict[str, Any]]


@dataclass(frozen=True)
class EntityView:
    """One entity: its timeline, the units that mention it, the entities mentioned with it."""

    row: dict[str, Any]
    timeline: Timeline
    units: list[dict[str, Any]]
    beside: list[tuple[str, str, int]]


@dataclass(frozen=True)
class Asked:
    """An answer and how long it took."""

    snapshot: int
    answer: Answer
    seconds: float


class Explorer:
    """Everything the pages ask; safe to be called from the threads of a server."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lake = Lake(settings.store)
        snapshots.open_store(self.lake)
        self._opened: OrderedDict[int, tuple[Store, duckdb.DuckDBPyConnection]] = OrderedDict()
        self._reports: dict[int, str] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of all snapshots."""
        with self._lock:
            for store, con in self._opened.values():
                con.close()
                store.close()
            self._opened.clear()

    def warm(self) -> None:
        """Load the encoder and the newest snapshot, where there is one: the first question then waits no longer than others."""
        if self.newest() is not None:
            with self._lock:
                self._open(None)[0].embed(["warm"])

    def numbers(self) -> list[int]:
        """Numbers of the snapshots there are, newest first."""
        return snapshots.numbers(self.lake)[::-1]

    def newest(self) -> int | None:
        return next(iter(self.numbers()), None)

    def namespaces(self, snapshot: int | None = None) -> list[str]:
        with self._lock:
            return sorted(self._open(snapshot)[0].namespaces())

    def ask(self, query: Query, snapshot: int | None = None) -> Asked:
        """The answer of a snapshot, default the newest."""
        with self._lock:
            store, _ = self._open(snapshot)
            begun = time.perf_counter()
            answer = store.recall_many([query])[0]
            return Asked(store.snapshot.number, answer, time.perf_counter() - begun)

    def unit(self, unit_id: str, snapshot: int | None = None) -> UnitView:
        """A unit with its versions, edges and what was derived from it.

        Raises:
            UsageError: the snapshot has no such unit.
        """
        with self._lock:
            return _unit(self._open(snapshot)[1], unit_id)

    def entity(self, entity_id: str, snapshot: int | None = None) -> EntityView:
        """An entity through time.

        Raises:
            UsageError: the snapshot has no such entity.
        """
        with self._lock:
            return _entity(self._open(snapshot)[1], entity_id)

    def entities(self, words: str, snapshot: int | None = None) -> list[dict[str, Any]]:
        """Entities whose name or alias has the words, the most mentioned first."""
        with self._lock:
            return _rows(
                self._open(snapshot)[1],
                """
                SELECT entity_id, name, kind, namespace, df FROM entities
                WHERE name ILIKE '%' || $1 || '%' ESCAPE '\\' 
                   OR len(list_filter(aliases, lambda a: contains(lower(a), lower($2)))) > 0
                ORDER BY df DESC, entity_id LIMIT $3
                """,
                [_literal(words), words, FOUND],
            )

    def report(self, now: dt.datetime) -> str:
        """The page of `engraph report` of the newest snapshot, made once."""
        number = self.newest() or 0
        with self._lock:
            if number not in self._reports:
                self._reports = {number: render(contents(self.settings, now=now))}
            return self._reports[number]

    def _open(self, snapshot: int | None) -> tuple[Store, duckdb.DuckDBPyConnection]:
        number = snapshot or self.newest() or 0
        if number not in self._opened:
            store = open_store(self.settings.store, snapshot=number or None)
            con = views.connect(store.lake, store.catalogue)
            con.execute(LIVE)
            report_graph.mentioned(con)
            self._opened[number] = (store, con)
        self._opened.move_to_end(number)
        while len(self._opened) > KEPT:
            _, (oldest, its) = self._opened.popitem(last=False)
            its.close()
            oldest.close()
        return self._opened[number]


def _rows(con: duckdb.DuckDBPyConnection, sql: str, parameters: list) -> list[dict[str, Any]]:
    found = con.execute(sql, parameters)
    names = [column[0] for column in found.description or []]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _literal(words: str) -> str:
    """Words as they are, for ILIKE."""
    return words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _unit(con: duckdb.DuckDBPyConnection, unit_id: str) -> UnitView:
    versions = _rows(
        con,
        """
        SELECT h.* EXCLUDE (unit_key, content_hash), l.unit_id IS NOT NULL AS live
        FROM memory_units_history h LEFT JOIN live l ON l.unit_id = h.unit_id AND l.version = h.version
        WHERE h.unit_id = ? ORDER BY h.version DESC
        """,
        [unit_id],
    )
    if not versions:
        raise UsageError(f"this snapshot has no unit {unit_id!r}")
    derived = _rows(
        con,
        """
        SELECT u.unit_id, u.granularity, u.text FROM memory_units_all u
        SEMI JOIN live l ON u.unit_id = l.unit_id AND u.version = l.version
        WHERE u.parent_id = ? ORDER BY u.granularity, u.ordinal, u.unit_id LIMIT ?
        """,
        [unit_id, LINKS],
    )
    return UnitView(versions[0], versions, _links(con, unit_id), derived)


def _links(con: duckdb.DuckDBPyConnection, unit_id: str) -> list[Link]:
    """Current edges on both sides; strong ones of each relation first."""
    found = con.execute(
        """
        WITH mine AS (
            SELECT relation, source = $1 AS outward, weight, CASE WHEN source = $1 THEN target ELSE source END AS other
            FROM edges_all WHERE source = $1 OR target = $1
        ), strongest AS (
            SELECT DISTINCT * FROM mine QUALIFY row_number() OVER (PARTITION BY relation, outward ORDER BY weight DESC, other) <= 20
        ), units AS (
            SELECT u.unit_id, u.granularity, u.text FROM memory_units_all u
            SEMI JOIN live l ON u.unit_id = l.unit_id AND u.version = l.version
            WHERE u.unit_id IN (SELECT other FROM strongest)
        )
        SELECT relation, outward, weight, other, coalesce(u.text, e.name), u.granularity
        FROM strongest s LEFT JOIN units u ON u.unit_id = s.other LEFT JOIN entities e ON e.entity_id = s.other
        WHERE u.unit_id IS NOT NULL OR e.entity_id IS NOT NULL ORDER BY relation, outward DESC, weight DESC, other LIMIT $2
        """,
        [unit_id, 2 * LINKS],
    ).fetchall()
    return [Link(*row) for row in found]


def _entity(con: duckdb.DuckDBPyConnection, entity_id: str) -> EntityView:
    rows = _rows(
        con, "SELECT entity_id, name, kind, namespace, aliases, df FROM entities WHERE entity_id = ?", [entity_id]
    )
    if not rows:
        raise UsageError(f"this snapshot has no entity {entity_id!r}")
    row = rows[0]
    n = views.scalar(con, "SELECT count(*) FROM mentioned WHERE entity_id = ?", [entity_id])
    timeline = report_graph.timeline(con, entity_id, row["name"], row["kind"], row["namespace"], n)
    units = _rows(
        con,
        """
        SELECT u.unit_id, u.granularity, u.text, u.event_time, u.source_spans FROM memory_units_all u
        JOIN live l ON u.unit_id = l.unit_id AND u.version = l.version
        JOIN mentioned m ON m.unit_id = u.unit_id WHERE m.entity_id = ? ORDER BY u.event_time DESC, u.unit_id LIMIT ?
        """,
        [entity_id, MENTIONING],
    )
    beside = con.execute(
        """
        SELECT e.entity_id, e.name, count(*) AS n FROM mentioned a JOIN mentioned b USING (unit_id)
        JOIN entities e ON e.entity_id = b.entity_id WHERE a.entity_id = $1 AND b.entity_id <> $1
        GROUP BY ALL ORDER BY n DESC, e.entity_id LIMIT 24
        """,
        [entity_id],
    ).fetchall()
    return EntityView(row, timeline, units, beside)

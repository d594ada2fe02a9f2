"""Which days of the configured corpora are done, which are not, and why: what a nightly run and a backfill go by.

A day is done when the newest row of `corpus_days` says so, the snapshot named there is part of the newest one's history (a rollback
takes days back), and its files are still those that were read. The ledger says what was tried; what holds is the snapshot.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jobs.corpora import CorpusDay
from jobs.stages import daily_stages
from jobs.store import ledger, snapshots
from jobs.store.lake import Lake
from pipelines.embedding import EncoderId
from schemas.fingerprint import canonical
from schemas.manifest import Snapshot

State = Literal["done", "missing", "failed", "stale"]


@dataclass(frozen=True)
class DayState:
    """One day of one corpus and how it stands; `why` is a line for people, empty where it is done."""

    day: CorpusDay
    state: State
    why: str = ""


def day_states(lake: Lake, snapshot: Snapshot | None, days: Sequence[CorpusDay]) -> list[DayState]:
    """How each day stands, in the order given."""
    newest = newest_rows(lake)
    holds = _History(lake, snapshot)
    return [_state(day, newest.get((day.corpus, day.day)), newest, holds) for day in days]


def _state(day: CorpusDay, last: dict | None, newest: Mapping[tuple[str, dt.date], dict], holds: _History) -> DayState:
    if not day.dated:  # it grows in place: what counts is its last run, whenever that was
        runs = [row for (corpus, _), row in newest.items() if corpus == day.corpus]
        last = max(runs, key=lambda row: row["started_at"], default=None)
    if last is None:
        return DayState(day, "missing", day.error or "never taken")
    if last["status"] != "done":
        return DayState(day, "failed", f"{last['status']} on {last['started_at']:%Y-%m-%d %H:%M}: {last['error']}")
    if not holds(last["snapshot"]):
        return DayState(day, "missing", f"snapshot {last['snapshot']}, which held it, was rolled back")
    if day.error:
        return DayState(day, "done")  # what was read stands; the source is not needed any more
    read = {(f["source_ref"], f["bytes"], f["version"]) for f in last["files"]}
    changed = [o.file.source_ref for o in day.files if (o.file.source_ref, o.bytes, o.version) not in read]
    if changed:
        return DayState(day, "stale", f"{changed[0]} is new or has changed ({len(changed)} of {len(day.files)} files)")
    return DayState(day, "done")


def newest_rows(lake: Lake) -> dict[tuple[str, dt.date], dict]:
    """(corpus, day) -> the newest row of `corpus_days`."""
    rows = sorted(ledger.read(lake, "corpus_days").to_pylist(), key=lambda row: row["started_at"])
    return {(row["corpus"], row["day"]): row for row in rows}


class _History:
    """Whether a snapshot is the newest one or one that it was made from."""

    def __init__(self, lake: Lake, newest: Snapshot | None) -> None:
        self.lake, self.reached = lake, set[int]()
        self._next: int | None = newest.number if newest else None

    def __call__(self, number: int | None) -> bool:
        if number is None:
            return True  # a day that brought nothing before there was any snapshot
        have = set(snapshots.numbers(self.lake)) if self._next is not None and self._next > number else set()
        while self._next is not None and self._next >= number:
            self.reached.add(self._next)
            if self._next == number or self._next not in have:
                break
            snapshot = snapshots.load(self.lake, self._next)
            self._next = snapshot.restored_from or snapshot.parent
        collected = self._next is not None and self._next > number and self._next not in have
        return number in self.reached or collected  # older than what gc kept: nothing speaks against it


def stale_stages(lake: Lake, snapshot: Snapshot | None, encoder: EncoderId, identity: str) -> dict[dt.date, list[str]]:
    """day -> stages whose published output another version of the code made; empty where the whole snapshot is this version's."""
    if snapshot is None or snapshot.identity == identity:
        return {}
    stages, found = daily_stages(encoder), dict[dt.date, list[str]]()
    catalogue = snapshot.catalogue()
    for name, stage in stages.items():
        looked: set[dt.date] = set()  # all buckets of a day are made by one version: the first one tells
        for fileset in catalogue.select(stage.tables[0], stage=name):
            if fileset.day in looked:
                continue
            looked.add(fileset.day)
            manifest = lake.manifest(fileset)
            params = {k: v for k, v in manifest.params.items() if k != "redone"}
            if (manifest.stage_version, params) != (stage.version, canonical(stage.params) or {}):
                found.setdefault(fileset.day, []).append(name)
    return found


def of_mode(states: Iterable[DayState], mode: str) -> list[DayState]:
    """The days that a mode asks for; `missing` takes failed ones too, as they have no completed run either."""
    wanted = {
        "missing": ("missing", "failed"),
        "failed": ("failed",),
        "stale": ("stale",),
        "all": ("missing", "failed", "stale", "done"),
        "healing": ("missing", "failed", "stale"),
    }[mode]
    return [state for state in states if state.state in wanted]

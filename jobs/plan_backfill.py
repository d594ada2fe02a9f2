"""Plan: which days a nightly run or a backfill takes, what it reads again and what it computes anew, before anything is done."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.corpora import CorpusDay, corpus_days
from jobs.day_states import day_states, newest_rows, of_mode, stale_stages
from jobs.stages import DAILY, identity
from jobs.store import snapshots
from jobs.store.lake import Lake
from pipelines.embedding import EncoderId, resolve_encoder
from schemas.errors import UsageError
from schemas.forms import BackfillForm, NightlyForm, check_names
from schemas.manifest import Snapshot
from schemas.settings import Settings


@dataclass(frozen=True)
class PlannedDay:
    """One day: sources to read, stages to compute although their output stands, and why."""

    day: dt.date
    read: tuple[CorpusDay, ...] = ()
    redo: tuple[str, ...] = ()
    why: tuple[str, ...] = ()

    def to_json(self) -> dict:
        return {
            "day": self.day.isoformat(),
            "read": [{"corpus": d.corpus, "files": len(d.files)} for d in self.read],
            "redo": list(self.redo),
            "why": list(self.why),
        }


@dataclass(frozen=True)
class Plan:
    """Days to take, ascending; later days that rest on them; days that the mode leaves out although they are not done."""

    days: list[PlannedDay]
    follow: list[dt.date] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def to_json(self) -> dict:
        return {
            "days": [day.to_json() for day in self.days],
            "stale": [day.isoformat() for day in self.follow],
            "left_out": self.left_out,
        }

    def say(self) -> list[str]:
        """The plan in lines for people."""
        lines = [f"{d.day}: {'; '.join(d.why)}" for d in self.days] or ["nothing to do"]
        if self.days and self.follow:
            first, last = self.follow[0], self.follow[-1]
            lines.append(
                f"{len(self.follow)} later days ({first} to {last}) rest on these: what depends on them becomes stale and is "
                "brought up to date before anything is published"
            )
        return lines + [f"left out: {line}" for line in self.left_out]


def plan_nightly(settings: Settings, form: NightlyForm, now: dt.datetime) -> Plan:
    """Every day of every corpus that has a source and no completed run, or whose source has changed since."""
    names = check_names("corpora", form.corpora, settings.corpora)
    lake, snapshot = _store(settings)
    found = corpus_days({name: settings.corpora[name] for name in names}, now=now)
    chosen = of_mode(day_states(lake, snapshot, found), "healing")
    days = [_planned(day, [s for s in chosen if s.day.day == day]) for day in sorted({s.day.day for s in chosen})]
    return Plan(days, _follow(snapshot, days))


def plan_backfill(settings: Settings, form: BackfillForm, now: dt.datetime, *, flow_run: str | None = None) -> Plan:
    """What a form asks for. `flow_run`: days that this very run has done before it was lost are not done again.

    Raises:
        UsageError: the window or a corpus cannot be.
    """
    names = check_names("corpora", form.corpora, settings.corpora)
    lake, snapshot = _store(settings)
    first, last = form.window(now.date())
    found = corpus_days({name: settings.corpora[name] for name in names}, now=now, first=first, last=last)
    stages = [stage.value for stage in form.stages]
    states = day_states(lake, snapshot, found)
    chosen = of_mode(states, form.mode) if not stages or "read" in stages or form.mode == "missing" else []
    by_day: dict[dt.date, PlannedDay] = {}
    for day in sorted({s.day.day for s in chosen}):
        by_day[day] = _planned(day, [s for s in chosen if s.day.day == day])
    for day, redo, why in _redone(lake, snapshot, settings, form, stages, first, last):
        before = by_day.get(day, PlannedDay(day))
        gone = () if before.read else ("its source is gone or not configured: from turns and documents on",)
        by_day[day] = PlannedDay(day, before.read, redo, (*before.why, why, *gone))
    done = _done_by(lake, flow_run)
    days = [by_day[day] for day in sorted(by_day) if day not in done]
    left_out = [f"{s.day}: {s.state}, {s.why}" for s in states if s.state != "done" and s.day.day not in by_day]
    return Plan(days, _follow(snapshot, days), left_out)


def _store(settings: Settings) -> tuple[Lake, Snapshot | None]:
    lake = Lake(settings.store)
    return lake, snapshots.current(lake)


def _planned(day: dt.date, states: Sequence) -> PlannedDay:
    return PlannedDay(
        day, tuple(s.day for s in states), (), tuple(f"{s.day.corpus} {s.state}, {s.why}" for s in states)
    )


def _redone(
    lake: Lake,
    snapshot: Snapshot | None,
    settings: Settings,
    form: BackfillForm,
    stages: list[str],
    first: dt.date,
    last: dt.date,
) -> list[tuple[dt.date, tuple[str, ...], str]]:
    """(day, stages to compute again, why) for days of the snapshot that modes `all` and `stale` ask for."""
    if snapshot is None or form.mode not in ("all", "stale"):
        return []
    catalogue = snapshot.catalogue()
    have = {f.day for table in ("turns", "documents") for f in catalogue.select(table)}
    days = sorted(day for day in have if first <= day <= last)
    wanted = [stage for stage in DAILY if not stages or stage in stages]
    if form.mode == "all":
        return [(day, tuple(wanted), f"asked for anew: {', '.join(wanted)}") for day in days if wanted]
    encoder = resolve_encoder(settings.encoder) if settings.encoder else EncoderId.parse(snapshot.encoder)
    stale = stale_stages(lake, snapshot, encoder, identity(encoder))
    found = [(day, [s for s in stale.get(day, []) if s in wanted]) for day in days]
    return [(day, (), f"made by another version: {', '.join(names)}") for day, names in found if names]


def _done_by(lake: Lake, flow_run: str | None) -> set[dt.date]:
    if flow_run is None:
        return set()
    return {
        day for (_, day), row in newest_rows(lake).items() if (row["flow_run"], row["status"]) == (flow_run, "done")
    }


def _follow(snapshot: Snapshot | None, days: list[PlannedDay]) -> list[dt.date]:
    """Days of the snapshot after the first planned one that are not planned themselves."""
    if snapshot is None or not days:
        return []
    planned = {day.day for day in days}
    have = {f.day for table in ("turns", "documents") for f in snapshot.catalogue().select(table)}
    return sorted(day for day in have if day > min(planned) and day not in planned)


def refuse_nothing_configured(settings: Settings) -> None:
    """Raises `UsageError` where no corpus is configured, with what to write."""
    if not settings.corpora:
        raise UsageError(
            'no corpus is configured: write into engraph.toml beside the store [corpora.NAME] and source = ".../day={day}/*.jsonl"'
        )

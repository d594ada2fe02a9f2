"""Upkeep: what keeps a store small and lawful, each from taking the lock to its report. Shared by the flows and the command line.

All of it works on what is there, with the store's own encoder, whatever the settings name for the next ingest.
"""

from dataclasses import replace

from flows.build import Build, Surroundings
from jobs.apply_retention import apply_retention, check
from jobs.compact_store import compact_store
from jobs.engines.profile import Engines
from jobs.find_subject import Subject, What, count, find
from jobs.forget_records import forget_records
from jobs.store import snapshots
from jobs.store.lake import Lake
from jobs.write_receipt import erasure, write_receipt
from schemas.errors import GateFailed, StoreError, UsageError
from schemas.manifest import Snapshot
from schemas.settings import Retention


def retain(
    rules: list[Retention], around: Surroundings, *, dry_run: bool = False, engines: Engines | None = None
) -> dict:
    """Archive what is older than the rules allow and publish: {snapshot, published, archived, rules: [{rule, units, of}]}."""
    check(rules)
    with _opened("engraph apply-retention", around, engines) as build:
        found = apply_retention(build.run, rules, dry_run=dry_run)
        published = None if dry_run else build.publish(build.index(), as_it_was=True)
        newest = published or build.parent
    return {
        "snapshot": newest.number if newest else None,
        "published": published is not None,
        "dry_run": dry_run,
        "archived": sum(rule["units"] for rule in found),
        "rules": found,
    }


def preview(what: What, name: str, around: Surroundings) -> dict:
    """What forgetting would remove for certain: {what, name, rows: {table: n}}; of what is gone already, its receipt."""
    with _opened("engraph forget --dry-run", around) as build:
        subject = _subject(build, what, name)
        if isinstance(subject, dict):
            return subject
        return {"what": what, "name": subject.name, "dry_run": True, "rows": count(build.run, subject)}


def forget(what: What, name: str, around: Surroundings, *, engines: Engines | None = None) -> dict:
    """Take a namespace or a source out of the store, publish, and give the receipt.

    Raises:
        UsageError: there is no such thing in the newest snapshot, and never was one that was forgotten.
        GateFailed: the snapshot without it is not good enough to be published.
    """
    with _opened("engraph forget", around, engines) as build:
        subject = _subject(build, what, name)
        if isinstance(subject, dict):
            return subject
        forget_records(build.run, subject)
        for day, buckets in build.days_left():
            build.bring_up_day(day, buckets)
        _publish_without(build, subject)
        receipt = write_receipt(build.run, what, subject.name)
        assert receipt is not None
        return receipt | {"already": False}


def _publish_without(build: Build, subject: Subject) -> Snapshot | None:
    index = build.index()
    build.run.vectors().clear()  # the copy of vectors keeps what the lake forgets
    try:
        return build.publish(index, erased=erasure(build.run, subject))
    except GateFailed as problem:
        raise GateFailed(
            f"{problem}. Nothing new of it is taken in from now on, but snapshot "
            f"{build.parent.number if build.parent else 0} still holds it: mend the cause and forget it again"
        ) from problem


def _subject(build: Build, what: What, name: str) -> Subject | dict:
    """The subject, or its receipt where it has been forgotten before and is not there."""
    try:
        return find(build.run, what, name)
    except UsageError:
        receipt = write_receipt(build.run, what, name)
        if receipt is None:
            raise
        return receipt | {"already": True}


def compact(keep: int, around: Surroundings, *, dry_run: bool = False, engines: Engines | None = None) -> dict:
    """Remove what is not needed, merge what is small, rebuild what is damaged: see `compact_store`."""
    with _opened("engraph compact-indexes", around, engines) as build:
        report = compact_store(build.run, build.parent, keep=keep, dry_run=dry_run)
        published = None
        if not dry_run and build.parent is not None and report["index"] != build.parent.index:
            published = build.publish(report["index"], as_it_was=True)
        newest = published or build.parent
        return report | {"snapshot": newest.number if newest else None, "published": published is not None}


def _opened(purpose: str, around: Surroundings, engines: Engines | None = None) -> Build:
    """A build on a store that is there and has been published."""
    lake = Lake(around.store)
    snapshots.open_store(lake)
    if not snapshots.numbers(lake):
        raise StoreError(f"the store at {lake.url} has no snapshot yet: run `engraph ingest SOURCE` first")
    return Build(purpose, replace(around, encoder=None), engines)

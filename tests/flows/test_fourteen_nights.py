"""Two weeks of nightly runs with everything that goes wrong in two weeks, against one clean build of the good data."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import shutil
from pathlib import Path

import pytest

import engraph as engraph_face
from flows.build import Surroundings
from flows.take_days import Taken, take_days
from jobs.plan_backfill import plan_nightly
from schemas.forms import NightlyForm
from schemas.settings import load_settings

FIRST = dt.date(2026, 3, 1)
LATE, TWICE, EMPTY, CORRUPT, MISSED = 3, 5, 7, 9, 11
"""Nights, from 0, whose data comes three nights late, comes twice, is nothing, has a corrupt file, is not taken."""


def day(n: int) -> dt.date:
    return FIRST + dt.timedelta(days=n)


def folder(root: Path, n: int) -> Path:
    return root / "notes" / f"day={day(n)}"


def deliver(root: Path, n: int, say) -> None:
    """What arrives for night n: a session that goes on every day, and one of its own."""
    rows = say("ann", "long", range(2 * n, 2 * n + 2), day=str(day(n)))
    rows += say(f"user-{n % 3}", f"s{n}", range(3), day=str(day(n)))
    folder(root, n).mkdir(parents=True, exist_ok=True)
    (folder(root, n) / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def arrive(root: Path, n: int, say) -> None:
    """What lies there when night n begins."""
    if n == LATE + 3:
        deliver(root, LATE, say)
    if n == EMPTY:
        folder(root, n).mkdir(parents=True)
        return
    if n == LATE:
        return
    deliver(root, n, say)
    if n == TWICE:
        shutil.copy(folder(root, n - 1) / "chat.jsonl", folder(root, n) / "again.jsonl")
    if n == CORRUPT:
        packed = gzip.compress((folder(root, n) / "chat.jsonl").read_bytes() * 50)
        (folder(root, n) / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])


def night(root: Path, n: int) -> Taken:
    """The nightly run of the morning after day n."""
    settings = load_settings(str(root / "store"), None)
    now = dt.datetime.combine(day(n + 1), dt.time(2), dt.UTC)
    plan = plan_nightly(settings, NightlyForm(), now)
    return take_days("nightly ingest", plan.days, Surroundings.of(settings, now), at_once=7)


@pytest.fixture(scope="module")
def two_weeks(tmp_path_factory, say) -> tuple[Path, list[Taken]]:
    root = tmp_path_factory.mktemp("nights")
    text = f'buckets = 4\n[corpora.notes]\nsource = "{root}/notes/day={{day}}"\nfirst_day = "{FIRST}"\n'
    (root / "engraph.toml").write_text(text)
    nights = []
    for n in range(14):
        arrive(root, n, say)
        nights.append(night(root, n) if n != MISSED else Taken())
    return root, nights


def taken_days(taken: Taken) -> list[int]:
    return [(outcome.day - FIRST).days for outcome in taken.outcomes]


def test_every_night_takes_what_has_a_source_and_no_completed_run(two_weeks):
    _, nights = two_weeks
    assert taken_days(nights[0]) == [0]
    assert taken_days(nights[LATE]) == []  # nothing had arrived
    assert taken_days(nights[LATE + 3]) == [LATE, LATE + 3]
    assert taken_days(nights[EMPTY]) == []
    assert taken_days(nights[MISSED + 1]) == [MISSED, MISSED + 1]
    assert all(outcome.status == "done" for taken in nights for outcome in taken.outcomes)
    assert day(LATE + 2) in nights[LATE + 3].followed  # the session that goes on had to be looked at again


def test_the_tables_are_those_of_one_clean_build_of_the_good_data(two_weeks, ingest, tmp_path, differences, rows_of):
    root, _ = two_weeks
    clean = tmp_path / "clean"
    shutil.copytree(root / "notes", clean / "notes")
    (clean / "notes" / f"day={day(CORRUPT)}" / "cut.jsonl.gz").unlink()
    (clean / "notes" / f"day={day(TWICE)}" / "again.jsonl").unlink()
    ingest(clean / "notes", store=clean / "store", day=None)
    found = differences(root / "store", clean / "store", clock=False)
    with engraph_face.open(root / "store") as nightly, engraph_face.open(clean / "store") as once:
        assert once.table("quarantine").num_rows == 0
        assert rows_of(nightly.table("turns")) == rows_of(once.table("turns"))
    assert [d for d in found if not d.startswith("quarantine")] == []


def test_the_corrupt_file_is_in_quarantine_with_its_reason(two_weeks, cli):
    root, _ = two_weeks
    ran = cli(
        "sql", "SELECT source_ref, reason, day::VARCHAR AS day FROM quarantine", "--store", root / "store", "--json"
    )
    rows = json.loads(ran.out)
    assert {row["day"] for row in rows} == {str(day(CORRUPT))}
    assert all("cut.jsonl.gz" in row["source_ref"] for row in rows)
    assert any("damaged gzip stream" in row["reason"] for row in rows)

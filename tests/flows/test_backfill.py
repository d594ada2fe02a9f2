"""Backfills by the command line: what is planned, what a failed, stale or rolled-back day becomes, what is done again."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

DAYS = ("2026-01-02", "2026-01-03", "2026-01-04")
NOW = "2026-01-05T08:00:00"


@dataclass
class Place:
    """A corpus with a folder a day, settings that name it, and a store beside them."""

    root: Path
    cli: object

    @property
    def store(self) -> Path:
        return self.root / "store"

    def folder(self, day: str) -> Path:
        return self.root / "notes" / f"day={day}"

    def write(self, day: str, rows: list[dict], name: str = "chat.jsonl") -> Path:
        file = self.folder(day) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return file

    def run(self, command: str, *options: str, expect: int = 0, now: str = NOW) -> dict:
        ran = self.cli("backfill", command, "--store", self.store, "--json", "--now", now, *options)
        assert ran.code == expect, ran.err
        return ran.json if ran.out else {"error": ran.err}

    def sql(self, query: str) -> list[dict]:
        ran = self.cli("sql", query, "--store", self.store, "--json")
        assert ran.code == 0, ran.err
        return json.loads(ran.out)


@pytest.fixture(scope="module")
def three_days(tmp_path_factory, cli, say) -> Place:
    """Three days taken by a backfill with the form's defaults; for reading and copying."""
    place = Place(tmp_path_factory.mktemp("backfill"), cli)
    (place.root / "engraph.toml").write_text(f'[corpora.notes]\nsource = "{place.root}/notes/day={{day}}"\n')
    for n, day in enumerate(DAYS):
        place.write(day, say("ann", "s1", range(n * 3, n * 3 + 3), day=day) + say("bo", f"s{n}", range(3), day=day))
    done = place.run("run")
    assert [d["status"] for d in done["result"]["days"]] == ["done"] * 3
    assert done["result"]["snapshots"] == [1]
    return place


@pytest.fixture
def place(three_days: Place, tmp_path: Path) -> Place:
    shutil.copytree(three_days.root, tmp_path / "copy", symlinks=True)
    copy = Place(tmp_path / "copy", three_days.cli)
    (copy.root / "engraph.toml").write_text(f'[corpora.notes]\nsource = "{copy.root}/notes/day={{day}}"\n')
    return copy


def planned(plan: dict) -> list[str]:
    return [day["day"] for day in plan["days"]]


def test_a_backfill_gives_what_one_ingest_of_all_days_gives(three_days, ingest, tmp_path, differences):
    ingest(three_days.root / "notes", store=tmp_path / "one", day=None)
    assert differences(three_days.store, tmp_path / "one", clock=False) == []


def test_days_that_are_done_are_not_planned_again(three_days):
    assert planned(three_days.run("plan")) == []
    assert three_days.run("run")["result"] == {"days": [], "snapshots": [], "followed": [], "seconds": 0.0}


def test_late_data_makes_its_day_stale_and_what_rests_on_it_follows(place, say, ingest, tmp_path, differences):
    place.write(DAYS[0], say("ann", "s1", range(20, 22), day=DAYS[0]), "late.jsonl")
    assert planned(place.run("plan")) == []
    plan = place.run("plan", "--mode", "stale")
    assert planned(plan) == [DAYS[0]] and plan["stale"] == list(DAYS[1:])
    done = place.run("run", "--mode", "stale", "--reason", "late export")
    assert set(done["result"]["followed"]) == set(DAYS[1:])
    ingest(place.root / "notes", store=tmp_path / "one", day=None)
    assert differences(place.store, tmp_path / "one", clock=False) == []
    assert place.sql("SELECT DISTINCT reason FROM corpus_days WHERE day = '2026-01-02' ORDER BY 1")[0] == {
        "reason": "late export"
    }


def test_a_day_that_fails_does_not_stop_the_others_and_is_repaired_by_mode_failed(place, say):
    for n, day in ((5, "2026-01-05"), (7, "2026-01-07")):
        place.write(day, say("ann", f"t{n}", range(3), day=day))
    place.folder("2026-01-06").symlink_to(place.root / "not-mounted")
    later = "2026-01-08T08:00:00"
    failed = place.run("run", expect=1, now=later)
    assert {d["day"]: d["status"] for d in failed["result"]["days"]} == {
        "2026-01-05": "done",
        "2026-01-06": "failed",
        "2026-01-07": "done",
    }
    (status,) = [d for d in _status(place, later)["days"] if d["day"] == "2026-01-06"]
    assert status["states"]["read"] == "failed" and "is its disk mounted" in status["why"][0]

    shutil.copytree(place.folder("2026-01-07"), place.root / "not-mounted")
    assert planned(place.run("plan", "--mode", "failed", now=later)) == ["2026-01-06"]
    repaired = place.run("run", "--mode", "failed", now=later)
    assert [d["status"] for d in repaired["result"]["days"]] == ["done"]
    assert planned(place.run("plan", now=later)) == []


def _status(place: Place, now: str) -> dict:
    ran = place.cli("status", "--store", place.store, "--json", "--now", now)
    assert ran.code == 0, ran.err
    return ran.json


def test_a_rollback_takes_days_back_and_the_next_backfill_brings_them(place, say, differences, tmp_path):
    place.write("2026-01-05", say("cy", "s1", range(4), day="2026-01-05"))
    place.run("run", now="2026-01-06T08:00:00")
    shutil.copytree(place.store, tmp_path / "whole")
    assert place.cli("snapshots", "rollback", "1", "--store", place.store).code == 0
    plan = place.run("plan", now="2026-01-06T08:00:00")
    assert planned(plan) == ["2026-01-05"] and "rolled back" in plan["days"][0]["why"][0]
    place.run("run", now="2026-01-06T08:00:00")
    assert differences(place.store, tmp_path / "whole", clock=False) == []


def test_mode_all_computes_again_what_stands_and_changes_no_row(place, differences, tmp_path):
    shutil.copytree(place.store, tmp_path / "before")
    before = {f["fingerprint"] for f in _filesets(place.store, 1, "extract", DAYS[1])}
    done = place.run("run", "--from", DAYS[1], "--to", DAYS[1], "--mode", "all", "--stages", "extract,link")
    assert [d["day"] for d in done["result"]["days"]] == [DAYS[1]] and done["result"]["snapshots"] == [2]
    after = {f["fingerprint"] for f in _filesets(place.store, 2, "extract", DAYS[1])}
    assert before and after and not before & after
    assert differences(place.store, tmp_path / "before", clock=False) == []
    assert _filesets(place.store, 1, "segment", DAYS[1]) == _filesets(place.store, 2, "segment", DAYS[1])


def _filesets(store: Path, snapshot: int, stage: str, day: str) -> list[dict]:
    tree = json.loads((store / "snapshots" / f"{snapshot}.json").read_text())["filesets"]
    return [
        {"table": table, "bucket": bucket, "fingerprint": fp}
        for table, stages in tree.items()
        for bucket, fp in stages.get(stage, {}).get(day, {}).items()
    ]


def test_a_source_that_is_gone_is_made_again_from_the_records_of_the_store(place):
    shutil.rmtree(place.folder(DAYS[2]))
    plan = place.run("plan", "--from", DAYS[2], "--to", DAYS[2], "--mode", "all")
    assert planned(plan) == [DAYS[2]] and "source is gone" in plan["days"][0]["why"][-1]
    done = place.run("run", "--from", DAYS[2], "--to", DAYS[2], "--mode", "all")
    assert done["result"]["snapshots"] == [2]
    assert place.sql("SELECT count(*) AS n FROM turns") == [{"n": 18}]


def test_newest_first_publishes_the_newest_days_first(place, say):
    for day in ("2026-01-05", "2026-01-06"):
        place.write(day, say("ann", f"u{day}", range(2), day=day))
    done = place.run("run", "--max-parallel", "1", "--newest-first", now="2026-01-07T08:00:00")
    assert [d["day"] for d in done["result"]["days"]] == ["2026-01-06", "2026-01-05"]
    assert done["result"]["snapshots"] == [2, 3]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--from", "2026-01-04", "--to", "2026-01-02"), "swap them"),
        (("--from", "yesterday"), "from_day"),
        (("--mode", "some"), "'missing', 'failed', 'stale' or 'all'"),
        (("--stages", "segment,bake"), "stages"),
        (("--corpus", "mails"), "no [corpora.mails] in the settings: there is notes"),
        (("--from", "2027-01-01", "--to", "2027-01-02"), "lies in the future"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(three_days, options, told):
    assert told in three_days.run("plan", *options, expect=2)["error"]

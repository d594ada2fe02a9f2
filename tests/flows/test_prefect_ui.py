"""A data engineer at the Prefect UI, in a real browser: fills the form, follows the run, sees the grid, repairs a failed day.

Screenshots are kept in `test-output/`.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flows.browser import CHROMIUM, RunForm, artifact_page, chromium, picture
from tests.flows.prefect_server import Serve, running_serve

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")


@dataclass
class Laptop:
    """A corpus of the last eight days, a store beside it, and `engraph serve` over it."""

    root: Path
    serve: Serve

    @property
    def ui(self) -> str:
        return self.serve.api.removesuffix("/api")

    def folder(self, back: int) -> Path:
        return self.root / "notes" / f"day={day(back)}"

    def newest(self, deployment: str) -> str:
        """The id of the newest run of a deployment that a person started."""
        wanted = {"deployment_id": {"any_": [self.serve.deployment(deployment)["id"]]}}
        runs = self.serve.ask("POST", "/flow_runs/filter", json={"flow_runs": wanted})
        return max((r for r in runs if not r["auto_scheduled"]), key=lambda r: r["created"])["id"]

    def artifact(self, key: str, run: str) -> dict:
        wanted = {"key": {"any_": [key]}, "flow_run_id": {"any_": [run]}}
        [found] = self.serve.ask("POST", "/artifacts/filter", json={"artifacts": wanted})
        return found


def day(back: int) -> str:
    return str(dt.datetime.now(dt.UTC).date() - dt.timedelta(days=back))


@pytest.fixture(scope="module")
def laptop(tmp_path_factory, say) -> Iterator[Laptop]:
    root = tmp_path_factory.mktemp("laptop")
    text = f'buckets = 4\n[corpora.notes]\nsource = "{root}/notes/day={{day}}"\n'
    (root / "engraph.toml").write_text(text)
    for back in range(8, 0, -1):
        folder = root / "notes" / f"day={day(back)}"
        if back == 6:  # its disk is not mounted yet
            folder.symlink_to(root / "disk")
            continue
        folder.mkdir(parents=True)
        rows = say("ann", "long", range(2 * (8 - back), 2 * (8 - back) + 2), day=day(back))
        rows += say("bo", f"s{back}", range(3), day=day(back))
        (folder / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with running_serve(root / "store") as serve:
        yield Laptop(root, serve)


def test_a_backfill_of_three_days_is_filled_in_followed_and_seen_in_the_grid(laptop, cli):
    with chromium() as page:
        form = RunForm(page, laptop.ui, laptop.serve.deployment("backfill")["id"])
        form.date("From Day", day(3))
        form.date("To Day", day(1))
        picture(page, "backfill-form")
        form.submit()
        run = laptop.newest("backfill")
        page.goto(f"{laptop.ui}/runs/flow-run/{run}")
        state = laptop.serve.wait(run, within=180)
        assert state["type"] == "COMPLETED", state["message"]
        page.get_by_text("Completed").first.wait_for()
        page.get_by_text(f"backfill {day(3)} to {day(1)} missing").first.wait_for()
        picture(page, "backfill-run")

        artifact_page(page, laptop.ui, laptop.artifact("backfill-grid", run)["id"])
        for back, sign in ((1, "✔ 5"), (2, "✔ 5"), (3, "✔ 5"), (4, "·")):
            row = page.locator("tr", has_text=day(back))
            assert sign in row.inner_text()
        picture(page, "backfill-grid")
        artifact_page(page, laptop.ui, laptop.artifact("backfill-account", run)["id"])
        page.get_by_text("Published snapshot 1").first.wait_for()
        picture(page, "backfill-account")
        link = re.search(r"\((http[^)]+)\)", laptop.artifact("backfill-report", run)["data"])
        assert link, "the run links no report"
        page.goto(link[1])
        page.get_by_role("heading", name="What the memory holds").wait_for()
        page.get_by_text("Snapshot 1 of").first.wait_for()
        picture(page, "backfill-report")

    snapshots = cli("snapshots", "list", "--store", laptop.root / "store", "--json").json
    assert snapshots[0]["flow_run"].endswith(run)
    days = cli("status", "--store", laptop.root / "store", "--json").json["days"]
    assert {d["day"] for d in days if d["states"].get("link") == "done"} == {day(1), day(2), day(3)}


def test_the_nightly_run_is_scheduled_and_its_next_runs_are_shown(laptop):
    deployment = laptop.serve.deployment("nightly-ingest")
    assert len(laptop.serve.scheduled("nightly-ingest")) >= 3
    with chromium() as page:
        page.goto(f"{laptop.ui}/deployments/deployment/{deployment['id']}?tab=Upcoming")
        page.get_by_text("Scheduled").first.wait_for()
        picture(page, "nightly-schedule")
        page.get_by_text(re.compile(r"0?2:00")).first.wait_for()


def test_a_run_that_fails_on_one_day_says_which_and_mode_failed_repairs_it(laptop, cli):
    with chromium() as page:
        form = RunForm(page, laptop.ui, laptop.serve.deployment("backfill")["id"])
        form.date("From Day", day(7))
        form.submit()
        run = laptop.newest("backfill")
        state = laptop.serve.wait(run, within=180)
        assert state["type"] == "FAILED"
        assert "1 of 4 days failed, 3 are published" in state["message"] and day(6) in state["message"]
        page.goto(f"{laptop.ui}/runs/flow-run/{run}")
        page.get_by_text("is its disk mounted").first.wait_for()
        picture(page, "failed-run")
        artifact_page(page, laptop.ui, laptop.artifact("backfill-grid", run)["id"])
        assert "✘" in page.locator("tr", has_text=day(6)).inner_text()
        picture(page, "failed-grid")

        shutil.copytree(laptop.folder(7), laptop.root / "disk")
        form = RunForm(page, laptop.ui, laptop.serve.deployment("backfill")["id"])
        form.select("Mode", "failed")
        form.submit()
        repaired = laptop.newest("backfill")
        assert repaired != run
        state = laptop.serve.wait(repaired, within=180)
        assert state["type"] == "COMPLETED", state["message"]
        artifact_page(page, laptop.ui, laptop.artifact("backfill-grid", repaired)["id"])
        assert "✘" not in page.locator("tr", has_text=day(6)).inner_text()
        picture(page, "repaired-grid")
    days = cli("status", "--store", laptop.root / "store", "--json").json["days"]
    assert all(d["states"]["read"] == "done" for d in days if d["day"] > day(8))

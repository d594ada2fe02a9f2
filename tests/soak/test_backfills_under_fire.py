"""Real backfills on a real server while workers are killed, the server hangs, runs are cancelled and ten come at once.

Each test has a laptop of its own: `engraph serve` over a store, a corpus of two weeks, and the clean build to compare with.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flows.browser import CHROMIUM, chromium, picture
from tests.flows.prefect_server import FINAL, Serve, running_serve, until

pytestmark = pytest.mark.soak
DAYS = 14


def day(back: int) -> str:
    return str(dt.datetime.now(dt.UTC).date() - dt.timedelta(days=back))


@dataclass
class Laptop:
    """A folder with corpus, settings and store, over which `engraph serve` is started again and again."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "store"

    def marks(self) -> dict[str, tuple[int, int]]:
        """Finished shards: mark -> (inode, mtime)."""
        found = self.store.glob("lake/*/day=*/*/*/part-*-of-?????.json")
        return {str(f.relative_to(self.store)): (f.stat().st_ino, f.stat().st_mtime_ns) for f in found}

    def window(self, first: int, last: int, **more) -> dict:
        return {"form": {"from_day": day(first), "to_day": day(last), **more}}


@pytest.fixture
def laptop(tmp_path, say) -> Laptop:
    """Two weeks of a session that goes on every day and of one that is the day's own."""
    (tmp_path / "engraph.toml").write_text('buckets = 4\n[corpora.notes]\nsource = "notes/day={day}"\n')
    for back in range(DAYS, 0, -1):
        n = DAYS - back
        rows = say("ann", "long", range(4 * n, 4 * n + 4), day=day(back)) + say("bo", f"s{n}", range(20), day=day(back))
        file = tmp_path / "notes" / f"day={day(back)}" / "chat.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Laptop(tmp_path)


@pytest.fixture
def same_as_one_build(laptop, ingest, differences) -> Iterator[Callable[[], None]]:
    """Fails where the store is not what one ingest of all days makes."""

    def check() -> None:
        ingest(laptop.root / "notes", store=laptop.root / "clean", day=None)
        assert differences(laptop.store, laptop.root / "clean", clock=False) == []

    yield check


def test_a_backfill_whose_worker_is_killed_goes_on_without_redoing_finished_shards(laptop, same_as_one_build):
    with running_serve(laptop.store) as serve:
        run = serve.run("backfill", laptop.window(DAYS, 1, max_parallel=DAYS))
        until(lambda: any(f"day={day(DAYS - 4)}" in mark for mark in laptop.marks()), 180)
        serve.kill()
    finished = laptop.marks()
    assert finished and not (laptop.store / "snapshots").exists()
    with running_serve(laptop.store) as serve:
        state = serve.wait(run, within=300)
        assert state["type"] == "COMPLETED", state["message"]
    after = laptop.marks()
    assert {mark: after.get(mark) for mark in finished} == finished
    assert len(after) > len(finished)
    same_as_one_build()


def test_a_server_that_hangs_for_a_minute_costs_a_running_backfill_nothing(laptop, same_as_one_build):
    with running_serve(laptop.store) as serve:
        run = serve.run("backfill", laptop.window(DAYS, 1, max_parallel=DAYS))
        until(lambda: any(f"day={day(DAYS - 2)}" in mark for mark in laptop.marks()), 180)
        server = server_pid(serve)
        os.kill(server, signal.SIGSTOP)
        time.sleep(60)
        os.kill(server, signal.SIGCONT)
        state = serve.wait(run, within=300)
        assert state["type"] == "COMPLETED", f"{state['message']}\n{serve.words()}"
    same_as_one_build()


def server_pid(serve: Serve) -> int:
    """The process of the Prefect server below `engraph serve`."""
    for pid in serve.children():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"server" in words and b"start" in words and b"flows.serving.leash" not in words:
            return pid
    [leash] = [p for p in serve.children() if b"server" in Path(f"/proc/{p}/cmdline").read_bytes().split(b"\0")]
    return leash


def test_ten_backfills_at_once_keep_to_their_limits_and_none_is_lost(laptop, same_as_one_build, cli):
    with running_serve(laptop.store) as serve:
        windows = [(min(first, DAYS), max(first - 4, 1)) for first in range(5, 15)]
        runs = [serve.run("backfill", laptop.window(*window, reason=f"window {window}")) for window in windows]
        nightly = serve.run("nightly-ingest")
        most = 0
        end = time.monotonic() + 900
        while not all(serve.state(run)["type"] in FINAL for run in [*runs, nightly]):
            assert time.monotonic() < end, serve.words()
            states = Counter(serve.state(run)["type"] for run in runs)
            most = max(most, states["RUNNING"])
            time.sleep(1)
        ends = {run: serve.state(run) for run in [*runs, nightly]}
        assert {state["type"] for state in ends.values()} == {"COMPLETED"}, ends
    assert 1 <= most <= 2
    snapshots = cli("snapshots", "list", "--store", laptop.store, "--json").json
    assert [s["number"] for s in snapshots] == list(range(1, len(snapshots) + 1))
    assert [s["parent"] for s in snapshots] == [None, *range(1, len(snapshots))]
    same_as_one_build()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_a_backfill_cancelled_in_the_ui_stops_within_15_s_and_can_be_asked_for_again(laptop, same_as_one_build):
    with running_serve(laptop.store) as serve, chromium() as page:
        run = serve.run("backfill", laptop.window(DAYS, 1, max_parallel=DAYS))
        until(lambda: any(f"day={day(DAYS - 3)}" in mark for mark in laptop.marks()), 180)
        page.goto(f"{serve.api.removesuffix('/api')}/runs/flow-run/{run}")
        page.locator("button.p-button--destructive", has_text="Cancel").click()
        page.get_by_role("button", name="Confirm").click()
        begun = time.monotonic()
        serve.wait(run, "CANCELLED", within=15)
        until(lambda: not working_on(run), 15 - (time.monotonic() - begun))
        picture(page, "cancelled-run")
        assert not (laptop.store / "lock.json").exists()
        again = serve.run("backfill", laptop.window(DAYS, 1))
        assert serve.wait(again, within=300)["type"] == "COMPLETED"
    same_as_one_build()


def working_on(run: str) -> bool:
    """Whether any process still belongs to a flow run."""
    mark = f"PREFECT__FLOW_RUN_ID={run}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                return True
        except OSError:
            continue
    return False

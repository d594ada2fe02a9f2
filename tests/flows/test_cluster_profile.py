"""The profile `cluster` gives the tables of the profile `local`, whoever began the store and whatever is killed on the way.

Real Spark and real Ray, started by the `engraph` script in processes of its own: six ingests of 20 to 30 s each.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from jobs.engines.profile import ON_RAY, ON_SPARK
from jobs.engines.spark_session import java_version
from jobs.stages import STAGES

pytest.importorskip("ray", reason="the cluster profile is not installed: make setup-cluster")
pytest.importorskip("pyspark", reason="the cluster profile is not installed: make setup-cluster")
pytestmark = pytest.mark.skipif(java_version() is None, reason="Spark needs Java: make setup-cluster")

PATIENCE_S = 300
ORPHANS_S = 90  # Ray's agents try for 60 s to report that their node is gone
QUESTIONS = (
    "Which colour has the hull of the boat?",
    "Where are the bees?",
    "Who bought the boat, and for how much?",
    "What is Ann afraid of?",
    "sourdough starter",
)


@dataclass(frozen=True)
class Process:
    parent: int
    state: str
    command: str


def processes() -> dict[int, Process]:
    """All processes of this machine."""
    found = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found[int(folder.name)] = Process(int(parent), state, command)
    return found


def below(root: int) -> dict[int, Process]:
    """The descendants of a process."""
    everything, found = processes(), {root}
    while more := {pid for pid, process in everything.items() if process.parent in found} - found:
        found |= more
    return {pid: everything[pid] for pid in found - {root} if pid in everything}


@dataclass
class Running:
    """One `engraph ingest --profile cluster`, and all processes that were seen below it."""

    process: subprocess.Popen
    seen: dict[int, str] = field(default_factory=dict)
    out: str = ""
    err: str = ""

    def watch(self, look: Callable[[dict[int, Process]], None] | None = None) -> Running:
        """Wait for the end; `look` is given the processes below it 30 times a second."""
        reading = threading.Thread(target=self._read)
        reading.start()
        until = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            if time.monotonic() > until:
                self.process.kill()
            found = below(self.process.pid)
            self.seen |= {pid: process.command for pid, process in found.items() if pid not in self.seen}
            if look:
                look(found)
            time.sleep(0.03 if look else 1.0)
        reading.join(timeout=30)
        return self

    def _read(self) -> None:
        self.out, self.err = self.process.communicate()

    @property
    def json(self) -> dict:
        assert self.out, self.err
        return json.loads(self.out)

    def left(self) -> dict[int, str]:
        """Processes that were seen below it and still run."""
        running = processes()
        return {
            pid: command
            for pid, command in self.seen.items()
            if pid in running and running[pid].state not in ("Z", "X")
        }


Start = Callable[..., Running]


@pytest.fixture(scope="module")
def start(engraph_script: Path) -> Start:
    """`start(corpus, store, day)`: an ingest on Spark and Ray, under the clock of the fixture `ingest`."""

    def started(corpus: Path, store: Path, day: str, *more: object) -> Running:
        command = [engraph_script, "ingest", corpus, "--store", store, "--profile", "cluster", "--json", "--day", day]
        command += more
        return Running(
            subprocess.Popen(
                [str(a) for a in command] + ["--now", "2026-02-01T00:00:00"],
                env={**os.environ, "ENGRAPH_BUCKETS": "4"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )

    return started


@pytest.fixture(scope="module")
def two_days(tmp_path_factory, corpus_in, say) -> tuple[Path, Path]:
    """A day with a record that is refused; a day on which a session goes on, one is new and a document is edited."""
    folder = tmp_path_factory.mktemp("corpus")
    first, second = corpus_in(folder / "first" / "notes").fill(), corpus_in(folder / "second" / "notes")
    row = say("cut", "s1", range(1), day="2026-01-02")[0]
    first.text("cut.jsonl", json.dumps(row) + "\n" + json.dumps(row)[:-20] + "\n")
    rows = say("ann", "s2", range(6, 9), day="2026-01-03") + say("ann", "s3", range(6), day="2026-01-06")
    second.chat("ann.jsonl", rows)
    second.boat(colour="Its hull is painted blue.")
    return first.folder, second.folder


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Path:
    """What others extracted from a session of the first day and from the document that the second day edits."""
    rows = [
        {"ref": "ann/ann-talk/s1", "granularity": "summary", "text": "Ann and Bo talk of boats and towns."},
        {"ref": "ann/s1-2", "granularity": "fact", "text": "Ann would like a wooden boat."},
        {"ref": "boat.md", "granularity": "fact", "subject": "Dmitri", "predicate": "bought", "object": "wooden boat"},
    ]
    file = tmp_path_factory.mktemp("given") / "given.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@dataclass(frozen=True)
class Stores:
    """A profile's store after the first day and after the second."""

    first: Path
    second: Path


@pytest.fixture(scope="module")
def local(two_days, given, ingest, tmp_path_factory) -> Stores:
    folder = tmp_path_factory.mktemp("local")
    ingest(two_days[0], store=folder / "second", day="2026-01-05", expect=3)
    shutil.copytree(folder / "second", folder / "first")
    ingest(two_days[1], "--extractions", given, store=folder / "second", day="2026-01-06")
    return Stores(folder / "first", folder / "second")


@pytest.fixture(scope="module")
def cluster(two_days, given, start: Start, tmp_path_factory) -> Iterator[Stores]:
    folder = tmp_path_factory.mktemp("cluster")
    one = start(two_days[0], folder / "second", "2026-01-05").watch()
    assert one.process.returncode == 3, one.err
    assert one.json["quarantined"] == 1
    shutil.copytree(folder / "second", folder / "first")
    two = start(two_days[1], folder / "second", "2026-01-06", "--extractions", given).watch()
    assert two.process.returncode == 0, two.err
    yield Stores(folder / "first", folder / "second")
    assert gone(one) == gone(two) == {}


def gone(ran: Running) -> dict[int, str]:
    """What still runs of it after `ORPHANS_S` seconds; returns as soon as nothing does."""
    until = time.monotonic() + ORPHANS_S
    while (left := ran.left()) and time.monotonic() < until:
        time.sleep(0.5)
    return left


def sql(cli, store: Path, query: str) -> list[dict]:
    ran = cli("sql", query, "--store", store, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_both_profiles_make_the_same_tables_of_two_days(local, cluster, differences, cli):
    assert differences(local.first, cluster.first) == []
    assert differences(local.second, cluster.second) == []
    counts = (
        "SELECT (SELECT count(*) FROM quarantine) AS refused, count(*) FILTER (version > 1) AS again FROM memory_units"
    )
    (found,) = sql(cli, cluster.second, counts)
    assert found["refused"] == 1 and found["again"] > 0
    (taken,) = sql(cli, cluster.second, "SELECT count(*) AS n FROM memory_units WHERE extractor LIKE 'import:jsonl@%'")
    assert taken["n"] == 3
    assert cli("doctor", "--store", cluster.second).code == 0


@pytest.mark.parametrize("question", QUESTIONS)
def test_both_profiles_answer_with_the_same_hits(question, local, cluster, cli):
    hits = [cli("recall", question, "--store", s, "--json").json["hits"] for s in (local.second, cluster.second)]
    ids = [[hit["unit_id"] for hit in found] for found in hits]
    assert ids[0] == ids[1] and ids[0]


def test_every_stage_ran_on_the_engine_that_its_profile_names(cluster, local, cli):
    query = "SELECT DISTINCT stage, engine FROM runs ORDER BY ALL"
    on = dict.fromkeys(ON_SPARK, "spark") | dict.fromkeys(ON_RAY, "ray")
    found = sql(cli, cluster.second, query)
    assert found == [{"stage": stage, "engine": on.get(stage, "local")} for stage in sorted([*STAGES, "duckdb"])]
    assert {row["engine"] for row in sql(cli, local.second, query)} == {"local"}


@pytest.mark.soak
def test_a_second_ingest_on_the_cluster_does_nothing(cluster, two_days, start, listing, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(cluster.second, store)
    before = listing(store)
    again = start(two_days[1], store, "2026-01-07").watch()
    assert (again.process.returncode, again.json["snapshot"], again.json["published"]) == (0, 2, False), again.err
    assert all(stage["skipped"] for stage in again.json["stages"])
    assert listing(store) == before
    assert len(again.err.splitlines()) <= 3, again.err


@pytest.mark.soak
def test_a_store_that_the_cluster_began_is_continued_on_one_machine(
    cluster, local, two_days, given, ingest, differences, tmp_path
):
    shutil.copytree(cluster.first, tmp_path / "store")
    ran = ingest(two_days[1], "--extractions", given, store=tmp_path / "store", day="2026-01-06")
    assert ran.json["snapshot"] == 2
    assert differences(local.second, tmp_path / "store") == []


def parts(store: Path, day: str) -> dict[str, dict[str, tuple[int, int]]]:
    """Finished shards of a day: mark -> the files of its shard with their inodes and times."""
    found = {}
    for mark in (store / "lake").glob(f"*/day={day}/*/*/part-*-of-?????.json"):
        files = mark.parent.glob(f"{mark.stem}*")
        found[str(mark.relative_to(store))] = {f.name: (f.stat().st_ino, f.stat().st_mtime_ns) for f in files}
    return found


@pytest.mark.soak
def test_a_driver_that_is_killed_leaves_no_process_and_its_finished_shards_to_the_next(
    local, two_days, given, start, differences, cli, tmp_path
):
    """On a store that one machine began, so this is also its continuation on the cluster."""
    store, day = tmp_path / "store", "2026-01-06"
    shutil.copytree(local.first, store)
    killed = start(two_days[1], store, day, "--extractions", given)

    def kill(found: dict[int, Process]) -> None:
        if any((store / "lake" / "embeddings").glob(f"day={day}/*/*/part-*.json")):
            killed.process.kill()

    killed.watch(kill)
    died = time.monotonic()
    assert killed.process.returncode == -signal.SIGKILL, killed.err
    assert any("java" in command for command in killed.seen.values())
    assert any("raylet" in command for command in killed.seen.values())
    assert cli("recall", QUESTIONS[0], "--store", store, "--json").json["snapshot"] == 1
    time.sleep(3)  # what Spark's and Ray's last tasks were writing
    finished = parts(store, day)
    assert {mark.split("/")[1] for mark in finished} >= {"memory_units", "embeddings"}
    assert not [mark for mark in finished if mark.startswith("lake/triples")]

    rerun = start(two_days[1], store, day, "--extractions", given).watch()
    assert (rerun.process.returncode, rerun.json["snapshot"]) == (0, 2), rerun.err
    assert differences(local.second, store) == []
    after = parts(store, day)
    assert {mark: after.get(mark) for mark in finished} == finished
    assert len(after) > len(finished)
    assert gone(killed) == {}, f"{time.monotonic() - died:.0f} s after their driver"
    assert cli("doctor", "--store", store).code == 0


@pytest.mark.soak
def test_killed_workers_of_spark_and_ray_lose_and_double_nothing(local, two_days, start, differences, cli, tmp_path):
    store = tmp_path / "store"
    running = start(two_days[0], store, "2026-01-05")
    killed: dict[str, int] = {}

    def kill(found: dict[int, Process]) -> None:
        """The first Python worker of Spark that is forked, one after read, and the first Ray worker that encodes."""
        read = any((store / "lake" / "turns").rglob("manifest.json"))
        for pid, process in found.items():
            spark = "pyspark.daemon" in process.command and "pyspark.daemon" in running.seen.get(process.parent, "")
            kind = "encoder" if process.command.startswith("ray::MapBatches(embed)") else ""
            kind = kind or ("segmenting" if spark and read else "reading" if spark else "")
            if kind and kind not in killed and pid not in killed.values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed[kind] = pid

    running.watch(kill)
    assert running.process.returncode == 3, running.err
    assert killed.keys() == {"reading", "segmenting", "encoder"}
    assert differences(local.first, store) == []
    assert sql(cli, store, "SELECT count(*) AS n FROM quarantine") == [{"n": 1}]
    assert cli("doctor", "--store", store).code == 0

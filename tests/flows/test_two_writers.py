"""Two writers at once: one waits and says for whom, both land, nothing is doubled; publishing is exclusive by itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

import engraph
from jobs.store import lock, snapshots
from jobs.store.lake import Lake
from schemas.errors import PublishConflict, StoreLocked

NOW = ("--now", "2026-02-01T00:00:00", "--day", "2026-01-05")


@pytest.fixture
def start(engraph_script):
    """Start a real process of the command line; what is still running at the end is stopped."""
    running = []

    def run(*arguments: object, **environment: str) -> subprocess.Popen:
        command = [str(engraph_script), *(str(a) for a in arguments)]
        process = subprocess.Popen(
            command, env={**os.environ, "ENGRAPH_BUCKETS": "4", **environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to it"
        time.sleep(0.02)


def test_two_ingests_at_once_both_land_and_nothing_is_doubled(corpus, say, start, ingest, differences, tmp_path):
    """Both deliver ann's sessions, each brings something of its own."""
    shared = say("ann", "s1", range(7), day="2026-01-02")
    one = corpus.chat("one/talk.jsonl", shared + say("bo", "s1", range(7), day="2026-01-02"))
    two = corpus.chat("two/talk.jsonl", shared + say("carla", "s1", range(7), day="2026-01-02"))
    store = tmp_path / "store"
    both = [start("ingest", source, "--store", store, "--json", *NOW) for source in (one, two)]
    done = [(p, *p.communicate(timeout=120)) for p in both]
    assert [p.returncode for p, _, _ in done] == [0, 0], done
    assert sorted(json.loads(out)["snapshot"] for _, out, _ in done) == [1, 2]
    waiting = [(p, err) for p, _, err in done if "waiting for engraph ingest (process" in err]
    assert len(waiting) == 1
    (holder,) = [p for p in both if p is not waiting[0][0]]
    assert f"process {holder.pid} on" in waiting[0][1]
    for source in (one, two) if holder is both[0] else (two, one):
        ingest(source, store=tmp_path / "in-turn")
    assert differences(store, tmp_path / "in-turn") == []
    with engraph.open(store) as opened:
        assert opened.table("turns").num_rows == 21


def test_who_does_not_want_to_wait_is_told_who_holds_the_lock(copied, start):
    corpus, store = copied
    with lock.writing(Lake(store), "a test that takes its time"):
        process = start("ingest", corpus.folder, "--store", store, *NOW, ENGRAPH_LOCK_WAIT_S="0")
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"a test that takes its time (process {os.getpid()} on" in err
    assert len(err.strip().splitlines()) == 1


def test_a_writer_waits_until_the_lock_is_free(copied, start):
    corpus, store = copied
    with lock.writing(Lake(store), "a test that takes its time"):
        process = start("ingest", corpus.folder, "--store", store, *NOW)
        assert process.stderr is not None
        assert "waiting for a test that takes its time" in process.stderr.readline()
        assert process.poll() is None
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_the_lock_of_a_killed_writer_is_taken_over(copied, say, start, cli):
    corpus, store = copied
    corpus.chat("more.jsonl", say("bo", "s3", range(9), day="2026-01-05"))
    victim = start("ingest", corpus.folder, "--store", store, *NOW)
    wait_for(lambda: (store / lock.NAME).exists())
    victim.send_signal(signal.SIGKILL)
    victim.wait(timeout=30)
    assert (store / lock.NAME).exists()
    ran = cli("ingest", corpus.folder, "--store", store, "--json", *NOW, ENGRAPH_LOCK_WAIT_S="0")
    assert ran.code == 0 and ran.json["snapshot"] == 2, ran.err
    assert not (store / lock.NAME).exists()


ROUNDS = 5


def test_of_many_that_find_a_stale_lock_one_holds_it_at_a_time(tmp_path: Path):
    """A killed writer's lock is taken over by eight threads at once, again and again."""
    lake = Lake(tmp_path)
    inside, most = [], []

    def write() -> None:
        try:
            with lock.writing(lake, "a test", wait_s=30):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.005)
                inside.pop()
        except StoreLocked as problem:
            most.append(99)
            raise problem

    stale = {"token": "0", "purpose": "a killed test", "host": socket.gethostname(), "pid": 2**22 + 1}
    stale["expires"] = "2999-01-01T00:00:00+00:00"
    for _ in range(ROUNDS):
        lake.write_atomic(lock.NAME, json.dumps(stale).encode())
        threads = [threading.Thread(target=write) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(most) == ROUNDS * 8 and max(most) == 1


def test_publishing_is_exclusive_even_without_the_lock(copied):
    lake = Lake(copied[1])
    newest = snapshots.current(lake)
    mine = newest.model_copy(update={"number": 2, "run_id": "mine"})
    snapshots.publish(lake, mine)
    with pytest.raises(PublishConflict, match="run again"):
        snapshots.publish(lake, mine.model_copy(update={"run_id": "theirs"}))
    assert snapshots.current(lake).run_id == "mine"

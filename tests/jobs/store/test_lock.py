"""The writer's lock: one holder, and no lock outlives its writer for long."""

import datetime as dt
import json
import subprocess
import sys
import threading
import time

import pytest

from jobs.store import lock
from schemas.errors import StoreError, StoreLocked


def plant(lake, **changes) -> dict:
    """A lock of a living writer on another machine, but for `changes`."""
    claim = {
        "token": "t",
        "purpose": "engraph ingest",
        "host": "another-machine",
        "pid": 1,
        "expires": (dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)).isoformat(),
    }
    lake.write_atomic(lock.NAME, json.dumps(claim | changes).encode())
    return claim | changes


def this_host(lake) -> str:
    with lock.writing(lake, "asking"):
        return lock.holder(lake)["host"]


def test_the_lock_is_held_inside_and_gone_afterwards(lake):
    with lock.writing(lake, "engraph ingest"):
        assert lock.holder(lake)["purpose"] == "engraph ingest"
    assert lock.holder(lake) is None


def test_the_lock_is_gone_after_an_error_too(lake):
    with pytest.raises(ZeroDivisionError), lock.writing(lake, "engraph ingest"):
        raise ZeroDivisionError
    assert lock.holder(lake) is None


def test_a_second_writer_is_told_who_writes_once_and_then_refused(lake):
    told = []
    with (
        lock.writing(lake, "engraph backfill"),
        pytest.raises(StoreLocked, match=r"engraph backfill \(process"),
        lock.writing(lake, "engraph ingest", wait_s=0.5, waiting=told.append),
    ):
        pass
    assert len(told) == 1
    assert "engraph backfill" in told[0]


def test_a_waiting_writer_gets_the_lock_when_the_first_ends(local_lake):
    got = threading.Event()

    def second() -> None:
        with lock.writing(local_lake, "second", wait_s=10):
            got.set()

    with lock.writing(local_lake, "first"):
        thread = threading.Thread(target=second)
        thread.start()
        assert not got.wait(0.3)
    thread.join()
    assert got.is_set()


def test_a_lock_past_its_expiry_is_taken_over(lake):
    plant(lake, expires=(dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)).isoformat())
    with lock.writing(lake, "engraph ingest", wait_s=0):
        assert lock.holder(lake)["purpose"] == "engraph ingest"
    assert [n for n in lake.names("") if not n.startswith(".")] == []


def test_a_lock_of_a_dead_process_of_this_machine_is_taken_over(lake):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    plant(lake, host=this_host(lake), pid=dead.pid)
    with lock.writing(lake, "engraph ingest", wait_s=0):
        assert lock.holder(lake)["purpose"] == "engraph ingest"


def test_a_process_number_of_another_machine_says_nothing(lake):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    plant(lake, pid=dead.pid)
    with pytest.raises(StoreLocked, match="another-machine"), lock.writing(lake, "engraph ingest", wait_s=0):
        pass


def test_the_lock_is_renewed_while_its_writer_lives(lake):
    with lock.writing(lake, "engraph ingest", lifetime=dt.timedelta(seconds=0.4)):
        first = lock.holder(lake)
        time.sleep(0.6)
        later = lock.holder(lake)
        assert (later["token"], later["purpose"]) == (first["token"], first["purpose"])
        assert dt.datetime.fromisoformat(later["expires"]) > dt.datetime.now(dt.UTC)


def test_a_writer_that_lost_its_lock_does_not_take_the_new_holders_away(lake):
    with lock.writing(lake, "slow"):
        other = plant(lake)
    assert lock.holder(lake) == other


def test_a_taker_that_comes_late_leaves_the_new_holders_lock_alone(lake):
    stale = plant(lake, token="stale")
    fresh = plant(lake, token="fresh")
    lock._break_stale(lake, stale)
    assert lock.holder(lake) == fresh
    assert [n for n in lake.names("") if not n.startswith(".")] == [lock.NAME]


def test_a_damaged_lock_is_an_error_that_says_what_to_do(lake):
    lake.write_atomic(lock.NAME, b"{")
    with pytest.raises(StoreError, match="remove it if no writer is running"), lock.writing(lake, "engraph ingest"):
        pass

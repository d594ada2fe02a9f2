"""Snapshots: one winner per number, versions that can be found, compared, restored, pinned and collected."""

import datetime as dt
import json
import subprocess
import sys

import pytest

from jobs.store import ledger, snapshots
from schemas.errors import PublishConflict, StoreError
from schemas.manifest import Catalogue, Snapshot


@pytest.fixture
def publish(lake, make):
    """Publishes the next snapshot over the given filesets and returns it."""

    def next_snapshot(*filesets, rows=None, index=None, hours=0) -> Snapshot:
        catalogue = Catalogue()
        for fileset in filesets:
            catalogue.put(fileset)
        number = (snapshots.numbers(lake) or [0])[-1] + 1
        snapshot = Snapshot(
            number=number,
            parent=number - 1 or None,
            created_at=make.NOW + dt.timedelta(hours=hours),
            run_id=f"run-{number}",
            encoder="toy@f32",
            identity="i",
            filesets=catalogue.to_json(),
            index=index or {},
            rows=rows or {},
        )
        return snapshots.publish(lake, snapshot)

    return next_snapshot


def test_a_store_is_made_once_and_keeps_its_buckets(lake, make):
    with pytest.raises(StoreError, match="no store at"):
        snapshots.open_store(lake)
    assert snapshots.make_store(lake, buckets=4, now=make.NOW).buckets == 4
    assert snapshots.make_store(lake, buckets=9, now=make.NOW).buckets == 4
    assert snapshots.open_store(lake).buckets == 4


def test_a_store_of_another_format_is_refused(lake, make):
    info = snapshots.make_store(lake, buckets=4, now=make.NOW)
    lake.write_atomic(snapshots.INFO, info.model_copy(update={"format": 99}).model_dump_json().encode())
    with pytest.raises(StoreError, match="format 99"):
        snapshots.open_store(lake)


def test_of_two_writers_of_one_number_the_second_is_told_to_run_again(lake, publish):
    first = publish()
    with pytest.raises(PublishConflict, match="snapshot 1 was published by another writer"):
        snapshots.publish(lake, first.model_copy(update={"run_id": "late"}))
    assert snapshots.current(lake) == first


def test_the_newest_number_is_current_whatever_the_hint_says(lake, publish):
    assert snapshots.current(lake) is None
    publish()
    second = publish()
    lake.write_atomic("CURRENT", b"1\n")
    assert snapshots.current(lake) == second
    assert snapshots.numbers(lake) == [1, 2]


def test_numbers_are_ordered_as_numbers(lake, publish):
    for _ in range(11):
        publish()
    assert snapshots.numbers(lake) == list(range(1, 12))
    assert snapshots.current(lake).number == 11


def test_as_of_finds_the_snapshot_that_was_newest_then(lake, publish, make):
    for hours in (0, 2, 4):
        publish(hours=hours)
    at = lambda hours: snapshots.as_of(lake, make.NOW + dt.timedelta(hours=hours)).number  # noqa: E731
    assert [at(h) for h in (0, 1, 2, 3, 99)] == [1, 1, 2, 2, 3]
    with pytest.raises(StoreError, match="no snapshot was published by"):
        at(-1)


def test_a_snapshot_that_is_not_there_is_named_with_those_that_are(lake, publish):
    with pytest.raises(StoreError, match="no snapshot yet"):
        snapshots.load(lake, 1)
    publish()
    with pytest.raises(StoreError, match="there is no snapshot 7; there are 1 to 1"):
        snapshots.load(lake, 7)


def test_diff_names_rows_partitions_and_shards_that_differ(lake, publish, make):
    same, old, new = (
        make.fileset(fingerprint=c * 32, day=make.DAY + dt.timedelta(days=i)) for i, c in enumerate("abc")
    )
    new = make.fileset(fingerprint="c" * 32, day=old.day)
    publish(same, old, rows={"turns": 3, "edges": 2}, index={"0": "x", "1": "y"})
    publish(same, new, rows={"turns": 5, "facts": 1}, index={"0": "x", "1": "z"})
    assert snapshots.diff(lake, 1, 2) == {
        "a": 1,
        "b": 2,
        "rows": {"turns": 2, "edges": -2, "facts": 1},
        "partitions": [{"table": "assignments", "day": old.day.isoformat(), "bucket": 0}],
        "index_shards": ["1"],
    }
    assert snapshots.diff(lake, 2, 2)["partitions"] == []


def test_rollback_publishes_the_old_content_under_the_next_number(lake, publish, make):
    old = publish(make.fileset(), rows={"turns": 1})
    publish()
    back = snapshots.rollback(lake, 1, now=make.NOW, run_id="r")
    assert (back.number, back.parent, back.restored_from) == (3, 2, 1)
    assert back.catalogue() == old.catalogue()
    assert snapshots.current(lake) == back
    with pytest.raises(StoreError, match="no snapshot 9"):
        snapshots.rollback(lake, 9, now=make.NOW, run_id="r")


def test_gc_removes_what_no_kept_snapshot_names_and_nothing_else(lake, publish, make):
    shared, old, new, orphan = (make.fileset(fingerprint=c * 32) for c in "abcd")
    for address in (shared, old, new, orphan):
        make.write(lake, address, make.assignments("x"))
    lake.write_atomic(f"{new.folder}/part-00000-of-00001-dead.parquet", b"a killed attempt")
    for shard in ("1" * 32, "2" * 32):
        lake.write_atomic(f"index/{shard}/shard-0000/manifest.json", b"{}")
    publish(old, index={"0": f"{'1' * 32}/shard-0000"})
    publish(new, index={"0": f"{'2' * 32}/shard-0000"})
    for number in (1, 2):
        lake.write_atomic(f"snapshots/{number}/report.html", b"<html>")
    planned = snapshots.collect_garbage(lake, keep=1, dry_run=True)
    assert len(snapshots.numbers(lake)) == 2
    done = snapshots.collect_garbage(lake, keep=1)
    assert done["removed"] == planned["removed"]
    assert done["kept"] == [2]
    assert snapshots.numbers(lake) == [2]
    assert not lake.exists("snapshots/1/report.html") and lake.exists("snapshots/2/report.html")
    assert lake.complete(new)
    assert lake.verify([new]) == []
    assert not any(lake.complete(f) for f in (shared, old, orphan))
    assert not any("dead" in name for name in lake.names(new.folder))
    assert lake.names("index") == ["2" * 32]
    assert snapshots.collect_garbage(lake, keep=1)["removed"] == []


def test_a_pinned_snapshot_survives_gc_until_it_is_let_go(lake, publish, make):
    old, new = make.fileset(fingerprint="a" * 32), make.fileset(fingerprint="b" * 32)
    for address in (old, new):
        make.write(lake, address, make.assignments("x"))
    publish(old)
    publish(new)
    pin = snapshots.pin(lake, 1)
    assert snapshots.pinned(lake) == {1}
    snapshots.collect_garbage(lake, keep=1)
    assert snapshots.numbers(lake) == [1, 2]
    assert lake.complete(old)
    lake.remove(pin)
    snapshots.collect_garbage(lake, keep=1)
    assert snapshots.numbers(lake) == [2]
    assert not lake.complete(old)


@pytest.mark.parametrize("end", ["dead", "expired"])
def test_pins_of_dead_processes_and_expired_ones_hold_nothing(lake, publish, end):
    publish()
    name = snapshots.pin(lake, 1)
    claim = json.loads(lake.read_bytes(name))
    if end == "dead":
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        claim["pid"] = process.pid
    else:
        claim |= {"host": "another-machine", "expires": "2020-01-01T00:00:00+00:00"}
    lake.write_atomic(name, json.dumps(claim).encode())
    assert snapshots.pinned(lake) == set()
    assert not lake.exists(name)


def test_what_is_appended_to_the_ledger_is_read_back_in_full(lake, make):
    assert ledger.read(lake, "evaluations").num_rows == 0
    row = {
        "snapshot": 1,
        "dataset": "own",
        "category": "all",
        "metric": "recall@10",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "n": 10,
        "at": make.NOW,
    }
    ledger.append(lake, "evaluations", [row])
    ledger.append(lake, "evaluations", [row | {"metric": "ndcg@10"}, row | {"metric": "mrr"}])
    ledger.append(lake, "evaluations", [])
    found = ledger.read(lake, "evaluations")
    assert sorted(found["metric"].to_pylist()) == ["mrr", "ndcg@10", "recall@10"]
    assert len(ledger.files(lake, "evaluations")) == 2

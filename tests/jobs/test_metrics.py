"""What Prometheus is told: what the ledger and the newest snapshot say, at every scrape, and cheaply however long the history."""

from __future__ import annotations

import datetime as dt

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flows.serving.metrics import exposed
from jobs import measure_store
from jobs.measure_store import StoreCollector
from jobs.store import ledger, snapshots
from jobs.store.lake import Lake
from schemas.errors import EngraphError
from schemas.manifest import Snapshot

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def stage(name="embed", status="done", seconds=2.0, at=NOW):
    return {
        "run_id": "r1", "stage": name, "day": at.date(), "bucket": 0, "fingerprint": "f", "engine": "local", "status": status,
        "rows_in": 1, "rows_out": 1, "rows_quarantined": 0, "seconds": seconds, "tokens_in": 0, "tokens_out": 0, "usd": 0.0,
        "started_at": at, "error": "out of memory" if status == "failed" else None,
    }  # fmt: skip


def evaluation(value, at=NOW, category="all"):
    return {
        "snapshot": 1, "dataset": "golden", "category": category, "metric": "recall@10", "value": value, "low": 0.0, "high": 1.0,
        "n": 10, "at": at,
    }  # fmt: skip


def publish(lake, number, *, age_s, rows):
    made = NOW - dt.timedelta(seconds=age_s)
    snapshots.publish(
        lake,
        Snapshot(
            number=number, parent=number - 1 or None, created_at=made, run_id="r1", encoder="e", identity="i", filesets={},
            index={}, rows=rows,
        ),
    )  # fmt: skip


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(measure_store, "AT_LEAST_S", 0.0)  # tests look again at once
    lake = Lake(tmp_path / "store")
    snapshots.make_store(lake, buckets=4, now=NOW)
    return lake


def scrape(collector):
    """name -> {labels: value} of one scrape, through the text that Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(collector)
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_stages_snapshot_and_recall_are_what_the_store_says(store):
    ledger.append(store, "runs", [stage(), stage(), stage(status="failed", seconds=1.0), stage("link", "skipped", 0.0)])
    others = [evaluation(0.1, category="temporal"), evaluation(0.3) | {"ranking": "memgas"}]
    ledger.append(store, "evaluations", [evaluation(0.5) | {"ranking": "recall"}, *others])
    publish(store, 1, age_s=3600, rows={"memory_units": 7, "quarantine": 2})
    found = scrape(StoreCollector(store.url, clock=lambda: NOW))
    assert found["engraph_stage_runs_total"] == {("embed", "done"): 2, ("embed", "failed"): 1, ("link", "skipped"): 1}
    assert found["engraph_stage_seconds_total"] == {("embed",): 5.0, ("link",): 0.0}
    assert found["engraph_stage_failures_total"] == {("embed",): 1, ("link",): 0}
    assert found["engraph_snapshot_age_seconds"] == {(): 3600}
    assert found["engraph_snapshot_number"] == {(): 1}
    assert found["engraph_rows"] == {("memory_units",): 7, ("quarantine",): 2}
    assert found["engraph_quarantine_rows"] == {(): 2}
    assert found["engraph_recall"] == {("golden", "recall@10"): 0.5}
    assert found["engraph_store_up"] == {(): 1}


def test_the_next_scrape_sees_what_was_added_and_nothing_twice(store):
    collector = StoreCollector(store.url, clock=lambda: NOW)
    ledger.append(store, "runs", [stage()])
    ledger.append(store, "evaluations", [evaluation(0.5)])
    publish(store, 1, age_s=100, rows={"turns": 1})
    assert scrape(collector) == scrape(collector)
    ledger.append(store, "runs", [stage(seconds=3.0)])
    ledger.append(
        store,
        "evaluations",
        [evaluation(0.9, at=NOW + dt.timedelta(days=1)), evaluation(0.2, at=NOW - dt.timedelta(days=1))],
    )
    publish(store, 2, age_s=10, rows={"turns": 5})
    found = scrape(collector)
    assert (
        found["engraph_stage_runs_total"][("embed", "done")] == 2
        and found["engraph_stage_seconds_total"][("embed",)] == 5.0
    )
    assert found["engraph_recall"][("golden", "recall@10")] == 0.9
    assert found["engraph_snapshot_number"][()] == 2 and found["engraph_rows"][("turns",)] == 5


def test_history_that_was_erased_is_counted_no_more(store):
    collector = StoreCollector(store.url, clock=lambda: NOW)
    ledger.append(store, "runs", [stage()])
    ledger.append(store, "runs", [stage("link")])
    assert len(scrape(collector)["engraph_stage_runs_total"]) == 2
    for name in store.names("ledger/runs")[:1]:
        store.remove(f"ledger/runs/{name}")
    assert len(scrape(collector)["engraph_stage_runs_total"]) == 1


def test_an_empty_store_and_one_that_is_not_there_are_no_failed_scrape(store, tmp_path):
    assert scrape(StoreCollector(store.url))["engraph_store_up"] == {(): 1}
    assert "engraph_snapshot_number" not in scrape(StoreCollector(store.url))
    gone = scrape(StoreCollector("s3://no-such-bucket-of-ours/store"))
    assert gone["engraph_store_up"] == {(): 0}


def test_a_scrape_of_a_year_of_nights_reads_no_file_a_second_time(store, monkeypatch):
    for night in range(365):
        at = NOW - dt.timedelta(days=night)
        ledger.append(store, "runs", [stage(name, at=at) for name in ("read", "segment", "embed", "link", "index")])
    collector = StoreCollector(store.url, clock=lambda: NOW)
    first = scrape(collector)
    assert sum(first["engraph_stage_runs_total"].values()) == 365 * 5
    read, really = [], measure_store.ds.dataset

    def dataset(names, **how):
        read.append(names)
        return really(names, **how)

    monkeypatch.setattr(measure_store.ds, "dataset", dataset)
    assert scrape(collector) == first
    assert read == []
    ledger.append(store, "runs", [stage()])
    assert sum(scrape(collector)["engraph_stage_runs_total"].values()) == 365 * 5 + 1
    assert [len(names) for names in read] == [1]


def test_it_is_served_over_http_and_a_taken_port_is_named(store):
    ledger.append(store, "runs", [stage()])
    with exposed(store.url, "127.0.0.1", 0) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
        assert 'engraph_stage_runs_total{stage="embed",status="done"} 1.0' in answer.text
        with pytest.raises(EngraphError, match=f"127.0.0.1:{port}"), exposed(store.url, "127.0.0.1", port):
            pass
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=2)


def test_reports_that_nights_left_are_read_on_this_machine_only(tmp_path):
    lake = Lake(tmp_path / "store")
    lake.write_atomic("snapshots/3/report.html", "<h1>Ünits</h1>".encode())
    with exposed(lake.url, "127.0.0.1", 0) as port:
        base = f"http://127.0.0.1:{port}"
        kept = httpx.get(f"{base}/report/3")
        assert kept.text == "<h1>Ünits</h1>" and kept.headers["content-type"] == "text/html; charset=utf-8"
        assert httpx.get(f"{base}/report/4").status_code == 404
        assert httpx.get(f"{base}/report/3", headers={"Host": "memory.example.com"}).status_code == 404
        assert "engraph_store_up" in httpx.get(f"{base}/report/../metrics").text
    with exposed(lake.url, "0.0.0.0", 0) as port:
        assert "Ünits" not in httpx.get(f"http://127.0.0.1:{port}/report/3").text

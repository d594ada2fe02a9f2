"""A tiny run of each measurement: the figures it must get right whatever the machine, and the table around them."""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest

from jobs import benchmarks
from jobs.benchmarks import ann, embed, ingest, made_up, recall, recall_made_up
from jobs.benchmarks.surroundings import run_python
from schemas.errors import EngraphError, UsageError

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
NO_SAMPLE = Path("no-such-folder")


def test_made_up_sentences_are_distinct_and_the_same_every_time():
    for sample in (made_up.SAMPLE, NO_SAMPLE):
        first = made_up.sentences(5000, sample)
        assert len(set(first)) == len(first) == 5000
        assert made_up.sentences(100, sample) == first[:100]


def test_a_larger_corpus_begins_with_the_smaller_one_and_fills_namespaces_in_sessions():
    small, large = (list(made_up.conversation_lines(n)) for n in (150, 300))
    assert large[:150] == small
    rows = [json.loads(line) for line in large]
    assert len({r["namespace"] for r in rows}) == 3
    assert len({(r["namespace"], r["session_id"]) for r in rows}) == 15
    assert len({(r["namespace"], r["session_id"], r["message_id"]) for r in rows}) == 300


def test_the_peak_of_a_command_is_its_own_and_counts_its_children(tmp_path):
    ballast = bytearray(400 << 20)
    ballast[:: 1 << 12] = b"x" * len(ballast[:: 1 << 12])
    small = run_python(["-c", "import time; time.sleep(0.3)"], tmp_path)
    hold = "import time; b = bytearray(100 << 20); b[::4096] = b'x' * len(b[::4096]); time.sleep(0.3)"
    parent = f"import subprocess, sys; {hold}; subprocess.run([sys.executable, '-c', {hold!r}])"
    large = run_python(["-c", parent], tmp_path)
    assert small.peak_mb < 50
    assert 200 < large.peak_mb < 300
    assert large.seconds > 0.6


def test_a_command_that_fails_is_an_error_that_shows_what_it_said(tmp_path):
    with pytest.raises(EngraphError, match="exit code 7: out of luck"):
        run_python(["-c", "import sys; print('out of luck', file=sys.stderr); sys.exit(7)"], tmp_path)


def test_both_encoders_are_measured_and_give_the_same_vectors(tmp_path):
    file = tmp_path / "sentences.txt"
    file.write_text("\n\n".join(made_up.sentences(80)))
    peer, ours = embed.measure(embed.load_sentences(file, 60), encoder="all-MiniLM-L6-v2@f32", rounds=1)
    assert "60 sentences" in ours["measured"]
    assert ours["lowest_cosine"] > 0.9999
    assert ours["ratio"] == pytest.approx(ours["sentences/s"] / peer["sentences/s"], rel=0.01)


def test_sentences_are_read_from_gzip_and_an_empty_file_is_refused(tmp_path):
    import gzip

    packed = tmp_path / "s.txt.gz"
    packed.write_bytes(gzip.compress("één\n\n twee \n".encode()))
    assert embed.load_sentences(packed, 10) == ["één", " twee "]
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    with pytest.raises(UsageError, match="one sentence a line"):
        embed.load_sentences(empty, 10)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    from flows.build import Surroundings
    from flows.ingest import ingest as run_ingest
    from pipelines.readers import ReadParams

    folder = tmp_path_factory.mktemp("recall")
    (folder / "talk.jsonl").write_text("\n".join(made_up.conversation_lines(120)))
    run_ingest([str(folder / "talk.jsonl")], Surroundings(str(folder / "store"), NOW, buckets=2), read=ReadParams())
    return folder / "store"


def test_recall_is_measured_apart_from_encoding_in_one_namespace_and_in_all(store):
    rows = recall.measure(str(store), None, 8)
    assert [(r["part"], r["scope"]) for r in rows] == [
        (part, scope)
        for scope in ("one namespace", "all namespaces")
        for part in ("encode the question", "Engraph search", recall.SCAN)
    ]
    assert rows[4]["leaves"] == 120 > rows[1]["leaves"] > 0
    assert all(0 < r["p50_ms"] <= r["p99_ms"] for r in rows)
    assert rows[5]["ratio_to_scan"] == 1


def test_a_namespace_to_ask_in_is_made_up_where_its_size_is_named(monkeypatch):
    monkeypatch.setattr(recall_made_up, "CORPORA", {"documents": recall_made_up.CORPORA["documents"]})
    rows = benchmarks.run("recall", units=300, limit=5, now=NOW)
    assert [r["part"] for r in rows] == ["encode the question", "Engraph search", recall.SCAN]
    assert all(r["corpus"] == "documents" and 200 < r["units"] < 400 and r["p50_ms"] > 0 for r in rows)
    assert all(r["questions"] == 5 for r in rows)


def test_recall_takes_questions_from_a_file_with_or_without_namespace(store, tmp_path):
    file = tmp_path / "q.jsonl"
    file.write_text('{"text": "Where is the cat?", "namespace": "person-00001"}\n\n{"text": "Who paid?"}\n')
    rows = recall.measure(str(store), file, 8)
    assert "2 questions" in rows[0]["measured"]
    file.write_text('{"question": "Who paid?"}\n')
    with pytest.raises(UsageError, match="line 1 is no question"):
        recall.measure(str(store), file, 8)


SIDES = ("engraph", "faiss-hnsw", "faiss-on-disk", "hnswlib", "faiss-flat")


def test_ann_is_raced_against_peers_and_the_exact_index_finds_everything(tmp_path):
    rows = ann.measure(None, 3000, dim=16, sides=SIDES)
    ours, hnsw, on_disk, hnswlib, flat = rows
    assert [len(row) for row in rows] == [len(ours)] * 5  # one table
    assert flat["best_recall"] == 1 and flat["qps@0.99"] > 0
    assert ours["best_recall"] >= 0.99 and hnsw["best_recall"] > 0.9
    assert flat["disk_mb"] == pytest.approx(2700 * 16 * 4 / 1e6, rel=0.01)
    assert ours["anon_mb"] is None or 0 <= ours["anon_mb"] < 20
    assert 0 < ours["p50_ms@0.95"] <= ours["p99_ms@0.95"] and ours["cold_p50_ms@0.95"] > 0
    assert on_disk["cold_p50_ms@0.90"] > 0 and hnsw["cold_p50_ms@0.90"] is None
    assert hnswlib["qps@0.90"] if ann.installed(ann.PEERS["hnswlib"]) else "pip install hnswlib" in hnswlib["note"]
    assert "2,700 vectors of 16 dimensions, ip" in ours["measured"]


def test_ann_measures_vectors_of_any_length_by_distance(tmp_path):
    file = tmp_path / "v.npy"
    np.save(file, 7 * ann.clustered(600, 8).astype(np.float16))
    (row,) = ann.measure(file, 500, sides=("engraph",))
    assert row["best_recall"] >= 0.99
    assert "450 vectors of 8 dimensions, l2" in row["measured"]
    np.save(file, np.arange(5))
    with pytest.raises(UsageError, match="n, dim"):
        ann.measure(file, None)


def test_the_best_point_of_a_curve_is_the_best_of_those_that_reach_the_target():
    points = [{"recall": r, "qps": q} for r, q in ((0.8, 900), (0.96, 300), (0.95, 200), (0.99, 100))]
    assert [(ann._at(points, target, "qps") or {}).get("qps") for target in (0.9, 0.97, 0.995)] == [300, 100, None]


def test_curves_are_drawn_into_a_file(tmp_path):
    points = [{"recall": 0.9, "qps": 1000}, {"recall": 0.99, "qps": 100}]
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        with pytest.raises(UsageError, match="make bench"):
            ann.plot({"one": points}, tmp_path / "plot.svg")
        return
    ann.plot({"one": points, "another": points}, tmp_path / "plot.svg")
    assert "recall@10" in (tmp_path / "plot.svg").read_text() or (tmp_path / "plot.svg").stat().st_size > 5000


def test_recall_at_k_counts_what_both_found():
    truth = np.array([[1, 2], [3, 4]])
    assert ann.recall_at_k(np.array([[2, 9], [4, 3]]), truth) == 0.75


@pytest.mark.soak
def test_ingest_is_measured_at_growing_sizes_by_the_real_command():
    small, large = ingest.measure(30, (1, 2))
    assert (small["turns"], large["turns"]) == (30, 60)
    assert large["units"] > small["units"] > 30
    assert small["peak_growth"] == 1
    assert small["peak_rss_mb"] is None or 100 < small["peak_rss_mb"] < 10_000
    assert large["disk_mb"] > small["disk_mb"] > 0


def test_every_table_says_when_at_which_commit_and_on_what_it_was_measured():
    rows = benchmarks.run("embed", limit=20, now=NOW)
    table = benchmarks.as_markdown(rows).splitlines()
    assert "date 2026-03-01. commit " in table[0]
    assert f"machine {rows[0]['machine']}" in table[0]
    assert " cores" in rows[0]["machine"]
    assert len(table) == 2 + 2 + len(rows)
    assert len({line.count("|") for line in table[2:]}) == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"kind": "speed"}, "use one of embed, ingest, recall, ann"),
        ({"kind": "embed", "limit": 0}, "leaves nothing to measure"),
        ({"kind": "embed", "data": Path("no-such-file.txt")}, "no file"),
        ({"kind": "recall"}, "--store"),
        ({"kind": "recall", "units": 0}, "1 or more"),
        ({"kind": "ingest", "units": 10}, "bench recall"),
        ({"kind": "ingest", "data": Path(__file__)}, "leave DATA out"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_advice(arguments, told):
    with pytest.raises(UsageError, match=told):
        benchmarks.run(**arguments, now=NOW)


def test_the_graphs_parts_agree_with_their_peers():
    rows = benchmarks.run("graph", limit=2_000, now=NOW)
    agreement = {row["part"]: row["agreement"] for row in rows if row["agreement"] is not None}
    difference = agreement.pop("igraph prpack, largest difference to exact")
    assert difference <= 1e-6 and len(agreement) == 3
    assert all(row["agreement"] >= 0.97 for row in rows if row["part"] in agreement)
    with pytest.raises(UsageError, match="leave DATA out"):
        benchmarks.run("graph", Path(__file__), now=NOW)

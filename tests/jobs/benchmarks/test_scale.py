"""Tiny builds: what a measurement at scale must get right whatever the machine, and the arithmetic on top of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest

from infra import scaling
from infra.readme import fill
from jobs import benchmarks
from jobs.benchmarks import cost_model, scale
from jobs.benchmarks.agent_corpus import corpus_lines, night_lines
from jobs.benchmarks.planted_vectors import planted
from jobs.benchmarks.process_tree import descendants, measured
from jobs.benchmarks.scale_run import NOW
from jobs.stages import STAGES
from schemas.errors import UsageError
from schemas.ids import content_hash
from schemas.settings import Settings

MEASURED = json.loads(scaling.DATA.read_text())
LOCAL = MEASURED["profiles"]["local"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[dict]:
    return scale.measure_size(60, tmp_path_factory.mktemp("scale"), settings=Settings(buckets=2), namespace_turns=40)


def test_every_stage_of_a_build_and_of_a_night_is_measured_in_order(rows):
    for part in ("build", "night"):
        assert [r["stage"] for r in rows if r["part"] == part] == ["start", *STAGES]
    assert all(r["seconds"] > 0 and r["units"] >= 60 for r in rows)


def test_a_night_adds_its_turns_to_the_store_of_the_build(rows):
    build, night = ({r["stage"]: r for r in rows if r["part"] == part} for part in ("build", "night"))
    assert build["read"]["rows"] == 60
    assert night["read"]["rows"] == 1
    assert 0 < night["read"]["units"] - build["read"]["units"] < 10


def test_planted_vectors_reach_the_index_through_the_stages_that_embed(rows):
    build = {r["stage"]: r for r in rows if r["part"] == "build"}
    assert build["embed"]["rows"] + build["embed_derived"]["rows"] == build["embed"]["texts"]
    assert build["embed"]["bytes"] > build["embed"]["rows"] * 384 * 4
    assert build["index"]["bytes"] > build["index"]["units"] * 384 * 4
    assert build["embed"]["shuffled_bytes"] > 0 == build["index"]["shuffled_bytes"]


def test_namespaces_are_of_bounded_size_and_a_night_brings_new_sessions_of_them():
    day = [json.loads(line) for line in corpus_lines(450)]
    night = [json.loads(line) for line in night_lines(40, known=450)]
    assert [sum(r["namespace"] == n for r in day) for n in sorted({r["namespace"] for r in day})] == [200, 200, 50]
    assert len({r["namespace"] for r in night}) == 2
    assert {r["namespace"] for r in night} <= {r["namespace"] for r in day}
    assert not {(r["namespace"], r["session_id"]) for r in night} & {(r["namespace"], r["session_id"]) for r in day}
    assert len({r["text"] for r in day + night}) == 490


def test_planted_vectors_follow_from_the_text_alone_and_gather_in_topics():
    hashes = [content_hash(f"text {i}") for i in range(2000)]
    vectors = planted(hashes)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.array_equal(planted(hashes[7:9]), vectors[7:9])
    near = (vectors @ vectors.T)[np.triu_indices(2000, 1)] > 0.5
    assert 0.01 < near.mean() < 0.05


def test_the_use_of_a_process_counts_children_that_ended_and_those_that_live(tmp_path):
    burn = "import time; e = time.process_time() + 0.4\nwhile time.process_time() < e: pass"
    hold = f"b = bytearray(200 << 20); b[::4096] = b'x' * len(b[::4096]); {burn}\nopen('x', 'wb').write(bytes(1 << 20))"
    with measured() as used:
        subprocess.run([sys.executable, "-c", hold], cwd=tmp_path, check=True)
        living = subprocess.Popen([sys.executable, "-c", f"{burn}\ntime.sleep(60)"])
        time.sleep(1.5)
        assert living.pid in descendants(os.getpid())
    living.kill()
    living.wait()
    assert 0.7 < used.cpu_s < 2
    assert used.seconds > 1.5
    assert used.peak_anon_mb > 200
    assert used.written_bytes >= 1 << 20


def test_the_growth_exponent_of_a_quadratic_stage_is_two():
    rows = [
        {"part": "build", "units": n, "stage": stage, "seconds": seconds}
        for n in (10, 100, 1000)
        for stage, seconds in (("start", 1e6), ("linear", 3.0 * n), ("square", 0.01 * n * n))
    ]
    found = scale.exponents(rows)
    assert found["linear"] == pytest.approx((1, 1))
    assert found["square"] == pytest.approx((2, 2))
    assert 1 < found["total"][0] < 2
    assert "start" not in found


def test_the_model_gives_back_every_measured_build_within_a_quarter():
    rows = [*LOCAL, *MEASURED["one_bucket"]]
    off = cost_model.errors(cost_model.fit(rows), rows)
    totals = {key: error for key, error in off.items() if key[0] == "total"}
    assert len(totals) == 4
    assert all(abs(error) < 0.25 for error in totals.values()), totals
    builds = [r for r in LOCAL if r["part"] == "build"]
    largest = {r["stage"]: r for r in builds if r["units"] == max(r["units"] for r in builds)}
    heavy = {stage for stage, r in largest.items() if r["cpu_s"] > 0.05 * sum(r["cpu_s"] for r in largest.values())}
    units = {error for (stage, n, _), error in off.items() if stage in heavy and n == largest["read"]["units"]}
    assert len(heavy) >= 5
    assert all(abs(error) < 0.25 for error in units), off


def test_a_model_of_linear_stages_gives_their_rates_back_and_a_step_where_indexes_begin():
    rows = [
        {"part": "build", "stage": stage, "units": n, "turns": n // 2, "texts": n, "buckets": 1, "cpu_s": cpu}
        | {"shuffled_bytes": None, "bytes": 5 * n, "mark_bytes": 0, "peak_anon_mb": 100 + n / 1000}
        for n in (1_000, 9_000, 100_000, 1_000_000)
        for stage, cpu in (("read", 2 + n / 500), ("index", 1 + n / 1000 + (n / 100 if n > 40_000 else 0)))
    ]
    model = cost_model.fit(rows)
    assert model.stages["read"].costs["cpu_s"] == pytest.approx((2, 1 / 500, 0))
    assert model.stages["index"].costs["cpu_s"] == pytest.approx((1, 1 / 1000, 1 / 100))
    assert model.stored_bytes(10) == pytest.approx(100)
    assert max(map(abs, cost_model.errors(model, rows).values())) < 1e-6


def test_no_stage_of_the_measured_builds_grows_faster_than_linear():
    busy = scale.exponents(LOCAL, what="cpu_s")
    assert set(busy) == {"total", *STAGES}
    assert {stage for stage, (slope, _) in busy.items() if slope > 1.1} == set()
    with_ann = [row for row in [*LOCAL, *MEASURED["one_bucket"]] if cost_model.has_ann(row)]
    assert scale.exponents(with_ann, what="cpu_s")["index"][0] <= 1.1


def test_a_projection_grows_with_its_units_and_says_what_breaks():
    model = cost_model.fit([*LOCAL, *MEASURED["one_bucket"]])
    small, large, huge = (cost_model.project(model, n) for n in (1e7, 1e9, 1e11))
    assert small.nodes <= large.nodes < huge.nodes
    assert 90 < large.core_hours / small.core_hours < 101
    assert huge.buckets == cost_model.BUCKETS_AT_MOST
    assert not small.breaks
    assert len(large.breaks) < len(huge.breaks)
    dearer = cost_model.project(model, 1e9, cost_model.Node(usd_per_hour=6.4))
    assert dearer.cluster_usd == pytest.approx(10 * large.cluster_usd)


def test_the_tables_of_the_scaling_page_are_up_to_date():
    page = scaling.PAGE.read_text()
    made = scaling.tables(MEASURED)
    assert all(f"<!-- generated: {name} -->" in page for name in made)
    for name, body in made.items():
        assert page == fill(page, name, body), "run `python -m infra.scaling`"


def test_a_corpus_of_ones_own_is_refused():
    with pytest.raises(UsageError, match="leave DATA out"):
        benchmarks.run("scale", Path(__file__), now=NOW)

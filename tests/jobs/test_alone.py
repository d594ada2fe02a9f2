"""Jobs run alone, as spark-submit and ray job submit would run them: against table addresses, publishing nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "tests" / "sample_corpus"
JOBS = (
    "read_sources", "segment_records", "embed_units", "bound_segments", "extract_memories", "resolve_entities",
    "find_near_duplicates", "link_units", "build_indexes", "evaluate_recall", "measure_graph",
)  # fmt: skip


def python(*arguments: object, expect: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == expect, done.stderr
    return done


@pytest.mark.parametrize("job", JOBS)
def test_every_job_explains_itself(job):
    told = python("-m", f"jobs.{job}", "--help").stdout
    assert "--store" in told and "--profile" in told


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The beginning of a conversation of the sample corpus, published."""
    folder = tmp_path_factory.mktemp("alone")
    first = folder / "chat.jsonl"
    first.write_text("".join((SAMPLE / "team-chat.jsonl").read_text().splitlines(keepends=True)[:12]))
    command = "from flows.command_line import main; main()"
    ingest = ("ingest", first, "--store", folder / "store", "--day", "2026-03-01", "--now", "2026-03-01", "--json")
    python("-c", command, *ingest)
    return folder / "store"


def test_a_stage_that_is_up_to_date_writes_nothing(store):
    done = json.loads(python("-m", "jobs.segment_records", "--store", store, "--day", "2026-03-01").stdout)
    assert done["report"]["skipped"] and done["filesets"] == [] and done["engine"] == "local"


def test_what_a_job_reads_waits_for_the_next_ingest_and_is_not_published(store, tmp_path):
    new = tmp_path / "more.jsonl"
    new.write_text(
        '{"session_id": "s", "speaker": "Ada", "said_at": "2026-03-02T09:00:00Z", "text": "A cat came by."}\n'
    )
    before = sorted(p.name for p in (store / "snapshots").glob("*.json"))
    done = json.loads(python("-m", "jobs.read_sources", new, "--store", store, "--day", "2026-03-02").stdout)
    assert done["report"]["rows_out"] == 1 and done["quarantined"] == 0
    assert {f["table"] for f in done["filesets"]} == {"turns", "sources", "source_records"}
    assert sorted(p.name for p in (store / "snapshots").glob("*.json")) == before


def test_a_day_that_is_not_there_and_a_store_that_is_not_there_are_said_in_one_line(store, tmp_path):
    told = python("-m", "jobs.link_units", "--store", store, "--day", "1999-01-01", expect=2).stderr
    assert told.count("\n") == 1 and "no records of 1999-01-01" in told
    told = python("-m", "jobs.link_units", "--store", tmp_path / "none", expect=1).stderr
    assert told.count("\n") == 1 and "none" in told


def test_indexes_are_built_again_where_they_are_missing(store):
    import shutil

    shutil.rmtree(store / "index")
    done = json.loads(python("-m", "jobs.build_indexes", "--store", store).stdout)
    assert not done["report"]["skipped"]
    assert all((store / "index" / shard / "manifest.json").exists() for shard in done["index"].values())

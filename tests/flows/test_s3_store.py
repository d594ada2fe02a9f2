"""The command line on a bucket: a corpus goes in, is asked, survives a kill and a second writer (moto on loopback)."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from deltalake import DeltaTable
from moto.server import ThreadedMotoServer

SAMPLE = Path(__file__).resolve().parents[1] / "sample_corpus"
HULL = ("Which colour has the hull of the boat?", "painted red")
CAT = ("How heavy is the tracker that the cat has to wear now?", "18 grams")
SECRET = "never-show-this-secret"


@pytest.fixture(scope="module")
def aws() -> Iterator[dict[str, str]]:
    """The variables that lead to a server with one bucket."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    bucket(variables).create_bucket(Bucket="memories")
    yield variables
    moto.stop()


def bucket(aws: dict[str, str]):
    """A client that is not the product's."""
    return boto3.client(
        "s3",
        endpoint_url=aws["AWS_ENDPOINT_URL"],
        aws_access_key_id="k",
        aws_secret_access_key="s",
        region_name="us-east-1",
    )


def objects(aws: dict[str, str], store: str, *, also: tuple[str, ...] = ()) -> dict[str, str]:
    """Every object of a store with its tag; of those that come and go only the ones in `also`."""
    pages = bucket(aws).get_paginator("list_objects_v2").paginate(Bucket="memories", Prefix=f"{store}/")
    found = {o["Key"].removeprefix(f"{store}/"): o["ETag"] for page in pages for o in page.get("Contents", [])}
    passing = tuple(n for n in ("lock.json", "pins/", "staging/", "ledger/") if n not in also)
    return {name: tag for name, tag in found.items() if not name.startswith(passing)}


@pytest.fixture
def start(engraph_script: Path, aws: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a real process of the command line; what still runs at the end is stopped."""
    running = []

    def run(*arguments: object, **environment: str) -> subprocess.Popen:
        command = [str(engraph_script), *map(str, arguments)]
        variables = {**os.environ, **aws, "ENGRAPH_BUCKETS": "4", **environment}
        process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def ingest_of(source: Path, store: str) -> list[str]:
    address = f"s3://memories/{store}"
    return ["ingest", str(source), "--store", address, "--day", "2026-01-05", "--now", "2026-02-01T00:00:00", "--json"]


def done(process: subprocess.Popen) -> dict:
    out, err = process.communicate(timeout=300)
    assert process.returncode in (0, 3), err
    return json.loads(out)


def timeless(ran) -> object:
    """What a command said, but how long it took."""
    return {**ran.json, "seconds": 0} if isinstance(ran.json, dict) else ran.json


@pytest.mark.parametrize(
    ("sample", "question", "answer"),
    [(None, *HULL), pytest.param(SAMPLE, *CAT, marks=pytest.mark.soak)],
    ids=["a-small-corpus", "the-sample-corpus"],
)
def test_a_corpus_in_a_bucket_is_kept_up_and_asked_like_any_store(
    cli, start, aws, built, tmp_path, sample, question, answer
):
    """A new process ingests; the other commands come from the warm one."""
    source = sample or built[0]
    name = source.name
    store = ("--store", f"s3://memories/{name}")
    first = done(start(*ingest_of(source, name)))
    assert first["snapshot"] == 1 and first["published"]
    written = objects(aws, name)
    assert SECRET not in json.dumps(first) and "cache" not in {name.split("/")[0] for name in written}

    again = cli(*ingest_of(source, name), **aws)
    assert not again.json["published"] and all(stage["skipped"] for stage in again.json["stages"])
    assert objects(aws, name) == written

    asked = cli("recall", question, *store, "--json", **aws)
    # the corpus holds the question too, in the list of questions about it
    assert any(answer in hit["text"] for hit in asked.json["hits"][:2]), asked.err
    sql = f"SELECT text FROM recall('{question}', k := 1)"
    assert cli("sql", sql, *store, "--json", **aws).json == [{"text": asked.json["hits"][0]["text"]}]
    status = cli("status", *store, "--json", **aws)
    assert status.json["snapshot"] == 1 and status.json["rows"] == first["rows"], status.err
    doctor = cli("doctor", *store, **aws)
    assert doctor.code == 0, doctor.out + doctor.err
    page, table = tmp_path / "report.html", tmp_path / "delta"
    assert cli("report", "--out", page, *store, **aws).code == 0
    assert name in page.read_text() and SECRET not in page.read_text()
    exported = cli("export", "delta", "--out", table, *store, "--json", **aws)
    assert exported.code == 0, exported.err
    assert DeltaTable(str(table / "memory_units")).to_pyarrow_table().num_rows == first["rows"]["memory_units"]
    assert cli("snapshots", "rollback", "1", *store, **aws).code == 0
    collected = cli("snapshots", "gc", "--keep", "1", *store, "--json", **aws)
    assert collected.code == 0 and collected.json["kept"] == [2], collected.err
    assert timeless(cli("recall", question, *store, "--json", **aws))["hits"] == asked.json["hits"]
    assert not [
        left
        for left in objects(aws, name, also=("lock.json", "pins/"))
        if left.startswith(("lock", "pins/", "snapshots/1."))
    ]


@pytest.mark.soak
def test_an_ingest_killed_midway_is_continued_redoes_nothing_and_answers_like_a_folder(built, cli, start, aws):
    notes, folder = built
    victim = start(*ingest_of(notes, "killed"))
    end = time.monotonic() + 60
    while sum(name.endswith("manifest.json") for name in objects(aws, "killed")) < 12:
        assert victim.poll() is None and time.monotonic() < end, victim.communicate()
        time.sleep(0.02)
    victim.kill()
    victim.wait()
    before = objects(aws, "killed")
    assert "snapshots/1.json" not in before and "lock.json" in objects(aws, "killed", also=("lock.json",))
    rerun = cli(*ingest_of(notes, "killed"), ENGRAPH_LOCK_WAIT_S="0", **aws)
    assert rerun.code == 0 and rerun.json["snapshot"] == 1, rerun.err
    after = objects(aws, "killed")
    assert {name: after.get(name) for name in before} == before, "what was finished was written again"
    for asked in (
        ("recall", "Which colour has the hull of the boat?", "--json"),
        ("sql", "SELECT * FROM memory_units ORDER BY unit_id", "--json"),
        ("sql", "SELECT * FROM edges ORDER BY source, target, relation", "--json"),
    ):
        here, there = (timeless(cli(*asked, "--store", s, **aws)) for s in (folder, "s3://memories/killed"))
        assert here == there, asked


@pytest.mark.soak
def test_two_writers_into_one_bucket_both_land(corpus, say, start, cli, aws):
    shared = say("ann", "s1", range(7), day="2026-01-02")
    one = corpus.chat("one/talk.jsonl", shared + say("bo", "s1", range(7), day="2026-01-02"))
    two = corpus.chat("two/talk.jsonl", shared + say("carla", "s1", range(7), day="2026-01-02"))
    both = [start(*ingest_of(source, "shared")) for source in (one, two)]
    assert sorted(done(process)["snapshot"] for process in both) == [1, 2]
    counted = cli("sql", "SELECT count(*) AS n, count(DISTINCT turn_id) AS d FROM turns", "--json", "--store",
                  "s3://memories/shared", **aws)  # fmt: skip
    assert counted.code == 0 and "21" in counted.out, counted.err


def test_a_bucket_that_is_not_there_is_one_line_and_exit_1(cli, aws, corpus):
    corpus.fill()
    for command in (("ingest", corpus.folder), ("recall", "x"), ("status",), ("snapshots", "list"), ("doctor",)):
        ran = cli(*command, "--store", "s3://no-such-bucket/store", **aws)
        assert ran.code == 1 and ran.err.count("\n") == 1, (command, ran)
        assert "there is no bucket no-such-bucket" in ran.err and SECRET not in ran.err + ran.out

"""One ingest on a head and two workers with addresses of their own; one of them is cut off midway, and nothing shows of it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the profile cluster is not set up: make setup-cluster")
pytest.importorskip("pyspark", reason="the profile cluster is not set up: make setup-cluster")
from hosts import RayCluster, SparkCluster

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "tests" / "sample_corpus"
COMMAND = "from flows.command_line import main; main()"
_spec = importlib.util.spec_from_file_location("engraph_flow_fixtures", ROOT / "tests" / "flows" / "conftest.py")
assert _spec and _spec.loader
_flows = sys.modules.setdefault("engraph_flow_fixtures", importlib.util.module_from_spec(_spec))
if not hasattr(_flows, "differences"):
    _spec.loader.exec_module(_flows)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A third of the sample corpus: there has to be something left to do when a host is cut off."""
    folder = tmp_path_factory.mktemp("corpus") / "notes"
    folder.mkdir()
    lines = (SAMPLE / "team-chat.jsonl").read_text().splitlines(keepends=True)
    (folder / "team-chat.jsonl").write_text("".join(lines[: len(lines) // 3]))
    for name in ("data-retention.md", "travel-policy.md"):
        shutil.copy(SAMPLE / "handbook" / name, folder)
    return folder


@pytest.fixture(scope="module")
def by_one_machine(tmp_path_factory, corpus) -> Path:
    """The same corpus through the profile local."""
    store = tmp_path_factory.mktemp("local") / "store"
    subprocess.run(
        [sys.executable, "-c", COMMAND, *_ingest(corpus, store)], cwd=ROOT, check=True, capture_output=True, timeout=400
    )
    return store


def _ingest(corpus: Path, store: Path) -> list[str]:
    return ["ingest", str(corpus), "--store", str(store), "--day", "2026-03-01", "--now", "2026-03-01", "--json"]


def _start(hosts, ray, spark, corpus: Path, store: Path) -> subprocess.Popen:
    """The command on the first host, told by variables where Ray and Spark are."""
    conf = {k: v for k, v in spark.settings().items() if k not in ("spark.master", "spark.executor.memory")}
    environment = {
        **ray.environment,
        **spark.environment,
        "PYTHONPATH": str(ROOT),
        "ENGRAPH_RAY__ADDRESS": ray.address,
        "ENGRAPH_SPARK__MASTER": spark.address,
        "ENGRAPH_SPARK__EXECUTOR_MEMORY": "512m",
        "ENGRAPH_SPARK__SHUFFLE_PARTITIONS": "4",
        "ENGRAPH_SPARK__PATIENCE_S": "120",  # all hosts share the cores of this machine, with other tests
        "ENGRAPH_SPARK__CONF": json.dumps(conf),
    }
    command = [sys.executable, "-c", COMMAND, *_ingest(corpus, store), "--profile", "cluster"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    return hosts[0].popen(command, environment, **pipes)


def _when(store: Path, pattern: str, act, ended: threading.Event, log: list) -> None:
    """Do something when the first file of a kind is there."""
    while not ended.is_set():
        if any(store.glob(pattern)):
            act()
            log.append(time.monotonic())
            return
        time.sleep(0.02)


@pytest.mark.soak
@pytest.mark.parametrize("first_mark", ["lake/embeddings/**/part-*.json"])
def test_an_ingest_goes_on_without_the_host_that_was_cut_off(make_hosts, corpus, by_one_machine, tmp_path, first_mark):
    hosts, store = make_hosts(3), tmp_path / "store"
    with RayCluster(hosts) as ray, SparkCluster(hosts) as spark:
        process = _start(hosts, ray, spark, corpus, store)
        ended, cut = threading.Event(), []
        watcher = threading.Thread(target=_when, args=(store, first_mark, hosts[2].cut, ended, cut))
        watcher.start()
        try:
            out, err = process.communicate(timeout=500)
        finally:
            ended.set()
            watcher.join()
            if process.poll() is None:
                os.killpg(process.pid, 9)
    assert process.returncode == 0, err[-3000:]
    assert cut, "the ingest was over before a host could be cut off"
    assert json.loads(out)["snapshot"] == 1
    assert _flows.differences(by_one_machine, store) == []
    engines = {row["stage"]: row["engine"] for row in _runs(store)}
    assert (engines["segment"], engines["embed"], engines["link"]) == ("spark", "ray", "spark")


def _runs(store: Path) -> list[dict]:
    import engraph

    with engraph.open(store) as opened:
        return opened.connect().sql("SELECT stage, engine FROM runs").to_arrow_table().to_pylist()

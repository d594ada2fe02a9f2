"""Workers that differ from the driver are told by name, with both versions: the comparison, and real Ray and Spark workers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.engines.handshake import MISSING, Environment, check_workers, compare, looking
from jobs.store.lake import Lake
from schemas.errors import EngraphError
from schemas.settings import RaySettings, Settings

VERSIONS = {"Python": "3.11", "numpy": "2.4.6", "engraph": "code 12345678"}
HERE = Environment("here", VERSIONS, "ab")


def worker(store: str = "ab", **versions: str) -> Environment:
    return Environment("10.0.0.3", VERSIONS | versions, store)


def test_workers_like_the_driver_pass():
    compare(HERE, [worker(), worker(scipy="1.0")], "Ray node", "/store")


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (worker(numpy="1.26.4"), r"Ray node 10\.0\.0\.3 has numpy 1\.26\.4, this machine has 2\.4\.6: .* one image"),
        (worker(engraph=MISSING), r"Ray node 10\.0\.0\.3 has no engraph, this machine has code 12345678"),
        (worker(Python="3.12"), r"has Python 3\.12, this machine has 3\.11"),
        (worker(store=MISSING), r"10\.0\.0\.3 does not see the store /store: give a folder that all machines mount"),
        (worker(store="cd"), r"10\.0\.0\.3 sees another store at /store: mount the same folder"),
    ],
)
def test_a_worker_that_differs_is_named_with_both_versions_and_what_to_do(other, says):
    with pytest.raises(EngraphError, match=says):
        compare(HERE, [worker(), other], "Ray node", "/store")


def test_a_process_knows_its_store_by_what_describes_it(tmp_path):
    one, other = Lake(tmp_path / "one"), Lake(tmp_path / "other")
    assert looking(one.url)()["store"] == MISSING
    for lake, made in ((one, b'{"made": 1}'), (other, b'{"made": 2}')):
        lake.write_atomic("store.json", made)
    assert looking(one.url)()["store"] == looking(one.url)()["store"] != looking(other.url)()["store"]


@pytest.fixture(scope="session")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the packages of this one, but for one that says it is another version."""
    folder = tmp_path_factory.mktemp("other")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    packages = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (packages / "all.pth").write_text(sysconfig.get_path("purelib") + "\n")
    described = packages / "faiss_cpu-0.9.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: faiss-cpu\nVersion: 0.9.0\n")
    return folder / "bin" / "python"


@pytest.fixture
def store(tmp_path: Path) -> str:
    lake = Lake(tmp_path / "store")
    lake.write_atomic("store.json", b"{}")
    return lake.url


@pytest.mark.soak
def test_a_spark_executor_with_another_version_is_found(spark_engine, other_python, store):
    from jobs.engines.handshake import on_spark

    mine = Environment("here", looking(store)()["versions"], looking(store)()["store"])
    context, before = spark_engine.spark.sparkContext, spark_engine.spark.sparkContext.pythonExec
    alike = on_spark(spark_engine.spark, store)
    compare(mine, alike, "Spark executor", store)
    assert [environment.node for environment in alike] == [socket.gethostname()]
    context.pythonExec = str(other_python)
    try:
        found = on_spark(spark_engine.spark, store)
    finally:
        context.pythonExec = before
    with pytest.raises(EngraphError, match=r"Spark executor .* has faiss 0\.9\.0, this machine has 1\."):
        compare(mine, found, "Spark executor", store)


def test_spark_workers_that_cannot_run_are_told_in_one_line(spark_engine, store):
    from jobs.engines.handshake import on_spark

    context, before = spark_engine.spark.sparkContext, spark_engine.spark.sparkContext.pythonExec
    context.pythonExec = "/nowhere/python"
    try:
        with pytest.raises(EngraphError, match=r"cannot run Python tasks: .*/nowhere/python.*") as caught:
            on_spark(spark_engine.spark, store)
    finally:
        context.pythonExec = before
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture
def other_ray(other_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a driver for a Ray node that another interpreter started."""
    pytest.importorskip("ray", reason="the cluster profile is not installed: make setup-cluster")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 32, "RAY_USAGE_STATS_ENABLED": "0"}
    folder = Path("/tmp") / f"engraph-ray-{os.getpid()}-{port}"  # short: Ray's sockets lie below it
    options = ("--num-cpus=1", "--include-dashboard=false", "--object-store-memory=100000000", "--block")
    script = "import sys; from ray.scripts.scripts import main; sys.argv[0] = 'ray'; main()"
    command = [other_python, "-c", script, "start", "--head", f"--port={port}", f"--temp-dir={folder}", *options]
    log = (tmp_path_factory.mktemp("log") / "ray.log").open("w")
    head = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
    until = time.monotonic() + 120
    while "block forever" not in Path(log.name).read_text():
        assert head.poll() is None and time.monotonic() < until, Path(log.name).read_text()
        time.sleep(0.2)
    yield environment | {"ENGRAPH_RAY__ADDRESS": f"127.0.0.1:{port}"}
    head.terminate()
    head.wait(timeout=60)


JOIN = """
import sys
from jobs.engines.handshake import check_workers
from jobs.engines.ray_data import RayEngine
from schemas.errors import EngraphError
from schemas.settings import Settings
settings = Settings(store=sys.argv[1])
with RayEngine(settings.ray):
    try:
        check_workers(settings, None)
    except EngraphError as error:
        print(error)
"""


def joined(environment: dict[str, str], store: str) -> str:
    """What a driver says that joins a Ray cluster; in a process of its own, as this one may have joined another."""
    command = [sys.executable, "-c", JOIN, store]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300)
    return done.stdout + done.stderr


def test_a_ray_node_with_another_version_is_found(other_ray, store):
    said = joined(other_ray, store)
    assert "has faiss 0.9.0, this machine has 1." in said and said.startswith("Ray node "), said


def test_engines_that_were_started_here_are_not_asked(tmp_path):
    check_workers(Settings(store=str(tmp_path / "nothing"), ray=RaySettings()), None)

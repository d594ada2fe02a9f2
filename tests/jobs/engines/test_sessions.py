"""A cluster that is not there, or not ours, is told in one line within 30 s: no stack trace, no hang."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.engines import ray_session, spark_session
from schemas.errors import EngraphError, UsageError
from schemas.settings import RaySettings, SparkSettings

pytest.importorskip("ray", reason="the cluster profile is not installed: make setup-cluster")
pytest.importorskip("pyspark", reason="the cluster profile is not installed: make setup-cluster")
needs_java = pytest.mark.skipif(spark_session.java_version() is None, reason="Spark needs Java: make setup-cluster")
PATIENCE_S = 300
TOLD_S = 30.0


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens: the port is taken, but not listened to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("master", ["lokal", "spark://", "spark://head", "spark://head:7077/x", "local[many]", "7077"])
def test_a_spark_master_that_is_no_address_is_a_wrong_setting(master):
    with pytest.raises(UsageError, match=r"spark\.master '.*' is no address: write it like spark://host:7077"):
        spark_session.check_master(master)


@pytest.mark.parametrize("master", ["local", "local[*]", "local[2,4]", "local-cluster[2, 1, 512]", "yarn", "k8s://x"])
def test_masters_at_no_fixed_address_are_left_to_spark(master):
    spark_session.check_master(master)


@pytest.mark.parametrize("scheme", ["spark://", "k8s://", "k8s://https://"])
def test_a_spark_master_that_does_not_answer_is_told_with_its_address_and_the_setting(scheme, nobody):
    with pytest.raises(EngraphError, match=f"{scheme}{nobody}.*ENGRAPH_SPARK__MASTER"):
        spark_session.check_master(scheme + nobody)


@pytest.mark.parametrize("address", ["head", "6379", "head:port", "https://head:6379", ":6379"])
def test_a_ray_address_that_is_none_is_a_wrong_setting(address):
    with pytest.raises(UsageError, match=r"ray\.address '.*' is no address: write it like host:6379"):
        ray_session.start(RaySettings(address=address))


def test_ray_client_is_refused_with_what_to_give_instead():
    with pytest.raises(UsageError, match=r"Ray Client.*head node's own, like host:6379, and run engraph on a node"):
        ray_session.start(RaySettings(address="ray://head:10001"))


def test_a_ray_head_that_does_not_answer_is_told_with_its_address_and_the_setting(nobody):
    with pytest.raises(EngraphError, match=f"no Ray head node answers at {nobody}.*ENGRAPH_RAY__ADDRESS"):
        ray_session.start(RaySettings(address=nobody))


def test_without_java_spark_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(EngraphError, match=r"needs Java 17, and none is found: run `make setup-cluster`.*JAVA_HOME"):
        spark_session.start(SparkSettings())


@dataclass(frozen=True)
class Told:
    """What a process said that starts an engine."""

    seconds: float
    said: str
    noise: list[str]


START = """
import sys
from schemas.errors import EngraphError
from schemas.settings import Settings
if sys.argv[1] == "spark":
    from jobs.engines.spark_sql import SparkEngine
    engine = SparkEngine(Settings().spark)
else:
    from jobs.engines.ray_data import RayEngine
    engine = RayEngine(Settings().ray)
try:
    with engine:
        import ray
        print("started", ray.is_initialized() and int(ray.cluster_resources().get("marked", 0)))
except EngraphError as error:
    print(error)
"""


def told(engine: str, **environment: str) -> Told:
    """Start an engine in a process of its own, whose settings come from its environment."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", START, engine],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    (said,) = done.stdout.splitlines()
    return Told(time.monotonic() - begun, said, done.stderr.splitlines())


@needs_java
@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        (
            "ENGRAPH_SPARK__MASTER",
            "yarn",
            "Spark does not start on yarn: When running with master 'yarn' either HADOOP_",
        ),
        (
            "ENGRAPH_SPARK__DRIVER_MEMORY",
            "lots",
            "Spark does not start on local[*]: Invalid maximum heap size: -Xmxlots",
        ),
    ],
)
def test_a_jvm_that_does_not_come_up_is_told_in_its_own_words_without_its_stack_trace(setting, value, says):
    found = told("spark", **{setting: value})
    assert found.said.startswith(says)
    assert found.noise == [] and found.seconds < TOLD_S


@needs_java
def test_starting_spark_writes_nothing_to_stderr():
    assert told("spark").noise == []


KILLED = """
import os, signal
from jobs.engines.spark_sql import SparkEngine
from schemas.errors import EngraphError
from schemas.settings import SparkSettings
try:
    with SparkEngine(SparkSettings(master="local[1]", shuffle_partitions=1)) as engine:
        os.kill(engine.spark.sparkContext._gateway.proc.pid, signal.SIGKILL)
        print(list(engine.map(abs, [-1])))
except EngraphError as error:
    print(error)
with SparkEngine(SparkSettings(master="local[1]", shuffle_partitions=1)) as engine:
    print(list(engine.map(abs, [-1])))
"""


@needs_java
@pytest.mark.soak
def test_a_jvm_that_is_killed_in_the_middle_ends_the_run_in_one_line_and_the_next_gets_another():
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=PATIENCE_S)
    told = "Spark's driver process is gone (killed, or out of memory): run again"
    assert done.stdout.splitlines() == [told, "[(0, 1)]"], done.stderr
    assert done.stderr == ""


@dataclass(frozen=True)
class Head:
    """A Ray head node of its own, with a token and a resource that marks it."""

    port: int
    folder: Path
    token: str = "0123456789abcdef" * 2

    @property
    def environment(self) -> dict[str, str]:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token, "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        made = Head(free.getsockname()[1], tmp_path_factory.mktemp("head"))
    ray = Path(sys.executable).with_name("ray")
    command = [ray, "start", "--head", f"--port={made.port}", "--num-cpus=1", '--resources={"marked": 1}', "--block"]
    command += ["--include-dashboard=false", "--object-store-memory=100000000"]
    log = made.folder / "log"
    with log.open("w") as out:
        process = subprocess.Popen(command, env={**os.environ, **made.environment}, stdout=out, stderr=out)
    until = time.monotonic() + 120
    while "block forever" not in log.read_text():
        assert process.poll() is None and time.monotonic() < until, log.read_text()
        time.sleep(0.2)
    yield made
    process.terminate()
    process.wait(timeout=60)


@pytest.mark.parametrize("token", ["fedcba9876543210" * 2, None])
def test_a_wrong_or_missing_token_is_told_as_such(head, token):
    given = {"RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
    found = told("ray", **head.environment | given | {"ENGRAPH_RAY__ADDRESS": f"127.0.0.1:{head.port}"})
    assert "refuses this token" in found.said and "RAY_AUTH_TOKEN" in found.said
    assert len(found.noise) <= 6 and not [line for line in found.noise if "Traceback" in line]
    assert found.seconds < TOLD_S


def test_the_right_token_joins_and_none_given_starts_a_ray_here_whatever_else_runs(head):
    address = {"ENGRAPH_RAY__ADDRESS": f"127.0.0.1:{head.port}"}
    assert told("ray", **head.environment | address).said == "started 1"
    alone = told("ray", **head.environment, RAY_ADDRESS=f"127.0.0.1:{head.port}")
    assert (alone.said, alone.noise) == ("started 0", [])

"""Starting and stopping a Spark session: what is set, what can be wrong, and how that is said within 30 s."""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import IO, TYPE_CHECKING

from schemas.errors import EngraphError, UsageError
from schemas.settings import SparkSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

JAVA = 17
CONNECT_S = 10.0
ROOT = Path(__file__).resolve().parents[2]
LOGGING = Path(__file__).with_name("log4j2.properties")
MASTERS = r"local(\[(\*|\d+)(,\d+)?\])?|local-cluster\[[\d, ]+\]|spark://[^/:,]+:\d+(,[^/:,]+:\d+)*|k8s://.+|yarn"
MEND_JAVA = "run `make setup-cluster`, which installs it"

CONF = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
    "spark.python.worker.reuse": "true",
    # keys of a shuffle are few and heavy (one bucket each): merging small partitions would put them all on one core
    "spark.sql.adaptive.coalescePartitions.enabled": "false",
    # a lost executor is noticed in 30 s; a long task is not killed, as its executor's heartbeat goes on
    "spark.executor.heartbeatInterval": "5s",
    "spark.network.timeout": "30s",
    "spark.network.timeoutInterval": "5s",
    "spark.storage.blockManagerHeartbeatTimeoutMs": "30s",
    "spark.rpc.askTimeout": "30s",
    "spark.rpc.lookupTimeout": "30s",
    "spark.shuffle.io.maxRetries": "2",
    "spark.shuffle.io.retryWait": "2s",
    "spark.task.maxFailures": "4",
    "spark.port.maxRetries": "32",
}


def start(settings: SparkSettings) -> SparkSession:
    """A session on `settings.master`.

    Raises:
        EngraphError: no Java 17, or nobody answers at the master's address.
    """
    check_java()
    check_master(settings.master)
    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    if settings.master.startswith("local"):
        os.environ.setdefault(
            "SPARK_LOCAL_IP", "127.0.0.1"
        )  # nobody outside may connect, and no host name is looked up
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)  # no pandas is used
    logging.getLogger("py4j").setLevel(logging.ERROR)
    logging.getLogger().addFilter(_not_py4j)
    conf = CONF | {
        "spark.sql.shuffle.partitions": str(settings.shuffle_partitions),
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={LOGGING.as_uri()}",
        "spark.driver.memory": settings.driver_memory,
        "spark.executor.memory": settings.executor_memory,
        "spark.executorEnv.PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
    }
    with tempfile.TemporaryFile("w+", errors="replace") as told:
        try:
            session = _session(settings, {**conf, **settings.conf}, told)
        except EngraphError:
            raise
        except Exception as error:  # py4j raises plain Exceptions when the JVM does not come up
            told.seek(0)
            cause = _cause(str(error), told.read())
            raise EngraphError(f"Spark does not start on {settings.master}: {cause}") from error
    if settings.checkpoint:
        session.sparkContext.setCheckpointDir(settings.checkpoint)
    if settings.verbose:
        session.sparkContext.setLogLevel("WARN")
    return session


def _not_py4j(record: logging.LogRecord) -> bool:
    """py4j logs a lost JVM with its stack trace on the root logger, and raises it as well."""
    return "py4j" not in record.pathname


def _session(settings: SparkSettings, conf: dict[str, str], told: IO[str]) -> SparkSession:
    """A session whose JVM writes to `told` what it would write to stderr: notes on its modules and stack traces."""
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("engraph").master(_with_retries(settings.master))
    for name, value in conf.items():
        builder = builder.config(name, value)
    if SparkContext._gateway is None:
        given = SparkConf(loadDefaults=False).setMaster(_with_retries(settings.master)).setAll(list(conf.items()))
        gateway = launch_gateway(given, {} if settings.verbose else {"stderr": told})
        SparkContext._ensure_initialized(gateway=gateway)
    return _registered(builder.getOrCreate, settings.master, settings.patience_s)


def _fulfil(promise: Future[SparkSession], create: Callable[[], SparkSession]) -> None:
    try:
        promise.set_result(create())
    except BaseException as error:  # whatever it is, the waiting thread is to raise it
        promise.set_exception(error)


def _registered(create: Callable[[], SparkSession], master: str, patience_s: float) -> SparkSession:
    """A master that refuses the secret is tried for a minute by Spark, and one without workers waited for without end."""
    if not master.startswith("spark://"):
        return create()
    creating: Future[SparkSession] = Future()
    # not a pool: its threads are waited for at exit, and this one may be stuck for a minute
    threading.Thread(target=_fulfil, args=(creating, create), daemon=True).start()
    try:
        session = creating.result(timeout=patience_s)
    except TimeoutError:
        raise EngraphError(
            f"the master at {master} does not take this driver within {patience_s:.0f} s: the secret "
            "(spark.authenticate.secret) or the version may differ from the cluster's; give a busy one more time with [spark] "
            "patience_s"
        ) from None
    executors = session.sparkContext._jsc.sc()
    end = time.monotonic() + patience_s
    while executors.getExecutorMemoryStatus().size() < 2:  # the driver is one
        if time.monotonic() > end:
            session.stop()
            raise EngraphError(
                f"the master at {master} has no worker with a free core and the memory asked for: start one, or lower "
                "[spark] executor_memory"
            )
        time.sleep(0.2)
    return session


def _cause(text: str, told: str) -> str:
    """The exception's own line in what py4j tells, or in the JVM's own words where it did not come up."""
    if "JAVA_GATEWAY_EXITED" in text:
        text = re.sub(r'^(WARNING: .*|Exception in thread "main" [\w.$]+: )', "", told, flags=re.MULTILINE) or text
    lines = [line.strip(" :") for line in text.splitlines() if line.strip() and "calling None." not in line]
    return (lines or [text])[0][:300]


def stop(session: SparkSession) -> None:
    """Stop the session and its JVM, so that the next one may have other settings."""
    from py4j.protocol import Py4JError
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    gateway = session.sparkContext._gateway
    try:
        session.stop()
    except (Py4JError, ConnectionError):  # the JVM was killed: then only what is kept of it here has to go
        SparkContext._active_spark_context = None
        SparkSession._instantiatedSession = None
    if gateway is not None:
        gateway.shutdown()
        process = getattr(gateway, "proc", None)
        if process is not None:
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
    SparkContext._gateway = SparkContext._jvm = None


def java_version() -> int | None:
    """The major version of the Java that Spark would use, None where there is none."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None or not Path(java).exists():
        return None
    told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30).stderr
    found = re.search(r'version "(\d+)', told)
    return int(found[1]) if found else None


def check_java() -> None:
    """Raises `EngraphError` where Spark's Java is missing or too old."""
    version = java_version()
    if version is None:
        raise EngraphError(f"the cluster profile needs Java {JAVA}, and none is found: {MEND_JAVA}, or set JAVA_HOME")
    if version < JAVA:
        raise EngraphError(f"Spark needs Java {JAVA}, this is {version}: {MEND_JAVA}, or set JAVA_HOME")


def check_master(master: str) -> None:
    """Nobody at a standalone master's address is said at once; Spark itself would try for minutes."""
    if not re.fullmatch(MASTERS, master):
        raise UsageError(
            f"spark.master {master!r} is no address: write it like spark://host:7077, k8s://https://host:6443, yarn or local[*]"
        )
    found = re.fullmatch(r"(?:spark|k8s)://(?:https?://)?([^/:,]+):(\d+)", master)
    if not found:  # several masters, of which one has to answer, or none at a known address
        return
    try:
        socket.create_connection((found[1], int(found[2])), timeout=CONNECT_S).close()
    except OSError as error:
        raise EngraphError(
            f"no Spark master answers at {master} ({error}): check [spark] master in engraph.toml or ENGRAPH_SPARK__MASTER"
        ) from error


def _with_retries(master: str) -> str:
    """`local[2]` gives up at a task's first failure; with a second number it tries again as a cluster does."""
    found = re.fullmatch(r"local\[(\*|\d+)\]", master)
    return f"local[{found[1]},4]" if found else master

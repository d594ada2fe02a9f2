"""infra/entrypoint.sh: the roles that can run on one machine without a cluster are run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.manifests import INFRA

ENTRYPOINT = INFRA / "entrypoint.sh"
pyspark = pytest.importorskip("pyspark", reason="the extra `cluster` is not installed: make setup-cluster")
SPARK_HOME = str(Path(pyspark.__file__).parent)
HAS_JAVA = shutil.which("java") or os.environ.get("JAVA_HOME")


def enter(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "ENGRAPH_", "RAY_"))}
    environment = {**inherited, "SPARK_HOME": SPARK_HOME, "PYSPARK_PYTHON": sys.executable, **variables}
    arguments = ["bash", str(ENTRYPOINT), *command]
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120)


def test_any_other_command_runs_as_it_is():
    done = enter("sh", "-c", "echo out; exit 7")
    assert (done.stdout, done.returncode) == ("out\n", 7)


def test_a_ray_client_address_is_refused_with_the_address_to_give_instead():
    done = enter("prefect", "worker", "start", ENGRAPH_RAY__ADDRESS="ray://head:10001")
    assert done.returncode == 2
    assert "give HOST:6379" in done.stderr


@pytest.mark.skipif(not HAS_JAVA, reason="no Java")
@pytest.mark.soak
def test_the_role_driver_runs_a_spark_program(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from pyspark.sql import SparkSession\n"
        "spark = SparkSession.builder.getOrCreate()\n"
        "print('rows', spark.range(int(sys.argv[1])).count(), spark.conf.get('spark.driver.bindAddress'))\n"
    )
    properties = tmp_path / "spark.properties"
    properties.write_text("spark.master local[1]\nspark.ui.enabled false\n")
    done = enter(
        "driver",
        *(
            "--properties-file",
            str(properties),
            "--class",
            "org.apache.spark.deploy.PythonRunner",
            f"local://{program}",
        ),
        "41",
        SPARK_DRIVER_BIND_ADDRESS="127.0.0.1",
        SPARK_LOCAL_IP="127.0.0.1",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "rows 41 127.0.0.1" in done.stdout


@pytest.mark.skipif(not HAS_JAVA, reason="no Java")
def test_the_role_executor_starts_sparks_executor_with_all_it_was_told():
    """The real class of the image's Spark takes the arguments and then looks for the driver, where nothing listens."""
    done = enter(
        "executor",
        SPARK_EXECUTOR_MEMORY="64m",
        SPARK_DRIVER_URL="spark://CoarseGrainedScheduler@127.0.0.1:9",
        SPARK_EXECUTOR_ID="1",
        SPARK_EXECUTOR_CORES="1",
        SPARK_APPLICATION_ID="application-1",
        SPARK_EXECUTOR_POD_IP="127.0.0.1",
        SPARK_RESOURCE_PROFILE_ID="0",
        SPARK_EXECUTOR_POD_NAME="executor-1",
        SPARK_JAVA_OPT_0="-Dspark.network.timeout=5s",
        SPARK_JAVA_OPT_1="--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    )
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert "Unrecognized" not in output and "ClassNotFound" not in output, output[-2000:]
    assert "127.0.0.1:9" in output, output[-2000:]


@pytest.mark.skipif(not HAS_JAVA, reason="no Java")
def test_an_executor_without_its_pod_name_is_refused():
    done = enter("executor", SPARK_EXECUTOR_MEMORY="64m", SPARK_DRIVER_URL="spark://x@127.0.0.1:9")
    assert done.returncode == 1
    assert "SPARK_EXECUTOR_ID: unbound variable" in done.stderr

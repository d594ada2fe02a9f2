"""Real engines, each started once for all tests of this folder."""

from __future__ import annotations

import pytest

from jobs.engines.local import LocalEngine
from jobs.engines.spark_session import java_version
from schemas.settings import RaySettings, SparkSettings

MISSING = "the cluster profile is not installed: make setup-cluster"


@pytest.fixture(scope="session")
def spark_engine():
    pytest.importorskip("pyspark", reason=MISSING)
    if java_version() is None:
        pytest.skip("Spark needs Java: make setup-cluster")
    from jobs.engines.spark_sql import SparkEngine

    with SparkEngine(SparkSettings(master="local[2]", shuffle_partitions=4)) as engine:
        yield engine


@pytest.fixture(scope="session")
def ray_engine():
    pytest.importorskip("ray", reason=MISSING)
    from jobs.engines.ray_data import RayEngine

    with RayEngine(RaySettings(object_store_bytes=100_000_000)) as engine:
        yield engine


@pytest.fixture(params=["local", "spark", "ray"])
def any_engine(request: pytest.FixtureRequest):
    return LocalEngine() if request.param == "local" else request.getfixturevalue(f"{request.param}_engine")


@pytest.fixture(params=["local", "spark"])
def shuffling_engine(request: pytest.FixtureRequest):
    return LocalEngine() if request.param == "local" else request.getfixturevalue("spark_engine")


@pytest.fixture(params=["spark", "ray"])
def other_processes(request: pytest.FixtureRequest):
    """Engines that run calls in processes of their own."""
    return request.getfixturevalue(f"{request.param}_engine")

"""Handshake: have the workers of a cluster this machine's packages, code and store? Asked once, before any work.

Other versions give other tables, or errors far from their cause; a folder that only the driver has gives a half-written store. So a
tiny task on every Ray node and every Spark executor looks around, and the run ends where one differs. Takes 1 to 3 s. Engines that
were started on this machine use its files and its interpreter and are not asked; executors and nodes that join later neither.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.store.lake import Lake
from jobs.store.snapshots import INFO
from schemas.errors import EngraphError
from schemas.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PACKAGES = {name: (name,) for name in ("pyarrow", "numpy", "torch", "sentence-transformers")} | {
    "faiss": ("faiss-cpu", "faiss-gpu")  # nodes with a GPU have the other one, at the same version
}
ANSWER_S = 90.0
TASKS_PER_CORE = 2
MISSING = "none"


@dataclass(frozen=True)
class Environment:
    """What one process sees: versions by package, and the checksum of the store's description, `MISSING` where there is none."""

    node: str
    versions: Mapping[str, str]
    store: str


def check_workers(settings: Settings, session: SparkSession) -> None:
    """Ask the workers of engines that were not started on this machine; Ray is taken as it is joined.

    Raises:
        EngraphError: a worker differs from this process or does not see its store; names the node, what differs and what to do.
    """
    store = Lake(settings.store).url
    mine = _environment(sys.platform, looking(store)())
    if settings.ray.address:
        compare(mine, on_ray(store), "Ray node", store)
    if not settings.spark.master.startswith("local"):
        compare(mine, on_spark(session, store), "Spark executor", store)


def compare(mine: Environment, workers: Iterable[Environment], kind: str, store: str) -> None:
    """Raises `EngraphError` for the first worker that differs from `mine`; `kind` says what a worker is called."""
    for worker in workers:
        where = f"{kind} {worker.node}"
        for package, version in mine.versions.items():
            theirs = worker.versions.get(package, MISSING)
            if theirs != version:
                raise EngraphError(
                    f"{where} has {_named(package, theirs)}, this machine has {version}: start both from one image or "
                    "environment (infra/Dockerfile, infra/constraints.txt), then run again"
                )
        if worker.store == MISSING:
            raise EngraphError(
                f"{where} does not see the store {store}: give a folder that all machines mount at this path, or a bucket"
            )
        if worker.store != mine.store:
            raise EngraphError(
                f"{where} sees another store at {store}: mount the same folder there, or give a bucket (s3://...)"
            )


def _named(package: str, version: str) -> str:
    return f"no {package}" if version == MISSING else f"{package} {version}"


def looking(store: str) -> Callable[..., dict[str, Any]]:
    """A function that says what the process it runs in is made of.

    It is an inner function with imports of its own, so that it travels by value: a worker without this package can run it.
    """
    packages, info, missing = PACKAGES, INFO, MISSING

    def look(*_: object) -> dict[str, Any]:
        import hashlib
        import platform
        import socket
        from importlib import metadata
        from pathlib import Path

        def version(names: tuple[str, ...]) -> str:
            for name in names:
                try:
                    return metadata.version(name).partition("+")[0]  # torch for GPUs and for CPUs is one version
                except metadata.PackageNotFoundError:
                    continue
            return missing

        def code() -> str:
            """A checksum of the modules that stages are made of."""
            import schemas

            assert schemas.__file__
            root = Path(schemas.__file__).parents[1]
            files = sorted(
                file for folder in ("jobs", "pipelines", "schemas") for file in (root / folder).rglob("*.py")
            )
            content = hashlib.blake2b(digest_size=4)
            for file in files:
                content.update(f"{file.relative_to(root)}\n".encode() + file.read_bytes())
            return f"code {content.hexdigest()}"

        def seen() -> str:
            from jobs.store.lake import Lake

            described = Lake(store).find_bytes(info)
            return missing if described is None else hashlib.blake2b(described, digest_size=8).hexdigest()

        versions = {"Python": ".".join(platform.python_version_tuple()[:2])}
        versions |= {package: version(names) for package, names in packages.items()}
        try:
            versions["engraph"] = code()
            return {"node": socket.gethostname(), "versions": versions, "store": seen()}
        except ImportError:  # then a package differs, and that is what is said
            return {"node": socket.gethostname(), "versions": {"engraph": missing} | versions, "store": missing}

    return look


def on_spark(session: SparkSession, store: str) -> list[Environment]:
    """One environment per host that answers; two tasks for each core, so that every executor gets one.

    Raises:
        EngraphError: the executors cannot run Python tasks at all.
    """
    from pyspark.errors import PySparkException

    from jobs.engines.spark_sql import reason

    context = session.sparkContext
    tasks = TASKS_PER_CORE * context.defaultParallelism
    try:
        answers = context.parallelize(range(tasks), tasks).map(looking(store)).collect()
    except Exception as error:  # py4j's and PySpark's have no common class of their own
        if not isinstance(error, PySparkException) and not type(error).__module__.startswith("py4j"):
            raise
        raise EngraphError(
            f"Spark's executors cannot run Python tasks: {reason(str(error))}; they need {sys.executable} with the same packages"
        ) from error
    return _each_once(_environment(answer["node"], answer) for answer in answers)


def on_ray(store: str) -> list[Environment]:
    """One environment per node that is alive, the head and drivers' nodes too: reading and writing may run there.

    Raises:
        EngraphError: a node does not answer within `ANSWER_S` seconds, or cannot run Python tasks.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(looking(store))
    asked = {}
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked[task.options(num_cpus=0, scheduling_strategy=there).remote()] = node["NodeManagerAddress"]
    _, silent = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_S)
    if silent:
        raise EngraphError(
            f"Ray node {asked[silent[0]]} does not answer within {ANSWER_S:.0f} s: look at it (`ray status`), or take it away, and "
            "run again"
        )
    found = []
    for answer, address in asked.items():
        try:
            found.append(_environment(address, ray.get(answer)))
        except RayTaskError as error:
            raise EngraphError(f"Ray node {address} cannot run Python tasks: {error.cause}") from error
        except RayError:  # the node is gone since: nothing will run there
            continue
    return found


def _environment(node: str, answer: dict[str, Any]) -> Environment:
    return Environment(node, answer["versions"], answer["store"])


def _each_once(environments: Iterable[Environment]) -> list[Environment]:
    found: list[Environment] = []
    for environment in environments:
        if environment not in found:
            found.append(environment)
    return found

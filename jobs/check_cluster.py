"""What the profile `cluster` needs, whether it is there, and the command that mends it: packages, Java, addresses, a GPU."""

from __future__ import annotations

from importlib import metadata

from schemas.errors import EngraphError
from schemas.settings import Settings

MEND = "make setup-cluster"
PACKAGES = ("ray", "pyspark", "s3fs")


def checks(settings: Settings, *, needed: bool) -> list[dict]:
    """Every check as {name, ok, detail, mend, needed}; `needed` where the user asked for the profile `cluster`."""
    packages = [_package(name) for name in PACKAGES]
    if not all(check["ok"] for check in packages):
        return [check | {"needed": needed} for check in packages]
    return [check | {"needed": needed} for check in (*packages, _java(), _spark(settings), _ray(settings))] + [_gpu()]


def _check(name: str, ok: bool, detail: str, mend: str) -> dict:
    return {"name": name, "ok": ok, "detail": detail, "mend": mend, "needed": False}


def _package(name: str) -> dict:
    try:
        return _check(name, True, metadata.version(name), MEND)
    except metadata.PackageNotFoundError:
        return _check(name, False, "not installed", MEND)


def _java() -> dict:
    from jobs.engines.spark_session import JAVA, java_version

    version = java_version()
    detail = f"version {version}" if version else "not found"
    return _check("java", version is not None and version >= JAVA, detail, f"{MEND}, or set JAVA_HOME to a Java {JAVA}")


def _spark(settings: Settings) -> dict:
    from jobs.engines.spark_session import check_master

    master = settings.spark.master
    try:
        check_master(master)
    except EngraphError as problem:
        return _check("spark master", False, str(problem), "[spark] master in engraph.toml, or ENGRAPH_SPARK__MASTER")
    return _check("spark master", True, master, "")


def _ray(settings: Settings) -> dict:
    from jobs.engines.ray_session import check_address

    address = settings.ray.address
    try:
        check_address(address)
    except EngraphError as problem:
        return _check("ray address", False, str(problem), "[ray] address in engraph.toml, or ENGRAPH_RAY__ADDRESS")
    return _check("ray address", True, address or "none given: a Ray is started on this machine", "")


def _gpu() -> dict:
    import torch

    found = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return _check("gpu", True, ", ".join(found) or "none: texts are embedded on the CPU cores", "")

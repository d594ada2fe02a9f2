"""Joining or starting a Ray cluster: what is set, what can be wrong, and how that is said within 30 s."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Any

from schemas.errors import EngraphError, UsageError
from schemas.settings import RaySettings

CONNECT_S = 10.0
ORPHANS_S = 5
"""How long Ray's own processes look for the head of a cluster that was started here, before they end too (60 s by default)."""
ROOT = Path(__file__).resolve().parents[2]
# read by Ray when it is imported
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
# who waits for a task on a node that fell silent learns of it by a ping: by default after 300 s, and only then it is tried again
os.environ.setdefault("RAY_grpc_client_keepalive_time_ms", "5000")
os.environ.setdefault("RAY_grpc_client_keepalive_timeout_ms", "5000")
# tries to join, one a second and one line of Ray's on stderr each; that somebody answers at the address is known before
os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "4")


def start(settings: RaySettings) -> None:
    """Join the cluster at `settings.address`, or start one on this machine.

    Raises:
        EngraphError: nobody answers at the address, the token is not the cluster's, or versions differ.
    """
    import ray

    check_address(settings.address)
    common: dict[str, Any] = {
        "namespace": "engraph",
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "include_dashboard": False,
        "ignore_reinit_error": False,
        "runtime_env": {"env_vars": {"PYTHONPATH": _python_path()}},
    }
    try:
        if settings.address:
            ray.init(address=settings.address, **common)
        else:  # "local": by default Ray would join whatever cluster runs on this machine, or RAY_ADDRESS
            os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(ORPHANS_S))
            ray.init(address="local", object_store_memory=settings.object_store_bytes, **common)
    except Exception as error:  # Ray raises RuntimeError, ConnectionError, AuthenticationError and its own
        raise EngraphError(_told(error, settings.address)) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def stop() -> None:
    """Leave the cluster; one that was started here ends."""
    import ray

    ray.shutdown()


def _python_path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def check_address(address: str | None) -> None:
    """Nobody at the address is said at once; Ray itself would try for a minute or more."""
    if address in (None, "auto"):
        return
    if address.startswith("ray://"):
        raise UsageError(
            f"ray.address {address!r} is an address of Ray Client, over which Ray Data does not run: give the head node's own, "
            "like host:6379, and run engraph on a node of the cluster (`ray start --address=host:6379 --num-cpus=0` makes one)"
        )
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        raise UsageError(f"ray.address {address!r} is no address: write it like host:6379, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise EngraphError(
            f"no Ray head node answers at {address} ({error}): check [ray] address in engraph.toml or ENGRAPH_RAY__ADDRESS"
        ) from error


def _told(error: Exception, address: str | None) -> str:
    text = " ".join(str(error).split())
    where = address or "this machine"
    if any(word in text.lower() for word in ("auth", "token", "failed to connect to ray cluster")):
        return (
            f"what answers at {where} refuses this token, or is no Ray head node: check the address, and set RAY_AUTH_MODE=token "
            "and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to the cluster's own"
        )
    if "version mismatch" in text.lower():
        return f"Ray at {where} is of another version: {text[:300]}"
    return f"Ray does not start on {where}: {text[:300]}"

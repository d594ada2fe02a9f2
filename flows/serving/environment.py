"""What the Prefect server, the workers and all flow runs of `engraph serve` are told; what the user has set himself stands.

The same heartbeat and lease settings are in infra/compose.yaml and infra/kubernetes/settings.yaml.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import flows
from flows.serving.automations import HEARTBEAT_SECONDS

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
    # Leases in memory die with the server: runs that outlive it would lose their slots, and slots of dead runs would never
    # come back.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": "60",
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "10",  # a queued run looks again this often; 30 by default
    "PREFECT_SERVER_DATABASE_TIMEOUT": "30",  # SQLite under load says "database is locked" after 10
    "PREFECT_CLIENT_MAX_RETRIES": "7",  # the n-th waits 2^n seconds: four minutes without a server are survived
    "PREFECT_WORKER_QUERY_SECONDS": "3",
    "PREFECT_WORKER_ENABLE_CANCELLATION": "true",
    "PREFECT_WORKER_CANCELLATION_POLL_SECONDS": "10",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PYTHONUNBUFFERED": "1",
}


def environment_of(
    *, home: Path, host: str, port: int, store: str, config: Path | None, given: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The environment of everything that `engraph serve` starts."""
    found = {**DEFAULTS, **given}
    reached = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    found["PREFECT_HOME"] = str(home)
    found["PREFECT_API_URL"] = f"http://{reached}:{port}/api"
    for elsewhere in ("PREFECT_PROFILE", "PREFECT_API_KEY"):  # they belong to another server
        found.pop(elsewhere, None)
    found.setdefault("PREFECT_SERVER_UI_API_URL", found["PREFECT_API_URL"])
    # The page with the server's address is written into this folder; the default is shared by all servers of one installation.
    found.setdefault("PREFECT_SERVER_UI_STATIC_DIRECTORY", str(home / "ui"))
    found.setdefault("ENGRAPH_REPORTS_URL", f"http://127.0.0.1:{port + 1}/report")  # beside the metrics
    if "PREFECT_SERVER_API_AUTH_STRING" in found:
        found["PREFECT_API_AUTH_STRING"] = found["PREFECT_SERVER_API_AUTH_STRING"]
    found["ENGRAPH_STORE"] = store if "://" in store else str(Path(store).absolute())
    if config:
        found["ENGRAPH_CONFIG"] = str(config.absolute())
    # Runs start in a folder of their own, so the source tree must be named.
    paths = [str(Path(flows.__file__).parents[1]), *filter(None, given.get("PYTHONPATH", "").split(os.pathsep))]
    found["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    return found

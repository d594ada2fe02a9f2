"""Ports: a free pair for the server and its metrics, or a line that says who has the one that was asked for."""

import ipaddress
import os
import socket

import httpx

from schemas.errors import EngraphError, UsageError

MARK = "engraph_serve"  # the Prefect variable in which a server of ours says whose it is


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_host(host: str) -> None:
    """Refuse to open an unprotected server to a network.

    Raises:
        UsageError: the address is not loopback and no authentication is set up.
    """
    if not is_loopback(host) and ":" not in os.environ.get("PREFECT_SERVER_API_AUTH_STRING", ""):
        raise UsageError(
            f"--host {host} would let everybody on the network start runs and read the store: set PREFECT_SERVER_API_AUTH_STRING="
            "NAME:PASSWORD in the environment first (the browser will ask for it), or keep 127.0.0.1 and put a proxy in front"
        )


def free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((host, port))
        except PermissionError:
            raise UsageError(f"port {port} needs more rights than you have: give one above 1023 with --port") from None
        except socket.gaierror:
            raise UsageError(f"--host {host} is no address of this machine") from None
        except OSError:
            return False
    return True


def take_port(host: str, port: int) -> int:
    """The port to listen on; 0 chooses a free one whose successor is free too.

    Raises:
        EngraphError: the port is taken; says by whom.
    """
    if port:
        if not free(host, port):
            raise EngraphError(f"port {port} is taken by {owner(host, port)}: stop it, or give another with --port")
        return port
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            found = s.getsockname()[1]
        if found < 65535 and free(host, found) and free("127.0.0.1", found + 1):
            return found


def owner(host: str, port: int) -> str:
    """Who listens on a port: another engraph serve, a Prefect server with its version, or something else."""
    base = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{port}/api"
    user, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    auth = (user, password) if password else None
    try:
        version = httpx.get(f"{base}/admin/version", auth=auth, timeout=3)
        if version.status_code == httpx.codes.UNAUTHORIZED:
            return "a server that asks for a password (PREFECT_API_AUTH_STRING)"
        if version.status_code != httpx.codes.OK or not isinstance(version.json(), str):
            return "another program"
        mark = httpx.get(f"{base}/variables/name/{MARK}", auth=auth, timeout=3)
    except (httpx.HTTPError, ValueError):
        return "another program"
    if mark.status_code == httpx.codes.OK:
        about = mark.json()["value"]
        return f"another engraph serve (process {about['pid']}, store {about['store']})"
    return f"a Prefect server of version {version.json()}"

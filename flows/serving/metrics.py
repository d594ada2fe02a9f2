"""The endpoint that Prometheus scrapes: /metrics on a port of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

from jobs.measure_store import StoreCollector
from schemas.errors import EngraphError


@contextmanager
def exposed(store: str, host: str, port: int) -> Iterator[int]:
    """Answer scrapes while the block runs; yields the port, chosen where it was 0.

    Raises:
        EngraphError: the port is taken.
    """
    registry = CollectorRegistry()
    registry.register(StoreCollector(store))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as problem:
        raise EngraphError(f"cannot listen on {host}:{port} ({problem.strerror}): give another port") from None
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

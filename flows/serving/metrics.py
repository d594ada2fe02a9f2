"""The endpoint that Prometheus scrapes: /metrics on a port of its own; on loopback also the reports that nights left, /report/N.

A report quotes the memory, so it is given only to this machine, and only to requests that name it (DNS rebinding).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server

from flows.serving.ports import is_loopback
from jobs.measure_store import StoreCollector
from jobs.write_report import kept_report
from schemas.errors import EngraphError

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
REPORT = re.compile(r"^/report/(\d{1,12})$")


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
    figures = server.get_app()
    if is_loopback(host) and figures is not None:
        server.set_app(_with_reports(store, figures))
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _with_reports(store: str, metrics: Wsgi) -> Wsgi:
    """The metrics, and /report/N for the report of snapshot N."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        asked = REPORT.match(environ.get("PATH_INFO", ""))
        if not asked:
            return metrics(environ, start_response)
        name = environ.get("HTTP_HOST", "").rsplit(":", 1)[0].strip("[]")
        page = kept_report(store, int(asked[1])) if is_loopback(name) else None
        kind = "text/plain" if page is None else "text/html"
        start_response(
            "404 Not Found" if page is None else "200 OK",
            [("Content-Type", f"{kind}; charset=utf-8"), ("X-Content-Type-Options", "nosniff")],
        )
        return [b"no such report: its snapshot may have been collected" if page is None else page]

    return app

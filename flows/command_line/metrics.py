"""`engraph metrics`: figures of the store for Prometheus."""

import threading
from typing import Annotated

import typer

from flows.command_line import options


@options.with_session
def metrics(
    session: options.Session,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 chooses a free one.", min=0, max=65535)] = 4201,
) -> int:
    """Answer Prometheus at /metrics with what ran, how long, snapshot age and recall, until it is stopped."""
    from flows.serving.laptop import stopped_by_signals
    from flows.serving.metrics import exposed

    try:
        with stopped_by_signals(), exposed(session.store, host, port) as found:
            about = {"metrics": f"http://{host}:{found}/metrics"}
            options.print_json(about) if session.as_json else print(f"Metrics: {about['metrics']}", flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        pass
    return 0

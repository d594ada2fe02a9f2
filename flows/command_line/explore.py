"""`engraph explore`: a local page to ask a store and to follow what it says."""

import sys
from contextlib import closing
from typing import Annotated

import typer

from flows.command_line import options


@options.with_session
def explore(
    session: options.Session,
    port: Annotated[int, typer.Option(help="Port on this machine; 0 chooses a free one.", min=0, max=65535)] = 4400,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> int:
    """Serve a page on this machine: ask, see sources and reasons, follow links, compare snapshots."""
    from flows.serving.explorer import serve_pages
    from flows.serving.laptop import stopped_by_signals
    from flows.serving.ports import take_port
    from jobs.explore_store import Explorer

    with closing(Explorer(session.settings)) as explorer:
        taken = take_port("127.0.0.1", port)
        address = f"http://127.0.0.1:{taken}"

        def up() -> None:
            if session.as_json:
                options.print_json({"path": address, "store": explorer.lake.url})
            else:
                print(f"Explore {explorer.lake.url} at {address}    Ctrl-C stops it")
            sys.stdout.flush()
            if open_browser:
                import webbrowser

                webbrowser.open(address)

        try:
            with stopped_by_signals():
                explorer.warm()
                serve_pages(explorer, "127.0.0.1", taken, up)
        except KeyboardInterrupt:
            pass
    return 0

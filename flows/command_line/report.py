"""`engraph report`: what is in the store and how good it is, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line import options


@options.with_session
def report(
    session: options.Session,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
    snapshot: Annotated[int | None, typer.Option(help="An older snapshot.")] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> int:
    """Write one HTML page of what the store holds and how good it is; it needs no network."""
    from jobs.write_report import write_report

    path = write_report(session.settings, out, now=session.now, snapshot=snapshot)
    if session.as_json:
        options.print_json({"path": str(path), "bytes": path.stat().st_size})
    else:
        print(f"{path} ({path.stat().st_size / 1000:,.0f} kB): open it in any browser")
    if open_browser:
        import webbrowser

        webbrowser.open(path.as_uri())
    return 0

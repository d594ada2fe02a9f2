"""`engraph export`: the tables of a snapshot in formats that others read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line import options


@options.with_session
def export(
    session: options.Session,
    kind: Annotated[str, typer.Argument(help="delta, graphml, vectors or hf.")],
    out: Annotated[Path | None, typer.Option(help="The folder to write; default export-KIND.")] = None,
    snapshot: Annotated[int | None, typer.Option(help="An older snapshot.")] = None,
) -> int:
    """Write a snapshot as Delta tables, as a graph, as a file of vectors, or as a Hugging Face dataset."""
    from jobs.export_store import export_store

    done = export_store(session.settings, kind, out or Path(f"export-{kind}"), snapshot=snapshot)
    if session.as_json:
        options.print_json(done.to_json())
    else:
        print(f"{done.path}: " + ", ".join(f"{n:,} {table}" for table, n in done.rows.items()))
    return 0

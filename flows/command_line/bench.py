"""`engraph bench`: measurements, side by side with the peer in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line import options
from flows.command_line.progress import Bars


@options.with_session
def bench(
    session: options.Session,
    kind: Annotated[str, typer.Argument(help="embed, ingest, recall, ann, graph, sql, cluster or scale.")],
    data: Annotated[
        Path | None,
        typer.Argument(help="Sentences (embed), questions (recall), a .npy file (ann, sql); default made-up ones."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            help="Sentences, turns of the smallest corpus, questions, vectors, or (scale) memory units of the largest."
        ),
    ] = None,
    units: Annotated[
        int | None,
        typer.Option(help="Make up a namespace of so many memory units to ask in, instead of --store (recall only)."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Where to draw recall against queries a second, .svg or .png (ann only).")
    ] = None,
) -> int:
    """Measure one part on this machine and print a table."""
    from jobs import benchmarks

    with Bars() as bars:
        rows = benchmarks.run(
            kind,
            data,
            limit=limit,
            units=units,
            store=session.store,
            profile=session.profile,
            settings=session.settings,
            now=session.now,
            progress=bars,
            picture=plot,
        )
    shown = rows if session.as_json else benchmarks.for_people(kind, rows)
    options.print_json(shown) if session.as_json else print(benchmarks.as_markdown(shown))
    return 0

"""`engraph bench`: measurements, side by side with the peer in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line import options
from schemas.errors import UsageError

KINDS = ("embed", "ingest", "recall", "ann")


def bench(
    kind: Annotated[str, typer.Argument(help="embed, ingest, recall or ann.")],
    data: Annotated[
        Path | None, typer.Argument(help="Sentences (embed), a corpus (ingest, recall), a .npy file (ann).")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many sentences or vectors.")] = None,
    store: options.Store = None,
    as_json: options.Json = False,
    profile: options.Profile = "local",
    config: options.Config = None,
    now: options.Now = None,
    debug: options.Debug = False,
) -> int:
    """Measure one part on this machine and print a table."""
    from jobs import benchmarks

    session = options.session(store, as_json, config, now, profile)
    if kind not in KINDS:
        raise UsageError(f"nothing to measure called {kind!r}: use one of {', '.join(KINDS)}")
    rows = benchmarks.run(kind, data, limit=limit, store=session.store)
    options.print_json(rows) if as_json else print(benchmarks.as_markdown(rows))
    return 0

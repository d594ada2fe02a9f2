"""`engraph ingest`: files in, a published snapshot out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from flows.command_line import options
from flows.command_line.progress import Bars
from schemas.errors import UsageError

REFUSED = 3
Kind = Literal["auto", "conversation", "document"]


@options.with_session
def ingest(
    session: options.Session,
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE...", help="Files, folders, globs or URLs.")
    ] = None,
    kind: Annotated[Kind, typer.Option(help="What the files hold.")] = "auto",
    namespace: Annotated[
        str | None, typer.Option(help="Namespace of everything read; default from the source.")
    ] = None,
    day: Annotated[str | None, typer.Option(help="Day of arrival of new records; default today (UTC).")] = None,
    encoder: Annotated[str | None, typer.Option(help="sentence-transformers model; default the store's.")] = None,
    extractions: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Extractions that others made of the sources; may be given again."),
    ] = None,
    extractor: Annotated[str, typer.Option(help="rules.")] = "rules",
    force: Annotated[
        str | None, typer.Option("--force", help="Publish although a gate failed, for this reason.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which files would be read.")] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only estimate units, time and cost, from a sample and a short calibration.")
    ] = False,
) -> int:
    """Read files, run every stage that is not up to date, publish a snapshot."""
    from flows.build import Surroundings
    from flows.ingest import ingest as run_ingest
    from jobs.engines.profile import engines_of
    from pipelines.readers import ReadParams, find_sources, reader_name

    if extractor != "rules":
        raise UsageError(f"--extractor {extractor!r} is not available in this version: use rules")
    params = ReadParams(kind=kind, namespace=namespace)
    sources = sources or []
    if not sources and (dry_run or plan or not extractions):
        raise UsageError("give a SOURCE to ingest: a file, a folder, a quoted glob or a URL")
    if dry_run:
        found = [{"source": s.source_ref, "reader": reader_name(s, params)} for s in find_sources(sources)]
        options.print_json(found) if session.as_json else [print(f"{f['reader']:<14} {f['source']}") for f in found]
        return 0
    if plan:
        estimate = _estimate(session, sources, params, encoder)
        options.print_json(estimate.to_json()) if session.as_json else _show_estimate(estimate)
        return 0
    with Bars() as bars:
        around = Surroundings.of(session.settings, session.now, progress=bars, say=bars.say)
        result = run_ingest(
            sources,
            replace(around, encoder=encoder or around.encoder),
            read=params,
            extractions=extractions or (),
            day=options.day(day, "--day"),
            force=force,
            engines=engines_of(session.profile, session.settings),
        )
    if session.as_json:
        options.print_json(result.to_json())
    else:
        _show(result, session.store)
    return REFUSED if result.quarantined else 0


def _estimate(session: options.Session, sources: list[str], params, encoder: str | None):
    from jobs.estimate_cost import estimate

    prices = session.settings.prices
    return estimate(
        sources,
        read=params,
        encoder=encoder or session.settings.encoder,
        workers=session.settings.workers,
        buckets=session.settings.buckets,
        usd_per_cpu_hour=prices.usd_per_cpu_hour,
        usd_per_gpu_hour=prices.usd_per_gpu_hour,
    )


def _show_estimate(estimate) -> None:
    console = options.console()
    found = estimate.to_json()
    low, high = found["ranges"]["seconds"]
    console.print(
        f"{found['files']:,} files, {found['bytes'] / 1e6:,.1f} MB: about {found['records']:,} records, {found['units']:,} "
        f"memory units, {found['texts']:,} texts to embed"
    )
    console.print(
        f"About {_duration(found['seconds'])} ({_duration(low)} to {_duration(high)}) with {found['workers']} workers on "
        f"{found['device']}: {found['texts_per_second']:,.0f} texts/s, utilisation {found['utilisation']:.0%}"
    )
    if found["usd"] is not None:
        console.print(f"About ${found['usd']:.2g}, ${found['usd_per_million_units']:.2f} per million units")
    table = Table("stage", "seconds", box=None, pad_edge=False)
    for stage, seconds in found["seconds_by_stage"].items():
        table.add_row(stage, f"{seconds:,.1f}")
    console.print(table)
    for assumption in found["assumptions"]:
        console.print(f"[dim]- {assumption}[/dim]", soft_wrap=True)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _show(result, store: str) -> None:
    console = options.console()
    table = Table("stage", "rows in", "rows out", "seconds", box=None, pad_edge=False)
    for stage in result.stages:
        did = ("up to date", "") if stage["skipped"] else (f"{stage['rows_in']:,}", f"{stage['rows_out']:,}")
        table.add_row(stage["stage"], *did, f"{stage['seconds']:.1f}")
    console.print(table)
    if result.snapshot is None:
        console.print("There was nothing to read, so there is no snapshot yet.")
    elif result.published:
        shown = ("turns", "documents", "memory_units", "edges")
        rows = ", ".join(f"{n:,} {t}" for t, n in result.rows.items() if t in shown) or "nothing but refused records"
        console.print(f"Published snapshot {result.snapshot} in {result.seconds:.1f} s: {rows}.")
    else:
        console.print(f"Nothing new: snapshot {result.snapshot} stands.")
    if result.quarantined:
        query = "SELECT source_ref, reason FROM quarantine"
        console.print(
            f'{result.quarantined:,} records were refused; see: engraph sql "{query}" --store {store}', soft_wrap=True
        )

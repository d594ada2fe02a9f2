"""`engraph status`: what is in the store, day by stage."""

from __future__ import annotations

from rich.table import Table

from flows.command_line import options


@options.with_session
def status(session: options.Session) -> int:
    """Day by stage grid, sizes, quarantine and gates of the newest snapshot."""
    from jobs.describe_store import describe

    found = describe(session.store, now=session.now)
    if session.as_json:
        options.print_json(found)
    else:
        _show(found)
    return 0


def _show(found: dict) -> None:
    console = options.console()
    age = found["age_hours"]
    console.print(
        f"Snapshot {found['snapshot']} of {found['created_at'][:19]} ({age:.1f} h old), encoder {found['encoder']}"
    )
    console.print(", ".join(f"{n:,} {table}" for table, n in found["rows"].items()), soft_wrap=True)
    console.print(f"{len(found['namespaces'])} namespaces, {found['bytes'] / 1e6:,.1f} MB on disk")
    stages = sorted({stage for day in found["days"] for stage in day["stages"]}, key=found["stages"].index)
    table = Table("day", *stages, box=None, pad_edge=False)
    for day in found["days"][-31:]:
        cells = [f"[green]{day['stages'][s]:,}[/green]" if s in day["stages"] else "[dim]-[/dim]" for s in stages]
        table.add_row(day["day"], *cells)
    console.print(table)
    for gate in found["gates"]:
        mark = "[green]passed[/green]" if gate["passed"] else "[red]failed[/red]"
        console.print(f"gate {gate['name']}: {mark} {gate['detail']}", soft_wrap=True)
    for row in found["quarantine"]:
        console.print(f"[yellow]{row['n']:,} refused[/yellow] in {row['stage']}: {row['reason']}", soft_wrap=True)

"""`engraph status`: what is in the store, day by stage."""

from __future__ import annotations

from rich.table import Table

from flows.command_line import options


@options.with_session
def status(session: options.Session) -> int:
    """Day by stage grid, sizes, quarantine and gates of the newest snapshot."""
    from jobs.describe_store import describe

    found = describe(session.settings, now=session.now)
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
    console.print(_grid(found["days"][-31:], found["stages"]))
    console.print("[dim]✔ done  ↻ stale  ✘ failed  · has a source, not taken[/dim]")
    for day in found["days"][-31:]:
        for why in day["why"]:
            console.print(f"[yellow]{day['day']}[/yellow] {why}", soft_wrap=True)
    for gate in found["gates"]:
        mark = "[green]passed[/green]" if gate["passed"] else "[red]failed[/red]"
        console.print(f"gate {gate['name']}: {mark} {gate['detail']}", soft_wrap=True)
    for row in found["quarantine"]:
        console.print(f"[yellow]{row['n']:,} refused[/yellow] in {row['stage']}: {row['reason']}", soft_wrap=True)


COLOURS = {"done": "green", "stale": "yellow", "failed": "red", "missing": "cyan"}


def _grid(days: list[dict], stages: list[str]) -> Table:
    shown = [stage for stage in stages if any(stage in day["states"] for day in days)]
    table = Table("day", *shown, box=None, pad_edge=False)
    for day in days:
        table.add_row(day["day"], *(_cell(day, stage) for stage in shown))
    return table


def _cell(day: dict, stage: str) -> str:
    from jobs.day_grid import SIGNS

    state, rows = day["states"].get(stage, "nothing"), day["stages"].get(stage, 0)
    text = f"{SIGNS[state]} {rows:,}" if rows else SIGNS[state]
    return f"[{COLOURS[state]}]{text}[/{COLOURS[state]}]" if state in COLOURS else text

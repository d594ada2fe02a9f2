"""`engraph doctor`: what is lacking, and the command that mends it."""

from __future__ import annotations

from rich.markup import escape

from flows.command_line import options


@options.with_session
def doctor(session: options.Session) -> int:
    """Check the installation and the store. Exit code 1 when something needed is lacking."""
    from jobs.check_health import checks

    found = checks(session.store, session.settings, session.profile)
    if session.as_json:
        options.print_json(found)
    else:
        console = options.console()
        for check in found:
            mark = (
                "[green]ok[/green]"
                if check["ok"]
                else "[red]lacking[/red]"
                if check["needed"]
                else "[yellow]no[/yellow]"
            )
            console.print(f"{mark:<20} {check['name']}: {escape(check['detail'])}", soft_wrap=True)
            if not check["ok"] and check["mend"]:
                console.print(f"        mend: {escape(check['mend'])}", soft_wrap=True)
    return 1 if any(c["needed"] and not c["ok"] for c in found) else 0

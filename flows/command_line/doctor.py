"""`engraph doctor`: what is lacking, and the command that mends it."""

from __future__ import annotations

from flows.command_line import options


def doctor(
    store: options.Store = None,
    as_json: options.Json = False,
    profile: options.Profile = "local",
    config: options.Config = None,
    now: options.Now = None,
    debug: options.Debug = False,
) -> int:
    """Check the installation and the store. Exit code 1 when something needed is lacking."""
    from jobs.check_health import checks

    session = options.session(store, as_json, config, now, profile)
    found = checks(session.store, session.settings.encoder)
    if as_json:
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
            console.print(f"{mark:<20} {check['name']}: {check['detail']}", soft_wrap=True)
            if not check["ok"] and check["mend"]:
                console.print(f"        mend: {check['mend']}", soft_wrap=True)
    return 1 if any(c["needed"] and not c["ok"] for c in found) else 0

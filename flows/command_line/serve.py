"""`engraph serve`: Prefect on this machine, with everything deployed."""

import os
import sys
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from flows.command_line import options
from schemas.errors import EngraphError

CORPORA = """no corpus is named, so the nightly ingest has nothing to take. In engraph.toml beside the store, for instance:
    [corpora.team]
    source = "/data/team/day={day}/*.jsonl"
    first_day = "2026-01-01\""""


@options.with_session
def serve(
    session: options.Session,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback need authentication.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port of UI and API, the next one is for metrics; 0 chooses.", min=0, max=65534)
    ] = 4200,
    workers: Annotated[int, typer.Option(help="Processes that start runs.", min=1, max=16)] = 1,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the UI in a browser.")] = False,
    deployments: Annotated[
        Path | None, typer.Option("--deployments", help="What to deploy; default infra/prefect.yaml.")
    ] = None,
) -> int:
    """Start Prefect's server and worker with all deployments on this machine, until it is stopped."""
    os.environ.update(
        {"DO_NOT_TRACK": "1", "PREFECT_LOGGING_LEVEL": os.environ.get("PREFECT_LOGGING_LEVEL", "WARNING")}
    )
    from flows.serving.laptop import Address, serving, stopped_by_signals
    from flows.serving.plan import find_plan, read_plan

    plan = read_plan(find_plan(deployments))
    address = Address(session.store, _config(session), host, port)
    if not session.settings.corpora:
        say(CORPORA)
    try:
        with stopped_by_signals(), ExitStack() as stack:
            laptop, _ = stack.enter_context(serving(address, plan, session.settings.notify, workers, say))
            from flows.serving.metrics import exposed  # seconds, which who is refused above need not wait

            try:
                metrics = stack.enter_context(exposed(session.store, "127.0.0.1", laptop.address.port + 1))
            except EngraphError as problem:
                metrics = None
                say(f"no metrics: {problem}")
            _announce(session, laptop, metrics)
            if open_browser:
                webbrowser.open(laptop.ui)
            laptop.watch()
    except KeyboardInterrupt:
        say("stopped; runs that were cut off go on at the next start")
    return 0


def say(line: str) -> None:
    """One line for people, on stderr."""
    print(f"engraph: {line}", file=sys.stderr, flush=True)


def _config(session: options.Session) -> Path | None:
    """The settings file that flows are to read: what --config named, else the one beside the store."""
    beside = None if "://" in session.store else Path(session.store).absolute().with_name("engraph.toml")
    return session.config or (beside if beside and beside.exists() else None)


def _announce(session: options.Session, laptop, metrics: int | None) -> None:
    """Where everything is. As JSON this is the sign that all of it is up."""
    found = {
        "ui": laptop.ui,
        "api": laptop.api,
        "metrics": f"http://127.0.0.1:{metrics}/metrics" if metrics else None,
        "store": laptop.environment["ENGRAPH_STORE"],
        "home": str(laptop.home),
        "pid": os.getpid(),
        "next_runs": laptop.next_runs(),
    }
    if session.as_json:
        options.print_json(found)
        sys.stdout.flush()
        return
    print(f"Prefect: {found['ui']}    metrics: {found['metrics'] or 'none'}    logs: {found['home']}")
    for name, at in found["next_runs"].items():
        print(f"  {name:<16} next at {at}")
    print("Start a backfill: Deployments > backfill > Run > Custom run. Ctrl-C stops everything.", flush=True)

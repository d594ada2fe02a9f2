"""The command line. Each command is a file here; this one puts them together and turns errors into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 done but input was refused.
"""

from __future__ import annotations

import os
import sys
import traceback

import typer
from typer.exceptions import TyperException

from flows.command_line import (
    backfill,
    bench,
    deploy,
    doctor,
    evaluate,
    explore,
    export,
    forget,
    ingest,
    metrics,
    recall,
    report,
    serve,
    snapshots,
    sql,
    status,
)
from schemas.errors import EngraphError, UsageError

app = typer.Typer(
    name="engraph",
    help="A memory for AI agents: conversations and documents in, recall with sources out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("ingest")(ingest.ingest)
app.command("recall")(recall.recall)
app.command("sql")(sql.sql)
app.command("status")(status.status)
app.add_typer(backfill.app, name="backfill")
app.add_typer(snapshots.app, name="snapshots")
app.command("forget")(forget.forget)
app.command("evaluate")(evaluate.evaluate)
app.command("explore")(explore.explore)
app.command("export")(export.export)
app.command("report")(report.report)
app.command("serve")(serve.serve)
app.command("deploy")(deploy.deploy)
app.command("metrics")(metrics.metrics)
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)


def main() -> None:
    """Entry point of the `engraph` script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code. Errors are one line on stderr, a traceback with --debug."""
    debug = "--debug" in arguments
    try:
        code = app(arguments, prog_name="engraph", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _say("stopped; what was finished is kept, run the same command again to go on", 130)
    except TyperException as problem:
        if str(problem).startswith("Usage:"):
            print(problem, file=sys.stderr)
            return 2
        return _say(f"{problem} (see engraph {' '.join(arguments[:1])} --help)", 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except EngraphError as problem:
        if debug:
            traceback.print_exc()
        return _say(str(problem), 2 if isinstance(problem, UsageError) else 1)
    except Exception as problem:  # the last resort: one line for the user, everything with --debug
        if debug:
            traceback.print_exc()
        return _say(f"{type(problem).__name__}: {problem} (run it again with --debug for the traceback)", 1)


def _say(message: str, code: int) -> int:
    print(f"engraph: {' '.join(message.split())}", file=sys.stderr)
    return code

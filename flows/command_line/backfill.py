"""`engraph backfill`: compute a range of days again, without a server, by the rules of the deployment's form."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import ValidationError

from flows.command_line import options
from flows.command_line.progress import Bars
from schemas.errors import UsageError
from schemas.forms import BackfillForm

app = typer.Typer(help="Compute a range of days again.", no_args_is_help=True)

From = Annotated[str | None, typer.Option("--from", metavar="D", help="First day; default seven days up to the last.")]
To = Annotated[str | None, typer.Option("--to", metavar="D", help="Last day, included; default yesterday.")]
Corpora = Annotated[list[str] | None, typer.Option("--corpus", help="A name in [corpora]; default all.")]
Stages = Annotated[list[str] | None, typer.Option("--stages", help="Stages, by commas or repeated; default all.")]
Mode = Annotated[str, typer.Option("--mode", metavar="missing|failed|stale|all", help="Which days to take.")]
MaxParallel = Annotated[int, typer.Option("--max-parallel", metavar="N", help="Days between two snapshots.")]
NewestFirst = Annotated[bool, typer.Option("--newest-first", help="Publish the newest days first.")]


def form_of(**given: Any) -> BackfillForm:
    """The form that the options fill in. Raises `UsageError` with what is wrong, as the UI would say it."""
    if stages := given.pop("stages"):
        given["stages"] = [name for part in stages for name in part.split(",") if name]
    try:
        return BackfillForm.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as problem:
        first = problem.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
        raise UsageError(f"{field}: {first['msg']}".removeprefix(": ").replace("Value error, ", "")) from None


@app.command()
@options.with_session
def plan(
    session: options.Session,
    from_day: From = None,
    to_day: To = None,
    corpora: Corpora = None,
    stages: Stages = None,
    mode: Mode = "missing",
) -> int:
    """Say which days would be taken, why, and what rests on them."""
    form = form_of(from_day=from_day, to_day=to_day, corpora=corpora, stages=stages, mode=mode, profile=session.profile)
    return _say_plan(session, form)


def _say_plan(session: options.Session, form: BackfillForm) -> int:
    from jobs.plan_backfill import plan_backfill

    found = plan_backfill(session.settings, form, session.now)
    if session.as_json:
        options.print_json(found.to_json())
    else:
        print("\n".join(found.say()))
    return 0


@app.command()
@options.with_session
def run(
    session: options.Session,
    from_day: From = None,
    to_day: To = None,
    corpora: Corpora = None,
    stages: Stages = None,
    mode: Mode = "missing",
    max_parallel: MaxParallel = 7,
    newest_first: NewestFirst = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept beside the snapshot.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> int:
    """Take the days, publish, and say what happened. Exit code 1 when a day failed; the others are published."""
    form = form_of(
        from_day=from_day,
        to_day=to_day,
        corpora=corpora,
        stages=stages,
        mode=mode,
        max_parallel=max_parallel,
        newest_first=newest_first,
        reason=reason,
        profile=session.profile,
    )
    return _say_plan(session, form) if dry_run else _run(session, form)


def _run(session: options.Session, form: BackfillForm) -> int:
    from flows.build import Surroundings
    from flows.report_days import account
    from flows.take_days import take_days
    from jobs.engines.profile import engines_of
    from jobs.plan_backfill import plan_backfill
    from jobs.store import snapshots
    from jobs.store.lake import Lake

    planned = plan_backfill(session.settings, form, session.now)
    lake = Lake(session.store)
    parent = snapshots.current(lake)
    with Bars() as bars:
        taken = take_days(
            "engraph backfill",
            planned.days,
            Surroundings.of(session.settings, session.now, reason=form.reason or None, progress=bars, say=bars.say),
            at_once=form.max_parallel,
            newest_first=form.newest_first,
            engines=lambda: engines_of(session.profile, session.settings),
        )
    if session.as_json:
        options.print_json(planned.to_json() | {"result": taken.to_json()})
    else:
        print(account("Backfill", planned, taken, parent, session.settings, lake.url))
    taken.raise_failed()
    return 0

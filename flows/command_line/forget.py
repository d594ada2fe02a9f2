"""`engraph forget`: a namespace or a source leaves the store, with a receipt."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from flows.command_line import options
from flows.command_line.progress import Bars
from schemas.errors import UsageError

NOW, LATER = ("namespace", "source"), ("unit", "person")


@options.with_session
def forget(
    session: options.Session,
    what: Annotated[str, typer.Argument(metavar="namespace|source", help="What to forget.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The namespace, or a source_ref of the table sources.")],
    within: Annotated[str | None, typer.Option(help="For person; not in this version.", hidden=True)] = None,
    reason: Annotated[str | None, typer.Option(help="Why; kept in the receipt and the snapshot.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> int:
    """Remove a namespace or a source, and keep it out; older snapshots hold it until gc."""
    from flows import upkeep
    from flows.build import Surroundings
    from jobs.engines.profile import engines_of

    _check(what, within)
    with Bars() as bars:
        around = replace(Surroundings.of(session.settings, session.now, progress=bars, say=bars.say), reason=reason)
        if dry_run or not yes:
            asked = upkeep.preview(what, name, around)  # type: ignore[arg-type]
            if dry_run or "snapshot" in asked:
                return _show(asked, session.as_json)
            _confirm(asked)
        engines = engines_of(session.profile, session.settings)
        receipt = upkeep.forget(what, name, around, engines=engines)  # type: ignore[arg-type]
    return _show(receipt, session.as_json)


def _check(what: str, within: str | None) -> None:
    if what in LATER:
        raise UsageError(f"forget {what} is not in this version: forget a namespace or a source")
    if what not in NOW:
        raise UsageError(f"cannot forget a {what!r}: say `engraph forget namespace N` or `engraph forget source REF`")
    if within is not None:
        raise UsageError("--within goes with forget person, which is not in this version: leave it out")


def _confirm(asked: dict) -> None:
    rows = _rows(asked["rows"])
    if not sys.stdin.isatty():
        raise UsageError(
            f"{asked['what']} {asked['name']} ({rows}) would be removed: say --yes, or look first with --dry-run"
        )
    typer.confirm(
        f"Forget {asked['what']} {asked['name']}: {rows}, and all that was made from them?", abort=True, err=True
    )


def _rows(rows: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {table}" for table, n in rows.items()) or "no rows"


def _show(found: dict, as_json: bool) -> int:
    if as_json:
        options.print_json(found)
    elif "snapshot" not in found:
        print(
            f"{found['what']} {found['name']} would be removed: {_rows(found['rows'])}, and all that was made from them"
        )
    else:
        verb = "had been forgotten" if found["already"] else "is forgotten"
        print(f"{found['what']} {found['name']} {verb} since snapshot {found['snapshot']} ({found['at'][:19]})")
        print(f"removed: {_rows(found['removed'])}")
        if found["reason"]:
            print(f"reason: {found['reason']}")
        print(f"receipt: {found['subject']} in the table erasures. {found['note']}")
    return 0

"""`engraph snapshots`: the versions of the whole store."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer

from flows.command_line import options
from schemas.errors import UsageError

app = typer.Typer(help="List, compare, restore and clean up snapshots.", no_args_is_help=True)


def _lake(session: options.Session):
    from jobs.store import snapshots
    from jobs.store.lake import Lake

    lake = Lake(session.store)
    snapshots.open_store(lake)
    return lake


@app.command("list")
@options.with_session
def list_snapshots(session: options.Session) -> int:
    """All snapshots, oldest first."""
    from jobs.store import snapshots

    lake = _lake(session)
    found = [snapshots.load(lake, n) for n in snapshots.numbers(lake)]
    if session.as_json:
        fields = {"number", "created_at", "parent", "restored_from", "forced", "reason", "flow_run", "encoder", "rows"}
        options.print_json([s.model_dump(mode="json", include=fields) for s in found])
        return 0
    for s in found:
        note = f"  restored from {s.restored_from}" if s.restored_from else ""
        note += f"  forced: {s.forced}" if s.forced else ""
        note += f"  {s.reason}" if s.reason else ""
        note += f"  {s.flow_run}" if s.flow_run else ""
        print(f"{s.number:>5}  {s.created_at:%Y-%m-%d %H:%M:%S}  {s.rows.get('memory_units', 0):>9,} units{note}")
    return 0


@app.command("diff")
@options.with_session
def diff(
    session: options.Session,
    a: Annotated[int, typer.Argument(help="The older snapshot.")],
    b: Annotated[int, typer.Argument(help="The newer snapshot.")],
) -> int:
    """What changed between two snapshots."""
    from jobs.store import snapshots

    found = snapshots.diff(_lake(session), a, b)
    if session.as_json:
        options.print_json(found)
    else:
        for table, n in found["rows"].items():
            print(f"{table:<16} {n:+,}")
        print(f"{len(found['partitions'])} partitions and {len(found['index_shards'])} index shards differ")
    return 0


@app.command("rollback")
@options.with_session
def rollback(
    session: options.Session,
    number: Annotated[int, typer.Argument(help="The snapshot to restore.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
) -> int:
    """Publish an older snapshot's content as the newest."""
    from jobs.store import lock, snapshots

    lake = _lake(session)
    newest = snapshots.numbers(lake)[-1] if snapshots.numbers(lake) else 0
    snapshots.load(lake, number)
    if not dry_run:
        with lock.writing(lake, "engraph snapshots rollback", wait_s=session.settings.lock_wait_s):
            run_id = f"{session.now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
            newest = snapshots.rollback(lake, number, now=session.now, run_id=run_id).number - 1
    result = {"snapshot": newest + 1, "restored_from": number, "dry_run": dry_run}
    options.print_json(result) if session.as_json else print(
        f"snapshot {newest + 1} {'would be' if dry_run else 'is'} {number} again"
    )
    return 0


@app.command("gc")
@options.with_session
def gc(
    session: options.Session,
    keep: Annotated[int, typer.Option(help="How many of the newest snapshots stay.")] = 7,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> int:
    """Remove old snapshots and every file that no remaining snapshot names. Pinned snapshots stay."""
    from jobs.store import lock, snapshots

    if keep < 1:
        raise UsageError("--keep must be at least 1: the newest snapshot always stays")
    lake = _lake(session)
    with lock.writing(lake, "engraph snapshots gc", wait_s=session.settings.lock_wait_s):
        result = snapshots.collect_garbage(lake, keep=keep, dry_run=dry_run)
    if session.as_json:
        options.print_json(result)
    else:
        verb = "would be removed" if dry_run else "removed"
        print(
            f"{len(result['removed'])} files and folders {verb}; snapshots kept: {', '.join(map(str, result['kept']))}"
        )
    return 0

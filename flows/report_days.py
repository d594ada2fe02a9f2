"""The account of a run that took days: what came in, what was refused, what it cost, how recall stands, as Markdown."""

import os

from flows.take_days import Taken
from jobs.plan_backfill import Plan
from schemas.manifest import Snapshot
from schemas.settings import Settings

GOLDEN = "golden recall@10"


def account(title: str, plan: Plan, taken: Taken, parent: Snapshot | None, settings: Settings, store: str) -> str:
    """The markdown artifact at the end of a run; also what `engraph backfill run` prints."""
    newest = taken.snapshots[-1] if taken.snapshots else parent
    lines = [f"# {title}", "", _headline(taken, newest), "", *_days(taken), *_followed(taken), *_left_out(plan)]
    lines += [
        "",
        *_rows(parent, newest),
        "",
        *_recall(parent, newest),
        "",
        _cost(taken, settings),
        "",
        f"Store: `{store}`",
    ]
    return "\n".join(lines)


def _headline(taken: Taken, newest: Snapshot | None) -> str:
    failed = len(taken.failed())
    told = f"{len(taken.outcomes) - failed} days done, {failed} failed" if taken.outcomes else "Nothing to do"
    if taken.snapshots:
        numbers = ", ".join(str(s.number) for s in taken.snapshots)
        return f"**{told}.** Published snapshot {numbers}."
    return f"**{told}.** " + (f"Snapshot {newest.number} stands." if newest else "There is no snapshot yet.")


def _days(taken: Taken) -> list[str]:
    if not taken.outcomes:
        return []
    lines = ["| day | corpus | status | files | refused | seconds | |", "|---|---|---|---:|---:|---:|---|"]
    for o in taken.outcomes:
        corpus = o.corpus or "(records of the store)"
        said = (o.error or "").replace("|", "\\|")
        lines.append(
            f"| {o.day} | {corpus} | {o.status} | {len(o.files)} | {o.quarantined} | {o.seconds:.1f} | {said} |"
        )
    return lines


def _followed(taken: Taken) -> list[str]:
    if not taken.followed:
        return []
    days = ", ".join(day.isoformat() for day in taken.followed)
    return ["", f"Later days that rested on these were stale and were brought up to date: {days}."]


def _left_out(plan: Plan) -> list[str]:
    return ["", "Left out by the mode:", *(f"- {line}" for line in plan.left_out)] if plan.left_out else []


def _rows(parent: Snapshot | None, newest: Snapshot | None) -> list[str]:
    if newest is None:
        return []
    before = parent.rows if parent else {}
    lines = ["| table | rows | change |", "|---|---:|---:|"]
    lines += [f"| {table} | {n:,} | {n - before.get(table, 0):+,} |" for table, n in newest.rows.items()]
    return lines


def _recall(parent: Snapshot | None, newest: Snapshot | None) -> list[str]:
    after, before = _golden(newest), _golden(parent)
    if after is None:
        return ["Recall: no golden questions (`golden.jsonl` in the store), so it was not measured."]
    return [f"Golden recall@10: {after:.3f}" + (f", before {before:.3f}" if before is not None else "") + "."]


def _golden(snapshot: Snapshot | None) -> float | None:
    return next((gate.value for gate in snapshot.gates if gate.name == GOLDEN), None) if snapshot else None


def _cost(taken: Taken, settings: Settings) -> str:
    cores = os.cpu_count() or 1
    usd = taken.seconds / 3600 * cores * settings.prices.usd_per_cpu_hour
    return f"{taken.seconds:.1f} s on {cores} cores: about ${usd:.4f} at ${settings.prices.usd_per_cpu_hour} a core and hour."

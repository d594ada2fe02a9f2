"""Compact, as a Prefect flow: the store's housekeeping.

    remove old snapshots and what only they named, merge the ledger by month, make index shards whole -> tell

Readers go on meanwhile: pinned snapshots stay, and a reader of the ledger sees every row once throughout.
"""

from prefect import flow, task

from flows import upkeep
from flows.prefect_steps import STEP, engines, surroundings, worker_settings
from flows.upkeep_steps import table, tell
from schemas.forms import CompactForm

USUAL = CompactForm()


@flow(name="compact-indexes", flow_run_name="compact, keep {form.keep} snapshots", persist_result=False)
def compact_indexes(form: CompactForm = USUAL) -> None:
    """Remove what nothing needs, merge what is small, rebuild what is damaged."""
    report = keep_house(form)
    tell("compact-indexes", report, story(report))


@task(name="keep house", **STEP)
def keep_house(form: CompactForm) -> dict:
    """All of it under the writer's lock."""
    chosen = worker_settings()
    return upkeep.compact(form.keep, surroundings(chosen, form), dry_run=form.dry_run, engines=engines(chosen, form)())


def story(report: dict) -> list[str]:
    """What went, what was merged, what was rebuilt, and bytes before and after."""
    verb = "would be removed" if report["dry_run"] else "removed"
    before, after = report["bytes_before"] / 1e6, report["bytes_after"] / 1e6
    lines = [
        "# Compact",
        "",
        f"{len(report['removed']):,} files and folders {verb}; snapshots {_span(report['snapshots_kept'])} stay.",
        f"{before:,.1f} MB before, {after:,.1f} MB after.",
    ]
    merged = [[m["table"], month, n] for m in report["ledger"] for month, n in m["months"].items()]
    lines += table(["ledger", "month", "files to one"], merged) if merged else []
    shards = [[s["bucket"], s["problem"], "yes" if s["rebuilt"] else "no"] for s in report["shards"]]
    return lines + (table(["bucket", "index shard was", "rebuilt"], shards) if shards else [])


def _span(numbers: list[int]) -> str:
    return f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else ", ".join(map(str, numbers)) or "none"

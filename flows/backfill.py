"""Backfill: compute a range of days again, from the form of the Prefect UI or from `engraph backfill run`."""

import datetime as dt

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from flows import prefect_steps as steps
from flows.nightly_ingest import take_planned
from jobs.plan_backfill import plan_backfill
from schemas.errors import UsageError
from schemas.forms import BackfillForm


def _name() -> str:
    """`backfill 2026-03-01 to 2026-03-07 missing`: what, and which days."""
    form = BackfillForm.model_validate(flow_run.parameters.get("form") or {})
    try:
        first, last = form.window(dt.datetime.now(dt.UTC).date())
    except UsageError:  # the flow's first line says what is wrong
        return f"backfill {form.mode}"
    return f"backfill {first} to {last} {form.mode}" + (" (dry run)" if form.dry_run else "")


@flow(name="backfill", flow_run_name=_name, persist_result=False)
def backfill(form: BackfillForm = BackfillForm()) -> None:
    """Read the sources of a range of days again and bring them through all stages; days that are done stay as they are."""
    settings = steps.worker_settings()
    plan = plan_backfill(settings, form, dt.datetime.now(dt.UTC), flow_run=flow_run.ui_url or flow_run.id)
    if form.dry_run:
        lines = plan.say()
        get_run_logger().info("\n".join(lines))
        create_markdown_artifact("\n".join(["# Plan", "", *(f"- {line}" for line in lines)]), key="backfill-plan")
        return
    taken = take_planned("backfill", plan, settings, form, at_once=form.max_parallel, newest_first=form.newest_first)
    taken.raise_failed()

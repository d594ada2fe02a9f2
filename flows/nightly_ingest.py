"""Nightly ingest: every day of every configured corpus that has a source and no completed run, not only yesterday.

It heals itself: a night that failed, a day that came late, a file that was delivered again are found by the next night.
"""

import datetime as dt

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows import prefect_steps as steps
from flows.report_days import account
from flows.take_days import Taken, take_days
from jobs.plan_backfill import Plan, plan_nightly, refuse_nothing_configured
from jobs.store import snapshots
from jobs.store.lake import Lake
from schemas.forms import Asked, NightlyForm
from schemas.settings import Settings


@flow(name="nightly-ingest", flow_run_name="nightly {form.profile}", persist_result=False)
def nightly_ingest(form: NightlyForm = NightlyForm()) -> None:
    """Take every day that has a source and no completed run, publish, and say what happened."""
    settings = steps.worker_settings()
    refuse_nothing_configured(settings)
    plan = plan_nightly(settings, form, dt.datetime.now(dt.UTC))
    taken = take_planned("nightly ingest", plan, settings, form, at_once=form.max_parallel)
    taken.raise_failed()


def take_planned(
    title: str,
    plan: Plan,
    settings: Settings,
    form: Asked,
    *,
    at_once: int,
    newest_first: bool = False,
) -> Taken:
    """Take the days of a plan in sight of everybody: grid and progress while it works, an account at the end, events."""
    log, name = get_run_logger(), title.replace(" ", "-")
    for line in plan.say():
        log.info(line)
    lake = Lake(settings.store)
    parent = snapshots.current(lake)
    board = steps.Board(name, steps.current_grid(settings), steps.steps_of(plan.days, at_once))
    taken = take_days(
        title,
        plan.days,
        steps.surroundings(settings, form),
        at_once=at_once,
        newest_first=newest_first,
        engines=steps.engines(settings, form),
        steps=steps.TaskSteps(board),
    )
    board.finish(steps.current_grid(settings))
    text = account(title.capitalize(), plan, taken, parent, settings, lake.url)
    create_markdown_artifact(text, key=f"{name}-account", description=f"What the {title} did")
    if taken.snapshots:
        steps.link_report(name, settings, taken.snapshots[-1].number)
    tell_outcome(taken, settings)
    return taken


def tell_outcome(taken: Taken, settings: Settings) -> None:
    """Events for automations: what was published, gates that failed, days of which too much was refused."""
    url = Lake(settings.store).url
    for snapshot in taken.snapshots:
        steps.tell_published(snapshot, url)
    for error in taken.gates:
        steps.tell("gate.failed", url, error=error)
    for outcome in taken.outcomes:
        if outcome.read and outcome.quarantined > settings.quarantine_limit * outcome.read:
            share = round(outcome.quarantined / outcome.read, 4)
            steps.tell("quarantine.high", url, day=outcome.day.isoformat(), corpus=outcome.corpus, share=share)

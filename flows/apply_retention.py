"""Apply retention, as a Prefect flow: units older than [[retention]] allows leave the views and the index.

    check the rules -> archive and publish -> tell

A second run on the same day finds nothing. History keeps what is archived; forgetting is `flows.forget`.
"""

from prefect import flow, task

from flows import upkeep
from flows.prefect_steps import STEP, engines, surroundings, worker_settings
from flows.upkeep_steps import table, tell
from jobs import apply_retention as retention
from schemas.forms import RetentionForm

AS_SETTINGS_SAY = RetentionForm()


@flow(name="apply-retention", flow_run_name="apply retention", persist_result=False)
def apply_retention(form: RetentionForm = AS_SETTINGS_SAY) -> None:
    """Archive what is older than [[retention]] of the settings allows, and publish."""
    retention.check(worker_settings().retention)
    report = archive_old_units(form)
    tell("apply-retention", report, story(report))


@task(name="archive old units", **STEP)
def archive_old_units(form: RetentionForm) -> dict:
    """Archive and publish, under the writer's lock."""
    chosen = worker_settings()
    return upkeep.retain(
        chosen.retention, surroundings(chosen, form), dry_run=form.dry_run, engines=engines(chosen, form)()
    )


def story(report: dict) -> list[str]:
    """What was archived, by rule."""
    if not report["rules"]:
        return ["# Retention", "", "The settings have no [[retention]]: every unit stays."]
    verb = "would be archived" if report["dry_run"] else "archived"
    rows = [[r["rule"], u["namespace"], u["granularity"], u["units"]] for r in report["rules"] for u in r["of"]]
    lines = ["# Retention", "", f"{report['archived']:,} units {verb}; the newest snapshot is {report['snapshot']}."]
    return lines + (table(["rule", "namespace", "granularity", "units"], rows) if rows else [])

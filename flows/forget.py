"""Forget, as a Prefect flow: a namespace or a source leaves the store, from the next snapshot on.

    look it up -> refuse it from now on, take it out, bring the stages up to date, publish -> tell

Older snapshots hold it until they are removed: run compact-indexes with a small `keep` for that.
"""

from prefect import flow, task
from prefect.runtime import flow_run

from flows import upkeep
from flows.prefect_steps import STEP, engines, surroundings, worker_settings
from flows.upkeep_steps import table, tell
from schemas.forms import ForgetForm


def run_name() -> str:
    """`forget namespace conv-26`."""
    form = flow_run.parameters["form"]
    form = form if isinstance(form, ForgetForm) else ForgetForm.model_validate(form)
    return f"{'look at' if form.dry_run else 'forget'} {form.what} {form.name}"


@flow(name="forget", flow_run_name=run_name, persist_result=False)
def forget(form: ForgetForm) -> None:
    """Remove what one namespace or one source brought, keep it out, and write the receipt."""
    if form.dry_run:
        report = look_it_up(form)
    else:
        report = take_it_out(form)
    tell("forget", report, story(report))


@task(name="look it up", **STEP)
def look_it_up(form: ForgetForm) -> dict:
    """Rows that would go."""
    return upkeep.preview(form.what, form.name, surroundings(worker_settings(), form))


@task(name="take it out", **STEP)
def take_it_out(form: ForgetForm) -> dict:
    """Everything under the writer's lock. Tried again, it gives the receipt of what was done."""
    chosen = worker_settings()
    receipt = upkeep.forget(form.what, form.name, surroundings(chosen, form), engines=engines(chosen, form)())
    return receipt | {"published": not receipt["already"]}


def story(report: dict) -> list[str]:
    """The receipt, or what would be in one."""
    head = f"# Forget {report['what']} {report['name']}"
    if "removed" not in report:
        rows = [[name, f"{n:,}"] for name, n in report["rows"].items()]
        return [head, "", "Would be removed, with all that was made from them:", *table(["table", "rows"], rows)]
    rows = [[name, f"{n:,}"] for name, n in report["removed"].items()]
    lines = [head, "", f"Gone since snapshot {report['snapshot']} ({report['at'][:19]}). {report['note']}"]
    lines += [f"Reason: {report['reason']}"] if report["reason"] else []
    return [*lines, *table(["table", "rows removed"], rows), f"Receipt `{report['subject']}` in the table `erasures`."]

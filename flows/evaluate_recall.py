"""Evaluate: the labelled sets of [evaluations] against the newest snapshot, with a floor under the metric of each."""

import datetime as dt
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows import prefect_steps as steps
from jobs.evaluate_recall import evaluate_recall as ask_labelled_set
from jobs.record_evaluation import Evaluation, record
from jobs.store.reader import open_store
from schemas.errors import EngraphError, UsageError
from schemas.forms import EvaluateForm, check_names
from schemas.settings import LabelledSet, Settings


class RecallTooLow(EngraphError):
    """A labelled set is answered worse than its floor allows."""


@flow(name="evaluate-recall", flow_run_name="evaluate recall {form.evaluations}", persist_result=False)
def evaluate_recall(form: EvaluateForm = EvaluateForm()) -> None:
    """Ask every question of the configured sets, keep the metrics in the ledger, fail where one is below its floor."""
    settings = steps.worker_settings()
    if not settings.evaluations:
        raise UsageError(
            'nothing to evaluate: write into engraph.toml [evaluations.NAME], dataset = "jsonl" and paths = ["questions.jsonl"]'
        )
    low, lines = [], ["| set | questions | metric | value | 95 % interval | floor |", "|---|---:|---|---:|---|---:|"]
    for name in check_names("evaluations", form.evaluations, settings.evaluations):
        wanted = settings.evaluations[name]
        found: Any = steps.stage_task(f"evaluate {name}", None)(partial(_evaluate, settings, form, wanted))
        value = _value(name, wanted, found)
        bounds = " to ".join(f"{bound:.3f}" for bound in found.intervals[wanted.metric])
        lines.append(f"| {name} | {found.n} | {wanted.metric} | {value:.3f} | {bounds} | {wanted.floor:.3f} |")
        get_run_logger().info("set=%s metric=%s value=%.4f floor=%.4f", name, wanted.metric, value, wanted.floor)
        if value < wanted.floor:
            low.append(f"{name}: {wanted.metric} {value:.3f} below {wanted.floor:.3f}")
            steps.tell("recall.failed", settings.store, set=name, metric=wanted.metric, value=value, floor=wanted.floor)
    create_markdown_artifact("\n".join(["# Recall", "", *lines]), key="recall", description="Labelled sets")
    if low:
        raise RecallTooLow("; ".join(low))


def _evaluate(settings: Settings, form: EvaluateForm, wanted: LabelledSet) -> Evaluation:
    with steps.engines(settings, form)() as engines, open_store(settings.store) as store:
        paths = [Path(path) for path in wanted.paths]
        found = ask_labelled_set(store, wanted.dataset, paths, engine=engines.of("evaluate"))
        record(store, found, now=dt.datetime.now(dt.UTC))
    return found


def _value(name: str, wanted: LabelledSet, found: Evaluation) -> float:
    if wanted.metric not in found.metrics:
        known = ", ".join(sorted(found.metrics))
        raise UsageError(
            f"[evaluations.{name}] metric {wanted.metric!r} is not measured on this set: choose of {known}"
        )
    return found.metrics[wanted.metric]

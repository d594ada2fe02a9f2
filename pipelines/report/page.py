"""`Contents` -> one HTML page: styles, script and pictures inside it, nothing fetched, nothing from the data run.

Every value goes through Jinja's escaping. The page also carries a Content-Security-Policy that names the hash of its own script and
forbids everything else, so that even a hole in the escaping could neither run nor fetch anything.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipelines.report import cluster_map, recall_view
from pipelines.report.charts import Point, column_chart, histogram, line_chart
from pipelines.report.contents import AnnFigures, Contents, Timeline
from pipelines.report.marking import marked, reasons

SIGNS = {"done": "✔", "missing": "·", "failed": "✘", "stale": "↻", "running": "…", "cancelled": "✘", "nothing": ""}
STATES = {
    "done": "done",
    "stale": "made by another version",
    "failed": "failed",
    "missing": "has a source, not taken",
    "running": "running",
    "cancelled": "cancelled",
}


def render(contents: Contents) -> str:
    """The page. Equal contents give equal bytes."""
    script = source("page.js")
    return (
        environment()
        .get_template("report.html")
        .render(
            c=contents,
            csp=policy(script),
            style=Markup(source("style.css")),
            script=Markup(script),
            signs=SIGNS,
            states=STATES,
            arrivals=_arrivals(contents),
            recall=recall_view.datasets(contents.evaluations),
            indexes=[
                (ann, _speed_chart(ann), _list_chart(ann)) for ann in (contents.index.anns if contents.index else [])
            ],
            growth=_growth(contents),
            map=_map(contents),
            timelines=[(t, timeline_chart(t)) for t in contents.timelines],
        )
    )


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Templates with escaping and the filters of all pages."""
    made = Environment(
        loader=PackageLoader("pipelines.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"count": _count, "size": _size, "when": _when, "seconds": _seconds, "cut": _cut, "share": _share}
    made.filters |= {"marked": marked, "reasons": reasons}
    return made


def source(name: str) -> str:
    """The text of a file beside the templates that is not a template: style sheet or script."""
    loader = environment().loader
    assert loader is not None
    return loader.get_source(environment(), name)[0]


def policy(script: str, forms: str = "'none'") -> str:
    """What the page may do: its own styles, the one script with this hash, forms that lead to `forms`."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action {forms}"


def explorer_page(template: str, **values: Any) -> str:
    """A page of the explorer: `explore_<template>.html` with the report's styles and script."""
    script = source("page.js")
    shown = values | {"csp": policy(script, "'self'"), "style": Markup(source("style.css")), "script": Markup(script)}
    return environment().get_template(f"explore_{template}.html").render(shown)


def _arrivals(contents: Contents):
    if len(contents.arrivals) < 2:
        return None
    values = [(day.isoformat(), n) for day, n in contents.arrivals]
    return column_chart("Units by day of arrival", values, names=("day", "units"), labels=3)


def _growth(contents: Contents):
    if len(contents.versions) < 2:
        return None
    values = [(str(v.number), v.rows.get("memory_units", 0)) for v in contents.versions]
    return column_chart("Units by snapshot", values, names=("snapshot", "units"), labels=8)


def _speed_chart(ann: AnnFigures):
    """Recall against queries a second; the exact scan, where it was timed, is a point of its own."""
    if len(ann.speeds) < 2:
        return None
    points = [
        Point(s.qps, s.recall, label=f"{s.label}, {s.qps:,.0f}/s") for s in sorted(ann.speeds, key=lambda s: s.qps)
    ]
    low, high = points[0].x, points[-1].x
    ticks = [n * 10**e for e in range(7) for n in (1, 2, 5) if low <= n * 10**e <= high] or [low, high]
    return line_chart(
        "Recall@10 against speed",
        [("recall@10", points)],
        names=("queries a second, one thread", "recall@10"),
        x_ticks=[(t, f"{t:,.0f}") for t in ticks[:: max(1, len(ticks) // 5)]],
        log=True,
    )


def _list_chart(ann: AnnFigures):
    if not ann.lists:
        return None
    return column_chart("Sizes of lists", histogram(ann.lists), names=("entries", "lists"), labels=3)


def _map(contents: Contents):
    found = contents.vectors
    return cluster_map.project(found.texts, found.matrix, of=found.of) if found else None


def timeline_chart(timeline: Timeline):
    shape = {"month": "%Y-%m", "day": "%Y-%m-%d", "year": "%Y"}[timeline.step]
    values = [(f"{at:{shape}}", n) for at, n in timeline.counts]
    return column_chart(f"Units that mention {timeline.name}", values, names=(timeline.step, "units"), labels=4)


def _count(n: float | None) -> str:
    return "" if n is None else f"{n:,.0f}"


def _size(n: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000 or unit == "GB":
            return f"{n:,.0f} {unit}" if unit == "bytes" or n >= 100 else f"{n:,.1f} {unit}"
        n /= 1000
    raise AssertionError


def _when(at: dt.datetime | dt.date | None, shape: str = "%Y-%m-%d %H:%M") -> str:
    return "" if at is None else f"{at:{shape}}"


def _seconds(s: float) -> str:
    if s < 60:
        return f"{s:.1f} s"
    minutes, rest = divmod(round(s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _cut(text: str, width: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def _share(part: float, whole: float) -> Any:
    return f"{100 * part / whole:.2f}" if whole else "0"

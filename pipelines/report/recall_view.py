"""The rows of `evaluations` as charts: recall over k with its interval, by category, by channel, from snapshot to snapshot.

Rows are read as they come: a metric is `name@k` or just a name, a category is `all` or anything else. Categories that speak of
channels (`only ...`, `without ...`, `ablation:...`, `channel:...`) are an ablation.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.report.charts import LineChart, Point, line_chart, share_ticks
from pipelines.report.contents import Measured

AT_K = re.compile(r"^(.+)@(\d+)$")
ABLATION = re.compile(r"^(ablation|channel)\b[:= ]*|^(?=only |without |fusion$)")
HEADLINES = ("recall@10", "recall@5", "session_recall_all@3", "accuracy")
LINES = 5


@dataclass(frozen=True)
class Row:
    """A line of a table with its interval drawn: positions are shares of the scale."""

    name: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Interval:
    """Rows of one metric side by side, drawn on the scale from `low` to `high`."""

    title: str
    metric: str
    rows: list[Row]
    low: float
    high: float


@dataclass(frozen=True)
class DatasetView:
    """All that was measured of one labelled set, of the newest snapshot that was asked."""

    name: str
    snapshot: int
    n: int
    headline: Row | None
    metric: str
    charts: list[LineChart]
    intervals: list[Interval]
    history: LineChart | None


def datasets(measured: Sequence[Measured]) -> list[DatasetView]:
    """One view a labelled set, by name."""
    by_name: dict[str, list[Measured]] = defaultdict(list)
    for row in measured:
        by_name[row.dataset].append(row)
    return [_view(name, rows) for name, rows in sorted(by_name.items())]


def _view(name: str, rows: list[Measured]) -> DatasetView:
    last = max(rows, key=lambda r: r.at).snapshot
    newest: dict[tuple[str, str], Measured] = {}
    for row in sorted((r for r in rows if r.snapshot == last), key=lambda r: r.at):
        newest[row.category, row.metric] = row
    overall = {metric: row for (category, metric), row in newest.items() if category == "all"}
    metric = next((m for m in HEADLINES if m in overall), next(iter(overall), ""))
    found = overall.get(metric)
    headline = Row(metric, found.value, found.low, found.high, found.n) if found else None
    n = max(r.n for r in newest.values())
    return DatasetView(
        name, last, n, headline, metric, _curves(overall), _intervals(newest, metric), _history(rows, metric)
    )


def _curves(overall: dict[str, Measured]) -> list[LineChart]:
    """Metrics at several k, those of sessions apart."""
    families: dict[str, list[tuple[int, Measured]]] = defaultdict(list)
    for metric, row in overall.items():
        if found := AT_K.match(metric):
            families[found[1]].append((int(found[2]), row))
    groups: dict[str, dict[str, list[tuple[int, Measured]]]] = {"": {}, "session_": {}}
    for name, points in families.items():
        if len(points) > 1:
            groups["session_" if name.startswith("session_") else ""][name] = sorted(points, key=lambda p: p[0])
    charts = []
    for prefix, named in groups.items():
        title = "Of sessions" if prefix else "Of the units asked for"
        ordered = sorted(
            named.items(), key=lambda item: (not item[0].removeprefix("session_").startswith("recall"), item[0])
        )
        for start in range(0, len(ordered), LINES):
            part = ordered[start : start + LINES]
            series = [
                (name.removeprefix(prefix), [Point(k, r.value, r.low, r.high, f"k = {k}") for k, r in points])
                for name, points in part
            ]
            ticks = sorted({k for _, points in part for k, _ in points})
            charts.append(
                line_chart(
                    title, series, names=("k, hits returned", "mean"), x_ticks=[(k, str(k)) for k in ticks], log=True
                )
            )
    return charts


def _intervals(newest: dict[tuple[str, str], Measured], metric: str) -> list[Interval]:
    """The headline metric by category, and by channel."""
    categories: list[Row] = []
    ablation: list[Row] = []
    for (category, name), row in newest.items():
        if name != metric or category == "all":
            continue
        found = ABLATION.match(category)
        shown = category[found.end() :] or category if found else category
        (ablation if found else categories).append(Row(shown, row.value, row.low, row.high, row.n))
    whole = newest.get(("all", metric))
    out = []
    if categories:
        out.append(_interval("By kind of question", metric, sorted(categories, key=lambda r: r.name)))
    if ablation:
        if whole and not any(r.name == "fusion" for r in ablation):
            ablation.append(Row("all channels", whole.value, whole.low, whole.high, whole.n))
        out.append(_interval("Ablation: what each channel brings", metric, sorted(ablation, key=lambda r: -r.value)))
    return out


def _interval(title: str, metric: str, rows: list[Row]) -> Interval:
    ticks = share_ticks(min(r.low for r in rows), max(r.high for r in rows))
    return Interval(title, metric, rows, ticks[0], ticks[-1])


def _history(rows: list[Measured], metric: str) -> LineChart | None:
    """The headline metric from snapshot to snapshot, where there is more than one."""
    by_snapshot: dict[int, Measured] = {}
    for row in sorted(rows, key=lambda r: r.at):
        if (row.category, row.metric) == ("all", metric):
            by_snapshot[row.snapshot] = row
    if len(by_snapshot) < 2:
        return None
    points = [Point(n, r.value, r.low, r.high, f"snapshot {n}") for n, r in sorted(by_snapshot.items())]
    shown = sorted(by_snapshot)
    ticks = shown if len(shown) <= 8 else [shown[round(i * (len(shown) - 1) / 7)] for i in range(8)]
    return line_chart(
        f"{metric} by snapshot", [(metric, points)], names=("snapshot", metric), x_ticks=[(n, str(n)) for n in ticks]
    )

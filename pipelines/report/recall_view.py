"""The rows of `evaluations` as charts: recall over k with its interval, by category, by channel, from snapshot to snapshot.

Rows are read as they come: a metric is `name@k` or just a name; a category is `all`, a kind of question, or `folds` (mean and
spread over parts of the set); a ranking is recall, a variant of it or a baseline. Variants without or of only one channel are an
ablation; older ledgers tell them by category (`only ...`, `without ...`, `ablation:...`, `channel:...`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.report.charts import LineChart, Point, line_chart, share_ticks
from pipelines.report.contents import RECALL, Measured

FOLDS = "folds"
CONFIDENCE, RELIABILITY = "confidence@", "reliability@"
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
    of: str
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
    folds: Row | None
    others: list[Row]


def datasets(measured: Sequence[Measured]) -> list[DatasetView]:
    """One view a labelled set, by name."""
    by_name: dict[str, list[Measured]] = defaultdict(list)
    for row in measured:
        by_name[row.dataset].append(row)
    return [_view(name, rows) for name, rows in sorted(by_name.items())]


def _view(name: str, rows: list[Measured]) -> DatasetView:
    last = max(rows, key=lambda r: r.at).snapshot
    newest: dict[tuple[str, str, str], Measured] = {}
    for row in sorted((r for r in rows if r.snapshot == last), key=lambda r: r.at):
        newest[row.ranking, row.category, row.metric] = row
    overall = {m: row for (ranking, category, m), row in newest.items() if (ranking, category) == (RECALL, "all")}
    metric = next((m for m in HEADLINES if m in overall), next(iter(overall), ""))
    folds = newest.get((RECALL, FOLDS, metric))
    calibration = _calibration(overall)
    return DatasetView(
        name=name,
        snapshot=last,
        n=max(r.n for r in newest.values()),
        headline=_row(metric, overall[metric]) if overall else None,
        metric=metric,
        charts=_curves(overall) + ([calibration] if calibration else []),
        intervals=_intervals(newest, metric),
        history=_history(rows, metric),
        folds=_row(metric, folds) if folds else None,
        others=[_row(m, row) for m, row in overall.items() if "@" not in m],
    )


def _row(name: str, found: Measured) -> Row:
    return Row(name, found.value, found.low, found.high, found.n)


def _calibration(overall: dict[str, Measured]) -> LineChart | None:
    """How often questions of a confidence could be answered, beside what the confidence promised."""
    middles = [m.removeprefix(RELIABILITY) for m in overall if m.startswith(RELIABILITY)]
    points = [
        Point(overall[CONFIDENCE + m].value, r.value, r.low, r.high, f"confidence {overall[CONFIDENCE + m].value:.2f}")
        for m in middles
        if CONFIDENCE + m in overall and (r := overall[RELIABILITY + m]).n
    ]
    if len(points) < 2:
        return None
    points.sort(key=lambda p: p.x)
    promised = [Point(x, x) for x in (points[0].x, points[-1].x)]
    return line_chart(
        "Confidence and truth",
        [("answerable", points), ("as promised", promised)],
        names=("confidence", "share answerable"),
        x_ticks=[(n / 5, f"{n / 5:.1f}") for n in range(6)],
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


def _intervals(newest: dict[tuple[str, str, str], Measured], metric: str) -> list[Interval]:
    """The headline metric by category, by channel, and against baselines."""
    categories: list[Row] = []
    ablation: list[Row] = []
    baselines: list[Row] = []
    for (ranking, category, name), row in newest.items():
        if name != metric or category == FOLDS or (ranking, category) == (RECALL, "all"):
            continue
        if ranking != RECALL:
            if category == "all":
                (ablation if ABLATION.match(ranking) else baselines).append(_row(ranking, row))
        elif found := ABLATION.match(category):
            ablation.append(_row(category[found.end() :] or category, row))
        else:
            categories.append(_row(category, row))
    whole = newest.get((RECALL, "all", metric))
    for rows, name in ((ablation, "all channels"), (baselines, "recall")):
        if rows and whole and not any(r.name == "fusion" for r in rows):
            rows.append(_row(name, whole))
    titled = [
        ("By kind of question", "category", sorted(categories, key=lambda r: r.name)),
        ("Ablation: what each channel brings", "channels", sorted(ablation, key=lambda r: -r.value)),
        ("Beside baselines", "ranking", sorted(baselines, key=lambda r: -r.value)),
    ]
    return [_interval(title, of, metric, rows) for title, of, rows in titled if rows]


def _interval(title: str, of: str, metric: str, rows: list[Row]) -> Interval:
    ticks = share_ticks(min(r.low for r in rows), max(r.high for r in rows))
    return Interval(title, of, metric, rows, ticks[0], ticks[-1])


def _history(rows: list[Measured], metric: str) -> LineChart | None:
    """The headline metric from snapshot to snapshot, where there is more than one."""
    by_snapshot: dict[int, Measured] = {}
    for row in sorted(rows, key=lambda r: r.at):
        if (row.ranking, row.category, row.metric) == (RECALL, "all", metric):
            by_snapshot[row.snapshot] = row
    if len(by_snapshot) < 2:
        return None
    points = [Point(n, r.value, r.low, r.high, f"snapshot {n}") for n, r in sorted(by_snapshot.items())]
    shown = sorted(by_snapshot)
    ticks = shown if len(shown) <= 8 else [shown[round(i * (len(shown) - 1) / 7)] for i in range(8)]
    return line_chart(
        f"{metric} by snapshot", [(metric, points)], names=("snapshot", metric), x_ticks=[(n, str(n)) for n in ticks]
    )

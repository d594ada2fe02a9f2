"""Charts as plain geometry, which `templates/charts.html` draws as inline SVG.

No library of charts: the interactive ones inline megabytes of script, the static ones draw letters as outlines that neither follow
the reader's theme nor can be read aloud. Lines, bands and columns are a page of arithmetic, and drawn as SVG with classes they take
their colours from the page's style sheet, light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 420.0, 236.0
LEFT, RIGHT, TOP, BOTTOM = 40.0, 12.0, 10.0, 38.0
COLOURS = 8


@dataclass(frozen=True)
class Point:
    """A measured value with its interval, where it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    label: str = ""


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Mark:
    """A dot of a line, and what it says when pointed at."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Line:
    name: str
    colour: int
    path: str
    band: str
    marks: list[Mark]


@dataclass(frozen=True)
class LineChart:
    """Lines over a plane, with the table that says the same."""

    title: str
    x_name: str
    y_name: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]
    head: list[str]
    rows: list[list[str]]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Column:
    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True)
class ColumnChart:
    """Columns side by side, with the table that says the same."""

    title: str
    y_name: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    columns: list[Column]
    head: list[str]
    rows: list[list[str]]
    width: float = WIDTH
    height: float = 180.0
    left: float = LEFT
    right: float = WIDTH - RIGHT
    top: float = TOP
    bottom: float = 180.0 - 26.0


def line_chart(
    title: str,
    series: Sequence[tuple[str, Sequence[Point]]],
    *,
    names: tuple[str, str],
    x_ticks: Sequence[tuple[float, str]],
    log: bool = False,
) -> LineChart:
    """Lines of shares (0..1) over x. names: of the axes."""
    xs = [p.x for _, points in series for p in points] + [x for x, _ in x_ticks]
    ys = [v for _, points in series for p in points for v in (p.y, p.low, p.high) if v is not None]
    y_ticks = share_ticks(min(ys), max(ys))
    across = _scale(min(xs), max(xs), LEFT + 8, WIDTH - RIGHT - 8, log=log)
    up = _scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    lines = [_line(name, number % COLOURS, points, across, up) for number, (name, points) in enumerate(series)]
    return LineChart(
        title,
        *names,
        [Tick(round(across(x), 1), label) for x, label in x_ticks],
        [Tick(round(up(y), 1), f"{y:.2f}") for y in y_ticks],
        lines,
        ["", names[0], names[1], "95 % interval"],
        [[name, p.label or f"{p.x:g}", f"{p.y:.3f}", _interval(p)] for name, points in series for p in points],
    )


def column_chart(
    title: str, values: Sequence[tuple[str, int]], *, names: tuple[str, str], labels: int = 4
) -> ColumnChart:
    """One column a value; about `labels` of them are named below."""
    chart = ColumnChart(title, names[1], [], [], [], list(names), [[label, f"{n:,}"] for label, n in values])
    y_ticks = count_ticks(max((n for _, n in values), default=1))
    up = _scale(0, y_ticks[-1], chart.bottom, chart.top)
    pitch = (chart.right - chart.left) / max(len(values), 1)
    width = min(max(pitch * 0.78, 0.6), 36.0)
    columns = []
    for i, (label, n) in enumerate(values):
        x = chart.left + pitch * (i + 0.5)
        columns.append(Column(_r(x - width / 2), _r(up(n)), _r(width), _r(chart.bottom - up(n)), f"{label}: {n:,}"))
    step = max(1, math.ceil(len(values) / labels))
    ticks = [Tick(_r(chart.left + pitch * (i + 0.5)), values[i][0]) for i in range(0, len(values), step)]
    return ColumnChart(
        title, names[1], ticks, [Tick(_r(up(y)), _short(y)) for y in y_ticks], columns, chart.head, chart.rows
    )


def share_ticks(low: float, high: float) -> list[float]:
    """Round values between 0 and 1 that hold `low` and `high` between them, at least a tenth apart."""
    low, high = max(0.0, min(low, 1.0)), min(1.0, max(high, 0.0))
    if high - low < 0.1:
        low, high = (min(low, 0.9), 1.0) if high > 0.95 else (max(0.0, low - 0.05), max(0.1, high + 0.05))
    step = next((s for s in (0.01, 0.02, 0.05, 0.1) if (high - low) / s <= 4.5), 0.2)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 4) for n in range(first, max(last, first + 1) + 1)]


def count_ticks(high: int) -> list[float]:
    """0 and round values up to at least `high`."""
    step = 10 ** math.floor(math.log10(max(high, 1)))
    step = next(s for s in (step / 5, step / 2, step, 2 * step) if high / s <= 4.001 or s == 2 * step)
    step = max(step, 1)
    return [n * step for n in range(math.ceil(high / step) + 1)] if high else [0, 1]


def histogram(values: Sequence[int], bins: int = 16) -> list[tuple[str, int]]:
    """How many values fall into each of at most `bins` equal ranges."""
    if not values:
        return []
    low, high = min(values), max(values)
    width = max(1, math.ceil((high - low + 1) / bins))
    counts = [0] * (math.ceil((high - low + 1) / width))
    for value in values:
        counts[(value - low) // width] += 1
    starts = [low + i * width for i in range(len(counts))]
    return [(f"{a}" if width == 1 else f"{a}–{a + width - 1}", n) for a, n in zip(starts, counts, strict=True)]


def _scale(low: float, high: float, start: float, end: float, *, log: bool = False):
    """A function from values to pixels."""
    change = math.log if log else float
    a, b = change(low), change(high)
    span = (b - a) or 1.0
    return lambda value: start + (change(value) - a) / span * (end - start)


def _line(name: str, colour: int, points: Sequence[Point], across, up) -> Line:
    spots = [(_r(across(p.x)), _r(up(p.y))) for p in points]
    marks = [
        Mark(x, y, f"{name}, {p.label or f'{p.x:g}'}: {p.y:.3f} {_interval(p)}".strip())
        for (x, y), p in zip(spots, points, strict=True)
    ]
    band = ""
    bounded = [(p, p.low, p.high) for p in points if p.low is not None and p.high is not None]
    if bounded:
        rim = [(_r(across(p.x)), _r(up(high))) for p, _, high in bounded]
        rim += [(_r(across(p.x)), _r(up(low))) for p, low, _ in reversed(bounded)]
        band = _path(rim) + "Z"
    return Line(name, colour, _path(spots), band, marks)


def _path(spots: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g},{y:g}" for x, y in spots)


def _interval(point: Point) -> str:
    return "" if point.low is None or point.high is None else f"({point.low:.3f} to {point.high:.3f})"


def _r(value: float) -> float:
    return round(value, 1)


def _short(n: float) -> str:
    """1200 -> 1.2k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            return f"{n / size:g}{letter}"
    return f"{n:g}"

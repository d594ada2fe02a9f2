"""Measurements, each beside a peer in the same run: `run` gives rows, `as_markdown` a table of them.

embed: sentences per second beside SentenceTransformer. ingest: the whole command at growing sizes. recall: latency beside a plain
scan, on a store or on ones made for it. ann: one index beside its peers. graph: PageRank, mixtures and neighbours beside igraph,
scikit-learn and all pairs. sql: what a bare DuckDB gets out of a snapshot's file. cluster: the profile `cluster` beside `local`.
scale: every stage at growing sizes, with growth exponents. Every row carries the date, the commit and the machine, without which a
figure means nothing; the table says them once. Kinds are imported when asked for, so that measuring an ingest does not load torch.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from jobs.benchmarks.surroundings import caption, surroundings
from jobs.run import Progress
from schemas.errors import UsageError
from schemas.settings import Settings

__all__ = ["CAPTION", "KINDS", "as_markdown", "caption", "for_people", "run"]

KINDS = ("embed", "ingest", "recall", "ann", "graph", "sql", "cluster", "scale")
CAPTION = ("measured", "date", "commit", "machine")


def run(
    kind: str,
    data: Path | None = None,
    *,
    limit: int | None = None,
    units: int | None = None,
    store: str | None = None,
    profile: str = "local",
    settings: Settings | None = None,
    now: dt.datetime,
    progress: Progress = lambda stage, done, total: None,
    picture: Path | None = None,
) -> list[dict]:
    """Measure `kind` and return one dict a row, each with the four `CAPTION` columns.

    data: what to measure on, made up where None. limit: sentences, turns of the smallest corpus, questions, vectors, or memory
    units of the largest corpus. units: of each namespace that `recall` makes up and asks in. profile, settings: where `scale` runs.
    picture: where `ann` draws its curves.
    Raises UsageError for an unknown kind, for data that does not exist, or a limit below 1.
    """
    if kind not in KINDS:
        raise UsageError(f"nothing to measure called {kind!r}: use one of {', '.join(KINDS)}")
    if data is not None and not data.exists():
        raise UsageError(f"no file {data}: check the path, or leave it out to measure on made-up data")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit} leaves nothing to measure: give 1 or more")
    if units is not None and (kind != "recall" or data is not None or units < 1):
        raise UsageError("--units says how large the namespaces are that bench recall makes up: 1 or more, and no DATA")
    if picture is not None and kind != "ann":
        raise UsageError(f"bench {kind} draws nothing: leave --plot out")
    if units is not None:
        from jobs.benchmarks import recall, recall_made_up

        rows = recall_made_up.measure(units, limit or recall.QUESTIONS, progress=progress)
    elif kind == "scale":
        rows = _scale(data, limit, profile, settings, progress)
    elif kind == "ann":
        from jobs.benchmarks import ann

        rows = ann.measure(data, limit, progress=progress, picture=picture)
    else:
        rows = _measure(kind, data, limit, store, progress)
    return [row | surroundings(now) for row in rows]


def _measure(kind: str, data: Path | None, limit: int | None, store: str | None, progress: Progress) -> list[dict]:
    if kind == "embed":
        from jobs.benchmarks import embed

        return embed.measure(embed.load_sentences(data, limit or embed.SENTENCES), progress=progress)
    if kind == "ingest":
        from jobs.benchmarks import ingest

        if data is not None:
            raise UsageError("bench ingest makes its own corpora at growing sizes: leave DATA out, set --limit")
        return ingest.measure(limit or ingest.TURNS, progress=progress)
    if kind == "recall":
        from jobs.benchmarks import recall

        if store is None:
            raise UsageError("bench recall measures a store: name it with --store")
        return recall.measure(store, data, limit or recall.QUESTIONS, progress=progress)
    if kind == "graph":
        from jobs.benchmarks import graph

        if data is not None:
            raise UsageError("bench graph makes its own graphs and vectors: leave DATA out, set --limit")
        return graph.measure(limit, progress=progress)
    if kind == "sql":
        from jobs.benchmarks import sql

        return sql.measure(data, limit, progress=progress)
    from jobs.benchmarks import cluster

    if data is not None:
        raise UsageError("bench cluster makes its own corpus: leave DATA out, set --limit")
    return cluster.measure(limit or cluster.TURNS, progress=progress)


def _scale(
    data: Path | None, limit: int | None, profile: str, settings: Settings | None, progress: Progress
) -> list[dict]:
    from jobs.benchmarks import scale

    if data is not None:
        raise UsageError("bench scale makes its own corpora at growing sizes: leave DATA out, set --limit")
    return scale.measure(limit or scale.UNITS, profile=profile, settings=settings, progress=progress)


def for_people(kind: str, rows: list[dict]) -> list[dict]:
    """What a table shows of a measurement: of `scale` a row a stage, of the others every row."""
    if kind != "scale" or not rows:
        return rows
    from jobs.benchmarks import scale

    return [row | {c: rows[0][c] for c in CAPTION if c in rows[0]} for row in scale.table(rows)]


def as_markdown(rows: Sequence[dict]) -> str:
    """Rows as a Markdown table with what they have in common in a caption line above it."""
    if not rows:
        return "Nothing was measured."
    shown = [c for c in rows[0] if c not in CAPTION]
    above = ". ".join(str(rows[0][c]) if c == "measured" else f"{c} {rows[0][c]}" for c in CAPTION if c in rows[0])
    right = {c for c in shown if all(isinstance(r[c], int | float | None) for r in rows)}
    lines = [f"| {' | '.join(c.replace('_', ' ') for c in shown)} |"]
    lines.append("|" + "|".join("---:" if c in right else "---" for c in shown) + "|")
    lines += [f"| {' | '.join(_cell(row[c]) for c in shown)} |" for row in rows]
    return f"{above}.\n\n" + "\n".join(lines)


def _cell(value: object) -> str:
    """Figures with as many digits as a reader can use."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.5g}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")

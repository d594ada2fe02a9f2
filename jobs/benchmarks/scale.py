"""Scale: every stage of a build at growing sizes, and how its time grows with the corpus.

Each size is a corpus of made-up conversations (namespaces of 200 turns, sessions of 20) brought into a new store in a process of
its own, with planted vectors, so that 1 M units take minutes and not the hours of their embedding; then one night (1 % more turns,
a day later) is brought into the same store. The growth exponent is the slope of log seconds over log units by least squares: 1 is
linear; what a stage costs at any size flattens it, so the slope between the two largest sizes stands beside it. On a shared machine
seconds say more of the neighbours than of the stage: the exponents of CPU seconds are the ones to look at.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from jobs.benchmarks.agent_corpus import NAMESPACE_TURNS, corpus_lines, night_lines
from jobs.benchmarks.surroundings import ROOT
from jobs.run import Progress
from schemas.errors import EngraphError
from schemas.settings import Settings

UNITS = 100_000
UNITS_A_TURN = 2.65  # measured: 0.95 rounds, 0.6 of what is extracted, 0.1 of segments and sessions a turn
SHARES = (0.01, 0.1, 1.0)
FILE_TURNS = 20_000
FIRST, NIGHT = "2026-02-28", "2026-03-01"
NIGHT_SHARE = 0.01
LIMIT_S = 3600
MEMORY = {"peak MB": "peak_mb", "anonymous MB": "peak_anon_mb"}


def measure(
    units: int = UNITS,
    *,
    profile: str = "local",
    settings: Settings | None = None,
    folder: Path | None = None,
    namespace_turns: int = NAMESPACE_TURNS,
    progress: Progress = lambda stage, done, total: None,
) -> list[dict]:
    """Measure corpora of about 1, 10 and 100 % of `units` memory units; one row a size, build (or night) and stage.

    A row: part (`build` or `night`), stage, turns, units, texts, edges, seconds, cpu_s, peak_mb, peak_anon_mb, read_bytes,
    written_bytes, shuffled_bytes (None on a cluster), and of what is stored rows, bytes, mark_bytes and files. Stores are made
    below `folder` (a temporary one by default).
    Raises EngraphError where a build fails or takes more than an hour.
    """
    rows: list[dict] = []
    with tempfile.TemporaryDirectory(prefix="engraph-scale-", dir=folder) as name:
        for done, share in enumerate(SHARES, 1):
            turns = max(1, round(units * share / UNITS_A_TURN))
            where = Path(name) / str(turns)
            rows += measure_size(turns, where, profile=profile, settings=settings, namespace_turns=namespace_turns)
            progress("scale", done, len(SHARES))
    return rows


def measure_size(
    turns: int,
    folder: Path,
    *,
    profile: str = "local",
    settings: Settings | None = None,
    namespace_turns: int = NAMESPACE_TURNS,
) -> list[dict]:
    """Build one corpus of `turns` in `folder`, then one night on top of it."""
    settings = settings or Settings()
    folder.mkdir(parents=True, exist_ok=True)
    night = max(1, round(turns * NIGHT_SHARE))
    parts = {
        "build": (FIRST, corpus_lines(turns, namespace_turns=namespace_turns)),
        "night": (NIGHT, night_lines(night, known=turns, namespace_turns=namespace_turns)),
    }
    about = {"profile": profile, "namespace_turns": namespace_turns, "buckets": settings.buckets}
    about |= {
        "measured": f"Every stage of a build, profile {profile}, namespaces of {namespace_turns} turns, planted vectors"
    }
    rows = []
    for part, (day, lines) in parts.items():
        sources = _files(lines, folder / part)
        log = folder / f"{part}.jsonl"
        _build(folder, {"sources": sources, "day": day, "profile": profile, "log": str(log)}, settings)
        rows += [about | {"part": part, "turns": turns if part == "build" else night} | row for row in rows_of(log)]
    return rows


def _files(lines: Iterator[str], folder: Path) -> list[str]:
    """Lines in files of `FILE_TURNS`, so that reading can be spread."""
    folder.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    while some := list(islice(lines, FILE_TURNS)):
        file = folder / f"part-{len(names):04d}.jsonl"
        file.write_text("\n".join(some) + "\n", encoding="utf-8")
        names.append(str(file))
    return names


def _build(folder: Path, plan: dict, settings: Settings) -> None:
    """Run `scale_run` on a plan, in a process of its own."""
    Path(plan["log"]).unlink(missing_ok=True)
    file = folder / "plan.json"
    store = {"store": str(folder / "store"), "buckets": settings.buckets, "settings": settings.model_dump(mode="json")}
    file.write_text(json.dumps(plan | store))
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "jobs.benchmarks.scale_run", str(file)]
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=LIMIT_S, env={**os.environ, "PYTHONPATH": path}
        )
    except subprocess.TimeoutExpired:
        raise EngraphError(f"a build took more than {LIMIT_S} s: measure fewer units with --limit") from None
    except subprocess.CalledProcessError as problem:
        raise EngraphError(f"the measured build failed: {' '.join(problem.stderr.split()[-60:])}") from None


def rows_of(log: Path) -> list[dict]:
    """The stages of one build's log, with what they stored and how many units and distinct texts the store has then."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    stored: dict = next((line["stored"] for line in lines if "stored" in line), {})
    counts: dict = next((line["rows"] for line in lines if "rows" in line and "stage" not in line), {})
    of_store = {"units": counts.get("memory_units"), "texts": counts.get("embeddings"), "edges": counts.get("edges")}
    nothing = {"rows": 0, "bytes": 0, "mark_bytes": 0, "files": 0}
    names = {"publish": "snapshots"}
    return [
        of_store | line | stored.get(names.get(line["stage"], line["stage"]), nothing)
        for line in lines
        if "stage" in line
    ]


def exponents(rows: Sequence[dict], part: str = "build", what: str = "seconds") -> dict[str, tuple[float, float]]:
    """stage (and `total`) -> growth exponents: (by least squares over all sizes, between the two largest)."""
    sizes: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["part"] == part and row["units"] and row["stage"] != "start":
            for stage in (row["stage"], "total"):
                at = sizes.setdefault(stage, {})
                at[row["units"]] = at.get(row["units"], 0.0) + row[what]
    return {stage: _slopes(at) for stage, at in sizes.items() if len(at) > 1}


def _slopes(at: dict[int, float]) -> tuple[float, float]:
    units, seconds = (np.log(np.maximum(found, 1e-3)) for found in zip(*sorted(at.items()), strict=True))
    last = (seconds[-1] - seconds[-2]) / (units[-1] - units[-2])
    return float(np.polyfit(units, seconds, 1)[0]), float(last)


def table(rows: Sequence[dict], part: str = "build") -> list[dict]:
    """For people: one row a stage with seconds at each size, growth exponents, and the largest size's other figures."""
    sizes = sorted({row["units"] for row in rows if row["part"] == part and row["units"]})
    slopes, busy = exponents(rows, part), exponents(rows, part, "cpu_s")
    stages = list(dict.fromkeys(row["stage"] for row in rows if row["part"] == part and row["stage"] != "start"))
    shown = []
    for stage in [*stages, "total"] if sizes else []:
        mine = [
            [
                r
                for r in rows
                if (r["part"], r["units"]) == (part, u)
                and (stage == r["stage"] or (stage == "total" and r["stage"] != "start"))
            ]
            for u in sizes
        ]
        largest = mine[-1]
        row: dict = {"stage": stage}
        row |= {f"s at {_short(u)}": round(sum(r["seconds"] for r in m), 2) for u, m in zip(sizes, mine, strict=True)}
        row |= {"CPU s": round(sum(r["cpu_s"] for r in largest), 1)}
        if stage in slopes:
            row |= {"exponent": round(slopes[stage][0], 2), "of CPU": round(busy[stage][0], 2)}
        if stage in slopes and len(sizes) > 2:
            row |= {"of CPU, last step": round(busy[stage][1], 2)}
        row |= {name: round(max(r[column] for r in largest)) for name, column in MEMORY.items()}
        row |= {"read MB": round(sum(r["read_bytes"] for r in largest) / 1e6)}
        row |= {"written MB": round(sum(r["written_bytes"] for r in largest) / 1e6)}
        shown.append(row)
    return shown


def _short(units: int) -> str:
    return f"{units / 1e6:.1f}M" if units >= 950_000 else f"{units / 1e3:.0f}k" if units >= 950 else str(units)

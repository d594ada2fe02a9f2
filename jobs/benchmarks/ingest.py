"""The whole ingest at growing sizes: whether time grows with the corpus and memory does not.

Each size is a corpus of distinct made-up conversations, brought into a new store by the real command in a process of its own.
Seconds are the command's wall time, start-up and loading of the model included (8 s or so, which is why a small corpus looks slow).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from jobs.benchmarks.made_up import SESSION_TURNS, conversation_lines
from jobs.benchmarks.surroundings import Ran, folder_bytes, run_python
from jobs.run import Progress

TURNS = 1000
SIZES = (1, 3, 10)
COMMAND = "from flows.command_line import main; main()"  # run, not imported: jobs lie below flows


def measure(
    base: int,
    sizes: Sequence[int] = SIZES,
    *,
    progress: Progress = lambda stage, done, total: None,
) -> list[dict]:
    """One row a size: turns, memory_units, seconds, turns/s, peak RSS in MiB, the same relative to the first, MB on disk."""
    rows: list[dict] = []
    for size in sizes:
        row = _ingest(base * size)
        first = rows[0]["peak_rss_mb"] if rows else row["peak_rss_mb"]
        growth = round(row["peak_rss_mb"] / first, 2) if first else None
        rows.append({"size": f"{size}x"} | row | {"peak_growth": growth, "measured": _measured()})
        progress("ingest", len(rows), len(sizes))
    return rows


def _measured() -> str:
    return f"`engraph ingest` of made-up conversations (sessions of {SESSION_TURNS} turns) into a new store"


def _ingest(turns: int) -> dict:
    with tempfile.TemporaryDirectory(prefix="engraph-bench-") as name:
        store, ran = ingested(conversation_lines(turns), Path(name))
        made = json.loads(ran.out)["rows"]
        return {
            "turns": made["turns"],
            "units": made["memory_units"],
            "seconds": round(ran.seconds, 1),
            "turns/s": round(made["turns"] / ran.seconds, 1),
            "peak_rss_mb": None if ran.peak_mb is None else round(ran.peak_mb),
            "disk_mb": round(folder_bytes(store) / 1e6, 1),
        }


def ingested(lines: Iterable[str], folder: Path) -> tuple[Path, Ran]:
    """(the new store in `folder`, what the command did) of a corpus given as JSON lines."""
    corpus, store = folder / "corpus.jsonl", folder / "store"
    with corpus.open("w", encoding="utf-8") as f:
        f.writelines(line + "\n" for line in lines)
    return store, run_python(["-c", COMMAND, "ingest", str(corpus), "--store", str(store), "--json"], folder)

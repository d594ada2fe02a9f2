"""What the cluster profile costs and gains on this machine: one corpus, the real command, both profiles on the same cores.

`seconds` is the sum of the stages' wall times; `start_s` is everything else (imports, engines, lock). The overhead is the ratio of
the `seconds`; the gain of workers the ratio of embedding with one encoder to embedding with one per core, both on Ray.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from jobs.benchmarks.ingest import COMMAND
from jobs.benchmarks.made_up import conversation_lines
from jobs.benchmarks.surroundings import run_python
from jobs.run import Progress, silent
from pipelines.cores import usable_cores

TURNS = 10_000
EMBEDDING = ("embed", "embed_derived")


def measure(turns: int, *, progress: Progress = silent) -> list[dict]:
    """One row a run: profile, workers, units, start_s, seconds, seconds of embedding, and their ratios."""
    runs = [("local", usable_cores()), ("cluster", usable_cores())] + ([("cluster", 1)] if usable_cores() > 1 else [])
    rows: list[dict] = []
    with tempfile.TemporaryDirectory(prefix="engraph-bench-") as name:
        corpus = Path(name) / "corpus.jsonl"
        with corpus.open("w", encoding="utf-8") as f:
            f.writelines(line + "\n" for line in conversation_lines(turns))
        for number, (profile, workers) in enumerate(runs):
            rows.append(_ingest(corpus, Path(name) / f"run-{number}", profile, workers))
            progress("cluster", number + 1, len(runs))
    local, whole, *one = rows
    whole["against_local"] = round(whole["seconds"] / local["seconds"], 2)
    if one:
        one[0]["gain_of_workers"] = round(one[0]["embedding_s"] / whole["embedding_s"], 2)
    return rows


def _ingest(corpus: Path, folder: Path, profile: str, workers: int) -> dict:
    folder.mkdir()
    command = ["ingest", str(corpus), "--store", str(folder / "store"), "--profile", profile, "--json"]
    (folder / "engraph.toml").write_text(f"workers = {workers}\n")  # the settings beside the store
    ran = run_python(["-c", COMMAND, *command], folder)
    made = json.loads(ran.out)
    seconds = {stage["stage"]: stage["seconds"] for stage in made["stages"]}
    return {
        "profile": profile,
        "encoders": workers,
        "units": made["rows"]["memory_units"],
        "start_s": round(ran.seconds - sum(seconds.values()), 1),
        "seconds": round(sum(seconds.values()), 1),
        "embedding_s": round(sum(seconds[stage] for stage in EMBEDDING), 1),
        "against_local": None,
        "gain_of_workers": None,
        "peak_rss_mb": None if ran.peak_mb is None else round(ran.peak_mb),
        "measured": f"`engraph ingest` of made-up conversations on {usable_cores()} cores, profile by profile",
    }

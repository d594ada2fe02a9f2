"""Fills the generated tables of SCALING.md from scaling.json: what was measured, and what follows from it.

python -m infra.scaling              rewrite the tables
python -m infra.scaling --check      exit 1 when they are not up to date
python -m infra.scaling --measure N  measure first: builds of N / 100, N / 10 and N memory units, N / 10 in one bucket, up to N / 4
                                     in one namespace, up to N / 10 on the cluster profile (1,000,000: half an hour, 10 GB)
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import tempfile
from pathlib import Path

from infra.readme import fill
from jobs.benchmarks import as_markdown, scale
from jobs.benchmarks.cost_model import Model, Node, Rates, errors, fit, limits, project
from jobs.benchmarks.surroundings import caption
from schemas.settings import Settings

PAGE, DATA = (Path(__file__).parent / name for name in ("SCALING.md", "scaling.json"))
PROJECTED = (10e6, 1e9, 100e9)
ONE_NAMESPACE = (0.01, 0.05, 0.25)  # of the units, in a store of their own


def tables(found: dict) -> dict[str, str]:
    """Every generated part of the page by its name."""
    local = found["profiles"]["local"]
    fitted = [*local, *found["one_bucket"]]
    model, rates = fit(fitted), Rates(texts_per_core_second=found["texts_per_core_second"])
    return {
        "measured": f"{found['caption']}\n\n{_lines(scale.table(local))}",
        "one-bucket": _lines(scale.table(found["one_bucket"])),
        "cluster": _lines(scale.table(found["profiles"].get("cluster", []))),
        "nights": _lines(scale.table(local, "night")),
        "constants": _lines(_constants(model)),
        "embedding": _lines(found["embedding"]),
        "fit": _lines(_fit(model, fitted)),
        "projections": _lines([_projection(model, units, rates) for units in PROJECTED]),
        "breaks": _lines(_breaks(model, rates)),
        "namespace": _lines(scale.table(found["one_namespace"])),
    }


def _lines(rows: list[dict]) -> str:
    return as_markdown(rows).split("\n\n", 1)[-1]


def _constants(model: Model) -> list[dict]:
    rows = []
    for stage in model.stages.values():
        each = {name: stage.each(name) for name in stage.costs}
        rows.append(
            {
                "stage": stage.stage,
                "CPU s per 1,000 units": round(1000 * each["cpu_s"], 3),
                "fixed CPU s": round(stage.costs["cpu_s"][0], 2),
                "anonymous MB per 1 M units": round(1e6 * stage.memory[1]),
                "and per 1 M of a bucket": round(1e6 * stage.memory[2]),
                "shuffled B/unit": round(each["shuffled_bytes"]),
                "stored B/unit": round(each["bytes"], 1),
                "marks B/unit": round(each["mark_bytes"], 1),
            }
        )
    return rows


def _fit(model: Model, rows: list[dict]) -> list[dict]:
    off = errors(model, rows)
    stores = sorted({(units, buckets) for _, units, buckets in off})
    stages = list(dict.fromkeys(stage for stage, _, _ in off))
    return [
        {"stage": s} | {f"{_units(u)} in {b} buckets": f"{off[s, u, b]:+.0%}" for u, b in stores if (s, u, b) in off}
        for s in stages
    ]


def _projection(model: Model, units: float, rates: Rates) -> dict:
    made = project(model, units, Node(), rates)
    return {
        "units": _units(units),
        "buckets": made.buckets,
        "shards a stage": made.shards,
        "core-hours": round(made.core_hours, 1),
        "nodes": made.nodes,
        "hours": round(made.hours, 1),
        "thereof publish, alone": round(made.serial_hours, 1),
        "nodes $": round(made.cluster_usd, 2),
        "GPU-hours *": round(made.gpu_hours, 1),
        "GPU $ *": round(made.gpu_usd, 2),
        "or core-hours embedding": round(made.embed_core_hours),
        "stored TB": round(made.stored_tb, 2),
        "$ a month": round(made.month_usd, 2),
        "shuffled TB": round(made.shuffled_tb, 3),
        "limits passed": len(made.breaks),
    }


def _breaks(model: Model, rates: Rates) -> list[dict]:
    return [
        {"first at": _units(limit.first_at), "what breaks": limit.what, "needs": limit.needs, "answer": limit.answer}
        for limit in limits(model, Node(), rates)
    ]


def _units(n: float) -> str:
    """10 M, 1.2 B."""
    size = 1e9 if n >= 1e9 else 1e6 if n >= 1e6 else 1e3
    return f"{n / size:,.3g} {'B' if size == 1e9 else 'M' if size == 1e6 else 'k'}"


def measure(units: int) -> dict:
    """scaling.json measured anew, but for the rate of embedding."""
    found = json.loads(DATA.read_text())
    several, one = Settings(buckets=16), Settings(buckets=1)
    found["profiles"]["local"] = scale.measure(units, settings=several)
    with tempfile.TemporaryDirectory(prefix="engraph-scale-") as name:
        turns = round(units / 10 / scale.UNITS_A_TURN)
        found["one_bucket"] = _builds(scale.measure_size(turns, Path(name) / "bucket", settings=one))
        found["one_namespace"] = []
        for share in ONE_NAMESPACE:
            turns = round(units * share / scale.UNITS_A_TURN)
            folder = Path(name) / f"namespace-{turns}"
            measured = scale.measure_size(turns, folder, settings=one, namespace_turns=turns)
            found["one_namespace"] += _builds(measured)
    found["profiles"]["cluster"] = scale.measure(units // 10, profile="cluster", settings=several)
    return found | {"caption": caption(dt.date.today())}


def _builds(rows: list[dict]) -> list[dict]:
    return [row for row in rows if row["part"] == "build"]


def main(arguments: list[str]) -> int:
    if "--measure" in arguments:
        DATA.write_text(json.dumps(measure(int(arguments[arguments.index("--measure") + 1])), indent=1) + "\n")
    before = after = PAGE.read_text()
    for name, body in tables(json.loads(DATA.read_text())).items():
        after = fill(after, name, body)
    if "--check" in arguments:
        if after != before:
            print("SCALING.md is not up to date: run `python -m infra.scaling`", file=sys.stderr)
        return int(after != before)
    PAGE.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

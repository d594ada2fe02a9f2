"""A year of nights: 365 ingests of a few turns each give the tables of one build, and a night hardly costs more than the first."""

from __future__ import annotations

import os
import statistics

import pytest

pytestmark = pytest.mark.soak
NIGHTS = int(os.environ.get("ENGRAPH_SOAK_NIGHTS", "365"))
NAMESPACES = ("ann", "bo", "carla")


def test_the_last_night_costs_what_the_first_did_and_all_together_are_one_build(
    corpus, say, ingest, differences, tmp_path
):
    """Two sessions a night: a new one, and one that goes on from the night before. Seconds are medians of ten nights."""
    seconds, stages = [], []
    for n in range(NIGHTS):
        day = (
            f"2026-{n // 28 + 1:02d}-{n % 28 + 1:02d}"
            if n < 336
            else f"2027-{(n - 336) // 28 + 1:02d}-{(n - 336) % 28 + 1:02d}"
        )
        namespace = NAMESPACES[n % len(NAMESPACES)]
        rows = say(namespace, f"s{n}", range(4), day=day)
        if n >= len(NAMESPACES):
            rows += say(namespace, f"s{n - len(NAMESPACES)}", range(4, 6), day=day)
        corpus.chat(f"day={day}/talk.jsonl", rows)
        ran = ingest(corpus.folder / f"day={day}", store=tmp_path / "nights", day=day)
        assert ran.json["snapshot"] == n + 1
        seconds.append(ran.json["seconds"])
        stages.append({s["stage"]: s["seconds"] for s in ran.json["stages"]})
    first, last = statistics.median(seconds[2:12]), statistics.median(seconds[-10:])
    print(f"{NIGHTS} nights: {first:.2f} s a night at the start, {last:.2f} s at the end")
    for name in stages[0]:
        at = [statistics.median(s[name] for s in part) for part in (stages[2:12], stages[-10:])]
        print(f"  {name:<14} {at[0]:.3f} s -> {at[1]:.3f} s")
    ingest(corpus.folder, store=tmp_path / "one", day=None)
    assert differences(tmp_path / "nights", tmp_path / "one") == []
    assert (last - first) / NIGHTS < 0.012, "publishing looks at every file once more each night, and at nothing else"

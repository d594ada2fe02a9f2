"""`kill -9` at each stage of an ingest: the last snapshot still answers, and the rerun ends as if nothing had happened.

Here before the first write of a stage, and after a middle one of some: three stages in each run of the tests, all of them in
the soak; tests/soak/test_kill_everywhere.py has every write.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.stages import STAGES

KILL_AFTER = Path(__file__).resolve().parents[1] / "soak" / "kill_after.py"
MIDWAY = ("segment", "extract", "index", "publish")
ALWAYS = ("embed", "publish")


@pytest.mark.parametrize("stage", [s if s in ALWAYS else pytest.param(s, marks=pytest.mark.soak) for s in STAGES])
def test_an_ingest_killed_in_any_stage_is_continued_by_running_it_again(stage, interrupted, kill_and_rerun, tmp_path):
    of_stage = [n for n, (_, path) in enumerate(interrupted.writes, 1) if interrupted.stage_of(path) == stage]
    kill_and_rerun(tmp_path / "first", of_stage[0], after=False)
    if stage in MIDWAY:
        kill_and_rerun(tmp_path / "midway", of_stage[len(of_stage) // 2], after=True)


def test_a_first_ingest_that_is_killed_leaves_a_store_that_says_what_to_do(
    interrupted, tmp_path, cli, ingest, differences
):
    """There is no snapshot to fall back to, so readers are told, and the same command again makes the store."""
    command = [
        "ingest",
        interrupted.corpus,
        "--store",
        tmp_path / "store",
        "--now",
        "2026-02-01T00:00:00",
        "--day",
        "2026-01-05",
    ]
    script = [sys.executable, KILL_AFTER, "60", "--after", "--", *command, "--json"]
    root = KILL_AFTER.parents[2]
    done = subprocess.run(
        [str(a) for a in script], cwd=root, env={"PYTHONPATH": str(root), "ENGRAPH_BUCKETS": "4"}, check=False
    )
    assert done.returncode == -9
    asked = cli("recall", "anything", "--store", tmp_path / "store")
    assert asked.code == 1 and "run `engraph ingest" in asked.err
    assert cli("doctor", "--store", tmp_path / "store").code == 0
    ingest(interrupted.corpus, store=tmp_path / "store")
    ingest(interrupted.corpus, store=tmp_path / "undisturbed")
    assert differences(tmp_path / "store", tmp_path / "undisturbed") == []

"""`kill -9` just before and just after every durable write of an ingest on top of a published snapshot. About 20 minutes."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_ingest_may_be_killed_at_any_write(after, interrupted, kill_and_rerun, tmp_path):
    hurt = {}
    for number, (operation, path) in enumerate(interrupted.writes, 1):
        try:
            kill_and_rerun(tmp_path / str(number), number, after)
        except AssertionError as problem:
            hurt[f"{number} {operation} {path}"] = str(problem)[:500]
            print(f"hurt at {number} {operation} {path}", flush=True)
    print(f"killed at {len(interrupted.writes)} writes")
    assert not hurt

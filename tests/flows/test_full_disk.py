"""A disk that is full: one line that says what to do, and nothing finished is lost. Mounts a small filesystem, as root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SMALL = "3m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", disk], capture_output=True, text=True
    )
    if os.geteuid() or made.returncode:
        pytest.skip(f"cannot mount a small filesystem here: {made.stderr.strip() or 'not root'}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_is_told_in_one_line_and_with_room_the_rest_is_done(small_disk, cli, differences, tmp_path):
    corpus = Path(__file__).resolve().parents[1] / "sample_corpus" / "team-chat.jsonl"
    command = ["ingest", corpus, "--day", "2026-01-05", "--now", "2026-02-01T00:00:00", "--json"]
    full = cli(*command, "--store", small_disk / "store")
    assert full.code == 1
    (line,) = [line for line in full.err.splitlines() if line.startswith("engraph:")]
    assert "no space is left" in line and "run again" in line
    finished = set((small_disk / "store").glob("lake/*/*/*/*/manifest.json"))
    assert finished
    subprocess.run(["mount", "-o", "remount,size=100m", small_disk], check=True)
    assert cli(*command, "--store", small_disk / "store").code == 0
    assert finished <= set((small_disk / "store").glob("lake/*/*/*/*/manifest.json"))
    assert cli(*command, "--store", tmp_path / "roomy").code == 0
    assert differences(small_disk / "store", tmp_path / "roomy") == []

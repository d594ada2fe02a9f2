"""Threads of OpenMP sleep soon while they wait, unless the user wants it otherwise: said before a library with OpenMP is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASKED = """
import os, sys
loaded = []
def look(event, about):
    if event == "import" and about[0] == "pipelines":
        loaded.append(open("/proc/self/maps").read())
sys.addaudithook(look)
import engraph
print("gomp" in loaded[0], os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("set_by_the_user", "spins"),
    [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_it_is_said_before_openmp_is_loaded_and_what_the_user_set_stands(set_by_the_user, spins):
    clean = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", ASKED], cwd=ROOT, env=clean | set_by_the_user, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", spins]

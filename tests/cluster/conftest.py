"""Hosts of one test each; skipped with the reason where this machine cannot have them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# tests have no packages, so the fixtures' module is loaded by its path and known by its name
_spec = importlib.util.spec_from_file_location("hosts", Path(__file__).with_name("hosts.py"))
assert _spec and _spec.loader
fixtures = sys.modules.setdefault("hosts", importlib.util.module_from_spec(_spec))
if not hasattr(fixtures, "Hosts"):
    _spec.loader.exec_module(fixtures)


@pytest.fixture
def make_hosts() -> Iterator[Callable]:
    """`make_hosts(3)`: hosts that end with the test."""
    reason = fixtures.why_not()
    if reason:
        pytest.skip(reason)
    made = []

    def make(n: int):
        made.append(fixtures.Hosts(n).__enter__())
        return made[-1]

    yield make
    for hosts in made:
        hosts.__exit__()

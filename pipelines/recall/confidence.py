"""How likely it is that a scope holds what was asked for."""

from __future__ import annotations

from pipelines.recall.channels import Evidence
from pipelines.recall.scope import Scope


def confidence(scope: Scope, text: str, found: Evidence) -> float:
    best = max((float(c.max()) for c in found.cosines.values() if len(c)), default=0.0)
    return min(max(best, 0.0), 1.0)

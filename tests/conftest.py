"""What holds for all tests: Hypothesis sets no deadlines, because speed belongs in `make bench` and machines are noisy."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("engraph", deadline=None)
settings.load_profile("engraph")

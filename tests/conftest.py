"""What holds for all tests: Hypothesis sets no deadlines, because speed belongs in `make bench` and machines are noisy.

`make test` draws the same examples each time, so that a change is judged by what it changed; `make soak` draws new ones.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("engraph", deadline=None, derandomize=True)
settings.register_profile("new-examples", deadline=None, max_examples=400)
settings.load_profile("new-examples" if os.environ.get("ENGRAPH_NEW_EXAMPLES") else "engraph")
